"""How the package's inner loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit without the GIL, its machine code kept on disk where the installation or the home can be written."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba finds nowhere to keep a cache
            return numba.njit(nogil=True, **options)(function)

    return decorate
