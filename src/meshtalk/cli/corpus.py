"""The verbs of `meshtalk corpus`, see VERBS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional

from meshtalk.cli.options import Output
from meshtalk.progress import bar


def build(output: Output, minutes: float = 60.0, seed: int = 0, workers: int = 2) -> None:
    """Build the embedded corpus: synthetic performances with their sound. Interrupt and run again to continue.

    Args:
        output: folder to make.
        minutes: of training motion; validation and test clips come on top.
        seed: the same seed gives the same corpus.
        workers: processes.
    """
    from meshtalk.synth.build import build_corpus

    with bar() as show:
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
    with bar() as show:
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
    from meshtalk.synth.from_speech import corpus_from_speech

    with bar() as show:
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


def check(corpus: Positional[Path], /, html: Path | None = None, json: Path | None = None, workers: int = 2) -> None:
    """Look for what is wrong with a corpus: timing, jumps, stills, silence, units, axes, duplicates, leaking splits.

    Ends with exit code 1 if there are problems, 0 if there are none (remarks may be). Interrupt and run again to continue.

    Args:
        corpus: corpus folder; it is only read.
        html: write a page to this file: findings, and sound and motion of the clips to look at; it needs no other file.
        json: write all findings and every clip's numbers to this file.
        workers: processes.
    """
    from meshtalk.check.check import check as run
    from meshtalk.check.page import write_page
    from meshtalk.files import check_writable
    from meshtalk.report_page import check_plots

    if html is not None:
        check_plots()
    for path in (html, json):
        if path is not None:
            check_writable(path)
    with bar() as show:
        report = run(corpus, workers=workers, progress=show)
    print(report)
    if json is not None:
        report.write_json(json)
    if html is not None:
        write_page(html, report)
    if report.problems:
        raise SystemExit(1)


def split(
    corpus: Positional[Path],
    /,
    by: tuple[str, ...] = ("subject",),
    val_share: float = 0.1,
    test_share: float = 0.1,
    val_names: Path | None = None,
    test_names: Path | None = None,
    seed: int = 0,
    replace_official: Annotated[bool, FlagCreatePairsOff] = False,
) -> None:
    """Deal the clips of a corpus anew to train, val and test, so that they share no person, sentence or voice.

    Only the corpus's manifest changes.

    Args:
        corpus: corpus folder.
        by: what the splits must not share: subject, sentence, voice, one or several.
        val_share: share of them held out for validation.
        test_share: share of them held out for test.
        val_names: text file with the ones for validation, a name a line, instead of shares; one label in --by.
        test_names: the same for test.
        seed: another one holds out others.
        replace_official: deal clips too that are in their data set's official splits.
    """
    from meshtalk.corpus.splits import read_names, resplit
    from meshtalk.corpus.summary import split_table

    dealt = resplit(
        corpus,
        by,
        val_share=val_share,
        test_share=test_share,
        val=read_names(val_names) if val_names else (),
        test=read_names(test_names) if test_names else (),
        seed=seed,
        replace_official=replace_official,
    )
    print("\n".join(split_table(dealt)))


def merge(sources: Positional[tuple[Path, ...]], /, output: Output) -> None:
    """Make one corpus of several with the same mesh and frame rate. Interrupt and run again to continue.

    Args:
        sources: corpus folders, two at least; they are only read, and share their files with the new one where the disk can.
        output: corpus folder to make, or to go on with.
    """
    from meshtalk.corpus.merge import merge as run

    with bar() as show:
        corpus, report = run(sources, output, progress=show)
    print(report)
    print(corpus.root)


VERBS: Mapping[str, Callable[..., Any]] = {
    "build": build,
    "convert": convert,
    "from-speech": from_speech,
    "info": info,
    "check": check,
    "split": split,
    "merge": merge,
}
