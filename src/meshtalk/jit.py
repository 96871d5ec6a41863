"""The package's one way to compile inner loops with numba."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit without the GIL, its machine code cached on disk where the installation or the home is writable."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            made = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba finds nowhere to keep a cache
            return numba.njit(nogil=True, **options)(function)
        cache: Any = made._cache  # type: ignore[reportAttributeAccessIssue]
        save = cache.save_overload

        def save_if_there_is_room(*found: Any) -> None:
            with suppress(OSError):  # a full disk: compiled again next time
                save(*found)

        cache.save_overload = save_if_there_is_room
        return made

    return decorate
