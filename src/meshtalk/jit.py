"""The package's one way to compile inner loops with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit without the GIL, its machine code cached on disk where the installation or the home is writable."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba finds nowhere to keep a cache
            return numba.njit(nogil=True, **options)(function)

    return decorate
