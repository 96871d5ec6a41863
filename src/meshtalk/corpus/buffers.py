"""Memory for batches of windows, used again when nobody holds it any more."""

from __future__ import annotations

import math
import weakref
from threading import Lock

import numpy as np
import torch
from torch import Tensor

KEPT = 4
"""Rooms that are kept: for the batch that is computed, and those that are prepared meanwhile."""


class Rooms:
    """Hands out uninitialised float32 tensors. A large one of fresh memory costs several times what filling it does: the
    system has to find and clear it page by page."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rooms: list[tuple[Tensor, weakref.ref[np.ndarray]]] = []
        """Memory, and the last view of it that was handed out, which lives as long as any tensor of it."""

    def __call__(self, *shape: int) -> Tensor:
        """A tensor that shares its memory with no other that is still there."""
        size = math.prod(shape)
        with self._lock:
            fits = [place for place, (room, view) in enumerate(self._rooms) if view() is None and len(room) >= size]
            room = self._rooms.pop(min(fits, key=lambda place: len(self._rooms[place][0])))[0] if fits else None
            if room is None:
                room = torch.empty(size)  # torch's memory, always aligned alike, as products may need
            view = room.numpy()[:size]
            self._rooms = [*self._rooms, (room, weakref.ref(view))][-KEPT:]
            return torch.from_numpy(view).view(shape)
