"""What tests share: a small rig corpus made of curves, a tiny model of it, and no extra processes."""

from __future__ import annotations

import os
import sys

# the suite runs beside other work: idle OpenMP threads must not spin
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # and several processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from threadpoolctl import threadpool_limits

if "PYTEST_XDIST_WORKER" in os.environ:
    threadpool_limits(int(os.environ["OMP_NUM_THREADS"]))  # a plugin has loaded NumPy already

# every shape in these signatures is checked, for whatever is imported from here on; in production none of them is
SHAPED = [
    "meshtalk.training.losses",
    "meshtalk.clip",
    "meshtalk.mesh.topology",
    "meshtalk.audio.files",
    "meshtalk.audio.mel",
]
MODEL = Path(__file__).parent.parent / "src/meshtalk/model"
# numba compiles functions, not the wrappers that check them
SHAPED += [f"meshtalk.model.{path.stem}" for path in MODEL.glob("[a-z]*.py") if "kernels" not in path.stem]
assert not any(name.split(".")[0] == "meshtalk" for name in sys.modules), "meshtalk came before its shape checks"
install_import_hook(SHAPED, "beartype.beartype")

# no time limits: what is slow on a busy machine is not wrong
settings.register_profile("meshtalk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshtalk")


class InlineExecutor:
    """A process pool's `map`, in this process: a spawned worker would load torch again for every fixture."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[..., Any], jobs: Iterable[Any], chunksize: int = 1) -> Iterator[Any]:
        return map(function, jobs)


@pytest.fixture
def inline_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training computes audio features in this process."""
    monkeypatch.setattr("meshtalk.training.data.ProcessPoolExecutor", InlineExecutor)


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes fork from a server that has imported torch: each that is spawned does so for seconds."""
    import training_rig

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server finds what to import by it alone
    for module in ("meshtalk.parallel", "meshtalk.training.data"):
        monkeypatch.setattr(f"{module}.get_context", lambda _: training_rig.FORKS)


@pytest.fixture(scope="session")
def rig_corpus(tmp_path_factory: pytest.TempPathFactory):
    import rig

    return rig.build(tmp_path_factory.mktemp("rig") / "corpus")


@pytest.fixture(scope="session")
def dense_corpus(tmp_path_factory: pytest.TempPathFactory):
    import rig

    return rig.build(tmp_path_factory.mktemp("rig_dense") / "corpus", dense=True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained model of the rig."""
    import rig

    from meshtalk.model.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_checkpoint(folder, rig.random_checkpoint())
    return folder


@pytest.fixture(scope="session")
def small_run(rig_corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of training_rig's training, on one process and without interruption."""
    import training_rig

    root = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshtalk.training.data.ProcessPoolExecutor", InlineExecutor)
        training_rig.run(rig_corpus.root, root / "run", root / "features")
    return root / "run"
