"""`meshtalk corpus`: build, convert, inspect, check, split and merge corpora."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional

from meshtalk.cli.options import OptionalPath, OptionalText, Output
from meshtalk.progress import bar


def build(output: Output, minutes: float = 60.0, seed: int = 0, workers: int = 2) -> None:
    """Build the embedded corpus: synthetic performances with sound. Interruptible and resumable.

    Args:
        output: folder to create.
        minutes: of training motion; validation and test clips are additional.
        seed: the same seed gives the same corpus.
        workers: number of processes.
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
    template: OptionalPath = None,
    topology: OptionalPath = None,
    fps: OptionalText = None,
    unit: OptionalText = None,
    axes: OptionalText = None,
    rows: OptionalPath = None,
    flame: OptionalPath = None,
    workers: int = 2,
) -> None:
    """Convert a data set you downloaded, or your own captures, to a corpus. Interruptible and resumable.

    Args:
        kind: vocaset, biwi, multiface, mead3d, beat, arkit, livelink, audio2face or folder.
        source: the data set's folder.
        output: corpus folder to create or resume.
        template: mesh in the data's vertex order (.ply, .obj): triangles, and a neutral face where the data has none.
        topology: triangles, regions and landmarks (.npz of `meshtalk regions`); training and evaluation need the regions.
        fps: frame rate, where the files do not record it.
        unit: of the vertices: m, dm, cm, mm, or metres in a unit.
        axes: the data's axes that point left, up and out of the face, such as x,z,-y where z is up (--axes=-x,… for a
            leading minus).
        rows: multiface: indices of the data's vertices that the template has (.npy or text).
        flame: mead3d: your FLAME model file.
        workers: number of processes.
    """
    from meshtalk.convert.plan import Options
    from meshtalk.convert.run import convert as run

    options = Options(template=template, topology=topology, fps=fps, unit=unit, axes=axes, rows=rows, flame=flame)
    with bar() as show:
        corpus, report = run(kind, source, output, options, workers=workers, progress=show)
    print(report)
    print(corpus.root)


def from_speech(source: Positional[Path], output: Positional[Path], /, seed: int = 0, workers: int = 2) -> None:
    """Make a corpus from recordings and transcripts, animated on the packaged head. Interruptible and resumable.

    Args:
        source: folder of recordings with transcripts.tsv (file, tab, words, optionally tab, speaker), or with NAME.txt
            beside each NAME.wav; a subfolder is a speaker.
        output: corpus folder to create or resume.
        seed: of faces, emotions, blinks and gaze.
        workers: number of processes.
    """
    from meshtalk.synth.from_speech import corpus_from_speech

    with bar() as show:
        corpus, report = corpus_from_speech(source, output, seed=seed, workers=workers, progress=show)
    print(report)
    print(corpus.root)


def info(corpus: Positional[Path], /, verify: Annotated[bool, FlagCreatePairsOff] = False) -> None:
    """Summarise a corpus: mesh, clips, splits, subjects, voices, emotions, lengths, gaps, licences.

    Args:
        corpus: corpus folder.
        verify: also compare every file with its hash.
    """
    from meshtalk.corpus.store import Corpus
    from meshtalk.corpus.summary import summary

    opened = Corpus.open(corpus)
    if verify:
        opened.verify()
    print(summary(opened))
    if verify:
        print("files: all match the manifest")


def check(corpus: Positional[Path], /, html: OptionalPath = None, json: OptionalPath = None, workers: int = 2) -> None:
    """Check a corpus for defects: timing, jumps, frozen motion, silence, units, axes, duplicates, leaking splits.

    Exit code 1 if there are problems, 0 if there are none (there may be remarks). Interruptible and resumable.

    Args:
        corpus: corpus folder; it is not changed.
        html: write the findings, with sound and motion of the clips, to a self-contained page.
        json: write all findings and every clip's measures to this file.
        workers: number of processes.
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
    val_names: OptionalPath = None,
    test_names: OptionalPath = None,
    seed: int = 0,
    replace_official: Annotated[bool, FlagCreatePairsOff] = False,
) -> None:
    """Re-split a corpus by group, so that train, val and test share no subject, sentence or voice.

    Only the corpus's manifest changes.

    Args:
        corpus: corpus folder.
        by: labels that splits must not share: one or several of subject, sentence, voice.
        val_share: share of the groups held out for validation.
        test_share: share of the groups held out for test.
        val_names: text file that lists the groups for validation, one name per line, instead of shares; needs one label in --by.
        test_names: the same for test.
        seed: of the choice of held-out groups.
        replace_official: also re-split clips that are in their data set's official splits.
    """
    from meshtalk.corpus.splits import read_names, resplit
    from meshtalk.corpus.summary import split_table

    made = resplit(
        corpus,
        by,
        val_share=val_share,
        test_share=test_share,
        val=read_names(val_names) if val_names else (),
        test=read_names(test_names) if test_names else (),
        seed=seed,
        replace_official=replace_official,
    )
    print("\n".join(split_table(made)))


def merge(sources: Positional[tuple[Path, ...]], /, output: Output) -> None:
    """Merge several corpora with the same mesh and frame rate. Interruptible and resumable.

    Args:
        sources: two or more corpus folders; they are not changed, and files are linked rather than copied where possible.
        output: corpus folder to create or resume.
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
