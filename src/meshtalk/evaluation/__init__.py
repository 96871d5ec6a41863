"""Measures of animated faces: pure functions, and reports of systems over corpora and real recordings."""

from meshtalk.evaluation.baselines import Floor, MeanFace, Neutral, Oracle, Truth
from meshtalk.evaluation.disentangle import Mixing, mixing
from meshtalk.evaluation.evaluate import evaluate, evaluate_all, references
from meshtalk.evaluation.real_speech import evaluate_real, read_recordings
from meshtalk.evaluation.report import Report, markdown, table, write_json

__all__ = [
    "Floor",
    "MeanFace",
    "Mixing",
    "Neutral",
    "Oracle",
    "Report",
    "Truth",
    "evaluate",
    "evaluate_all",
    "evaluate_real",
    "markdown",
    "mixing",
    "read_recordings",
    "references",
    "table",
    "write_json",
]
