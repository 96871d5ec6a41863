"""Measures of animated faces: pure functions, and reports of systems over corpora and real recordings."""

from meshtalk.evaluation.baselines import Floor, MeanFace, Neutral, Oracle, Truth
from meshtalk.evaluation.evaluate import evaluate, evaluate_all, references
from meshtalk.evaluation.report import Report, markdown, table, write_json

__all__ = [
    "Floor",
    "MeanFace",
    "Neutral",
    "Oracle",
    "Report",
    "Truth",
    "evaluate",
    "evaluate_all",
    "markdown",
    "references",
    "table",
    "write_json",
]
