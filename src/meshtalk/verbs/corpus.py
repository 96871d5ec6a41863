"""The verbs of `meshtalk corpus`: build, convert, from-speech, info."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional

from meshtalk.verbs.options import Output
from meshtalk.verbs.progress import one_line


def build(output: Output, minutes: float = 60.0, seed: int = 0, workers: int = 2) -> None:
    """Build the embedded corpus: synthetic performances with their sound. Interrupt and run again to continue.

    Args:
        output: folder to make.
        minutes: of training motion; validation and test clips come on top.
        seed: the same seed gives the same corpus.
        workers: processes.
    """
    from meshtalk.corpus.build import build_corpus

    with one_line() as show:
        made = build_corpus(output, minutes=minutes, seed=seed, workers=workers, progress=show)
    print(f"{made.root}: {len(made.clips)} clips, {sum(c.duration_s for c in made.clips) / 60:.1f} minutes")


def convert(
    kind: Positional[str],
    source: Positional[Path],
    output: Positional[Path],
    /,
    template: Path | None = None,
    topology: Path | None = None,
    fps: str | None = None,
    unit: str | None = None,
    axes: str | None = None,
    rows: Path | None = None,
    flame: Path | None = None,
    workers: int = 2,
) -> None:
    """Make a corpus of a data set you downloaded, or of your own recordings. Interrupt and run again to continue.

    Args:
        kind: vocaset, biwi, multiface, mead3d, beat, arkit, livelink, audio2face or folder.
        source: the data set's folder.
        output: corpus folder to make, or to go on with.
        template: mesh with the data's vertices in their order (.ply, .obj): triangles, and a face at rest where the data has none.
        topology: triangles, regions and landmarks (.npz of `meshtalk regions`); training and measures need the regions.
        fps: frames a second, where the files do not say.
        unit: of the vertices: m, dm, cm, mm, or metres in a unit.
        axes: the data's axes that are left, up and out of the face, such as x,z,-y where z is up (--axes=-x,… if a minus is first).
        rows: multiface: vertex numbers that the template has of the data's (.npy or text).
        flame: mead3d: your FLAME model file.
        workers: processes.
    """
    from meshtalk.convert.plan import Options
    from meshtalk.convert.run import convert as run

    options = Options(template=template, topology=topology, fps=fps, unit=unit, axes=axes, rows=rows, flame=flame)
    with one_line() as show:
        corpus, report = run(kind, source, output, options, workers=workers, progress=show)
    print(report)
    print(corpus.root)


def from_speech(source: Positional[Path], output: Positional[Path], /, seed: int = 0, workers: int = 2) -> None:
    """Make a corpus of recordings and their words, performed by the packaged head. Interrupt and run again to continue.

    Args:
        source: folder of recordings with transcripts.tsv (file, tab, words, and perhaps tab, speaker), or with NAME.txt
            beside each NAME.wav; a sub-folder is a speaker.
        output: corpus folder to make, or to go on with.
        seed: of faces, moods, blinks and gaze.
        workers: processes.
    """
    from meshtalk.corpus.from_speech import corpus_from_speech

    with one_line() as show:
        corpus, report = corpus_from_speech(source, output, seed=seed, workers=workers, progress=show)
    print(report)
    print(corpus.root)


def info(corpus: Positional[Path], /, verify: Annotated[bool, FlagCreatePairsOff] = False) -> None:
    """Tell what is in a corpus: mesh, clips, splits, subjects, voices, emotions, lengths, gaps, licences.

    Args:
        corpus: corpus folder.
        verify: read every file too, and compare it with its hash.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.corpus.summary import summary

    opened = Corpus.open(corpus)
    if verify:
        opened.verify()
    print(summary(opened))
    if verify:
        print("files: all are as the manifest says")


VERBS: Mapping[str, Callable[..., Any]] = {"build": build, "convert": convert, "from-speech": from_speech, "info": info}
