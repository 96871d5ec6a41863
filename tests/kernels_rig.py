"""Compile the package's inner loops before the suite's processes start, each of which would otherwise do so: a minute's work.

The calls below between them need nearly all of them; numba keeps the machine code on disk.
"""

from __future__ import annotations

from dataclasses import replace
from multiprocessing import get_context

import rig

from meshtalk.arkit.solve import weights_of
from meshtalk.inference.animator import Animator
from meshtalk.mesh.head import load_head
from meshtalk.render import Renderer

SOUND = rig.speech(0, 0.3)[0]


def networks() -> None:
    """Of samplers of both precisions, of whole recordings and of streams."""
    for config in (rig.TINY, replace(rig.TINY, audio=rig.PHONETIC)):
        for precision in ("float32", "bfloat16"):
            animator = Animator(rig.random_checkpoint(config), precision)
            expression = animator.animate(SOUND, 16000)
            _, state = animator.step(SOUND, animator.start(expression=expression))
            animator.flush(state)


def pictures() -> None:
    """Of plain faces and of people with hair; and of blendshapes' solve."""
    topology, person = load_head().topology, load_head().person("clara")
    for detail in ({}, {"tint": person.tint, "subject": person.name}):
        Renderer(topology, person.template, 64, 64, **detail).frame(person.template)
    weights_of(rig.as_dense(rig.make_clip(0, 0.3)))


if __name__ == "__main__":
    processes = [get_context("spawn").Process(target=part) for part in (networks, pictures)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    raise SystemExit(max(process.exitcode or 0 for process in processes))
