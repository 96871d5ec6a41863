"""Evaluation of systems over corpora and real recordings, with baselines and reports."""

from meshtalk.evaluation.baselines import Floor, MeanFace, Neutral, Oracle, Truth
from meshtalk.evaluation.bench import evaluate, evaluate_all, references
from meshtalk.evaluation.disentangle import Mixing, mixing
from meshtalk.evaluation.nearest import NearestClip
from meshtalk.evaluation.page import Strip, write_page
from meshtalk.evaluation.real_speech import evaluate_real, read_recordings
from meshtalk.evaluation.report import Report, markdown, table, write_json
from meshtalk.measures.peers import PeersForm, peers_form

__all__ = [
    "Floor",
    "MeanFace",
    "Mixing",
    "NearestClip",
    "Neutral",
    "Oracle",
    "PeersForm",
    "Report",
    "Strip",
    "Truth",
    "evaluate",
    "evaluate_all",
    "evaluate_real",
    "markdown",
    "mixing",
    "peers_form",
    "read_recordings",
    "references",
    "table",
    "write_json",
    "write_page",
]
