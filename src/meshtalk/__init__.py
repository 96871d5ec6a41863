"""meshtalk: speech in, an animated 3D face out.

from meshtalk import load_model
clip = load_model().animate("speech.wav")
clip.save("out.glb")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshtalk.audio.files import read_audio
    from meshtalk.clip import Clip
    from meshtalk.errors import InputError
    from meshtalk.inference.animator import Animator, load_model
    from meshtalk.mesh.topology import Topology

_HOMES = {
    "Animator": "meshtalk.inference.animator",
    "Clip": "meshtalk.clip",
    "InputError": "meshtalk.errors",
    "Topology": "meshtalk.mesh.topology",
    "load_model": "meshtalk.inference.animator",
    "read_audio": "meshtalk.audio.files",
}

__all__ = ["Animator", "Clip", "InputError", "Topology", "load_model", "read_audio"]


def __getattr__(name: str) -> Any:
    """Resolve public names on first use: reading a clip must not import torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("meshtalk")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'meshtalk' has no attribute {name!r}")
