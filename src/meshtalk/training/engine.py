"""Devices and processes of training: Lightning Fabric on one device, or a process per device under torchrun or SLURM."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import torch

from meshtalk.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric.fabric import Fabric

PRECISIONS = {"32": "32-true", "bf16-mixed": "bf16-mixed", "16-mixed": "16-mixed"}
"""Our name of a precision → Fabric's."""
PATIENCE = timedelta(days=2)
"""How long processes wait for the first one, which makes features and validates. A process that dies ends the others at once."""


@dataclass(frozen=True)
class World:
    """The processes of this training, as started by their launcher."""

    launcher: Literal["torchrun", "slurm"] | None
    per_node: int = 1
    nodes: int = 1
    rank: int = 0


def world(environ: Mapping[str, str] = os.environ) -> World:
    """Read the environment of torchrun or `srun`; a single process if neither started this one.

    Raises:
        InputError: SLURM distributed the tasks unevenly over the nodes.
    """
    if "TORCHELASTIC_RUN_ID" in environ:
        per_node = int(environ["LOCAL_WORLD_SIZE"])
        return World("torchrun", per_node, int(environ["WORLD_SIZE"]) // per_node, int(environ["RANK"]))
    # set by srun, not by sbatch: a script that starts one process in an allocation of many is one process
    tasks, nodes = int(environ.get("SLURM_STEP_NUM_TASKS", 1)), int(environ.get("SLURM_STEP_NUM_NODES", 1))
    if tasks == 1:
        return World(None)
    if tasks % nodes:
        raise InputError(
            f"every node must have as many tasks, got {tasks} tasks on {nodes} nodes. Give --ntasks-per-node."
        )
    return World("slurm", tasks // nodes, nodes, int(environ["SLURM_PROCID"]))


def start(device: str = "cpu", precision: str = "32") -> Fabric:
    """Fabric for all processes of this training.

    Args:
        device: torch device, or auto: cuda if available, else cpu. With several processes each gets a device of its own.
        precision: a key of PRECISIONS.

    Raises:
        InputError: Fabric is not installed, or device, precision and number of processes are incompatible.
    """
    try:
        from lightning_fabric.fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError:
        raise InputError(
            "training needs Lightning Fabric, which is not installed. Run pip install 'meshtalk[train]'."
        ) from None
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    kind, _, number = _resolve(device).partition(":")
    if precision == "16-mixed" and kind != "cuda":
        raise InputError(f"precision 16-mixed needs cuda, got {kind}. Use bf16-mixed or 32.")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    here = world()
    options: dict[str, Any] = {"accelerator": kind, "precision": PRECISIONS[precision]}
    if here.launcher is None:
        environment = LightningEnvironment()
        options["devices"] = [int(number)] if number else 1
    else:
        if number or kind == "mps":
            raise InputError(
                f"several processes need device cuda or cpu, got {device} for {here.per_node * here.nodes} processes"
            )
        if kind == "cuda" and here.per_node > torch.cuda.device_count():
            raise InputError(
                f"processes per node must not exceed its {torch.cuda.device_count()} GPUs, got {here.per_node}. Start one per GPU."
            )
        if here.launcher == "slurm":  # Fabric asks for what srun sets only if it was given as an option
            os.environ["SLURM_NTASKS_PER_NODE"], os.environ["SLURM_NNODES"] = str(here.per_node), str(here.nodes)
            os.environ["SLURM_NTASKS"] = str(here.per_node * here.nodes)
        environment = SLURMEnvironment(auto_requeue=False) if here.launcher == "slurm" else TorchElasticEnvironment()
        options |= {"devices": here.per_node, "num_nodes": here.nodes}
        options["strategy"] = DDPStrategy(timeout=PATIENCE)
    fabric = Fabric(plugins=[environment], **options)
    fabric.launch()
    return fabric


def _resolve(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


@contextmanager
def first(fabric: Fabric) -> Iterator[None]:
    """Run the block in the first process, then in all others. Its failure stops all.

    Raises:
        InputError: the first process raised something.
    """
    if fabric.global_rank > 0:
        if failure := fabric.broadcast(None):
            raise InputError(failure)
        yield
        return
    try:
        yield
    except BaseException as error:
        fabric.broadcast(f"the first process stopped: {error}")
        raise
    fabric.broadcast(None)


def finish(fabric: Fabric) -> None:
    """Wait for all processes and close the process group."""
    fabric.barrier()
    if fabric.world_size > 1:
        torch.distributed.destroy_process_group()
