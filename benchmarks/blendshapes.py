"""The blendshape solve beside scipy's bounded least squares, in one run: read the ratio.

    python benchmarks/blendshapes.py

Both solve the same frames of the packaged head, moved by the packaged model's performance of a packaged recording with
0.1 mm of noise: 52 shapes, the same Gram matrix, to the same optimum (which is checked).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import lsq_linear

from meshtalk.arkit.solve import Solver
from meshtalk.assets import asset
from meshtalk.clip import Clip
from meshtalk.inference.animator import load_model

REPEATS = 5


def ms_a_frame(work: Callable[[], object], frames: int) -> float:
    """Median of REPEATS runs, after one that compiles."""
    work()
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e3 / frames


def main() -> None:
    clip = load_model().animate(asset("speech") / "librivox_0880.flac")
    noise = np.random.default_rng(0).normal(0, 1e-4, (clip.n_frames, clip.topology.n_vertices, 3))
    moves = clip.displacements() + noise.astype(np.float32)
    dense = Clip(clip.topology, clip.template, clip.fps, clip.audio, clip.sample_rate, displacement=moves)
    solver, plain, n = Solver(clip.topology), Solver(clip.topology, 0.0), clip.n_frames
    asked = solver.asked(dense)
    root = np.linalg.cholesky(plain.grams[0])
    targets = np.linalg.solve(root, plain.right(asked).T).T

    def reference(method: str) -> np.ndarray:
        return np.array([lsq_linear(root.T, target, (0, 1), method=method, tol=1e-10).x for target in targets])

    def causal(one: Solver) -> np.ndarray:
        weights, before = [], None
        for row in asked:
            weights.append(before := one.step(row, before))
        return np.array(weights)

    away = np.abs(np.array([plain.step(row, None) for row in asked]) - reference("bvls")).max()
    assert away < 1e-4, f"the optimum is another one, by {away}"
    ours = ms_a_frame(lambda: causal(solver), n)
    rows = [
        ("vertices to inner products", ms_a_frame(lambda: solver.asked(dense), n)),
        ("a stream's frame", ours),
        ("a clip's frame, all together", ms_a_frame(lambda: solver.track(asked), n)),
        ("scipy lsq_linear, bvls", ms_a_frame(lambda: reference("bvls"), n)),
        ("scipy lsq_linear, trf", ms_a_frame(lambda: reference("trf"), n)),
    ]
    print(f"{n} frames, {len(solver.names)} shapes; largest difference of a weight {away:.1e}")
    for name, ms in rows:
        print(f"{name:32}{ms:8.3f} ms a frame{ms / ours:8.2f} x a stream's frame")


if __name__ == "__main__":
    main()
