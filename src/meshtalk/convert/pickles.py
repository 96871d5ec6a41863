"""Safe reader of public data sets' pickles: numpy arrays and builtins only, without running code.

Neither numpy's nor anybody else's code takes part: every name in the file that is allowed stands for a class below.
"""

from __future__ import annotations

import re
from pathlib import Path

# of the two readers in the standard library the one in Python: the one in C takes as much memory as a file tells it to
from pickle import _Unpickler  # type: ignore[attr-defined]
from typing import Any, BinaryIO

import numpy as np

from meshtalk.errors import InputError


def read_pickle(path: str | Path, inert: tuple[str, ...] = ()) -> Any:
    """The dicts, lists, tuples, sets, strings, numbers and numpy arrays of a pickle; Python 2's strings as latin1.

    Args:
        inert: packages whose objects may be in it; each becomes an `Inert` with its state, and none of their code is run.

    Raises:
        InputError: the file is missing, damaged, or asks for anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return _plain(_Reader(stream, inert).load(), {})
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except _Refused as refusal:
        raise InputError(f"{path} {refusal}, which is never run. Give a file of this data set.") from None
    except Exception:  # an unpickler fails in many ways, and all of them mean one thing here
        raise InputError(f"{path} is damaged, or no pickle of arrays. Download it again.") from None


class _Refused(Exception):
    """What the pickle asked for that is not allowed."""


class Inert:
    """What is left of an object whose class is not run: its state."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Dtype:
    """numpy.dtype of plain numbers or text."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.order, subtype, names, *_ = state
        if subtype is not None or names is not None:
            raise _Refused("holds an array with fields")

    def resolve(self) -> np.dtype:
        if not re.fullmatch("[biufSU][0-9]+", self.code) or self.order not in ("=", "<", ">", "|"):
            raise _Refused(f"holds an array of {self.code}")
        return np.dtype(self.code).newbyteorder(self.order if self.order in "<>" else "=")  # type: ignore[arg-type]


def _array(raw: Any, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    # Python 2's bytes come as latin1 text
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise ValueError("negative size")
    return np.frombuffer(data, dtype.resolve()).reshape(sizes, order="F" if order == "F" else "C")


class _Array:
    """numpy.ndarray; its state comes after it."""

    def __init__(self, *_: object) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, by_columns, raw = state[-4:]
        self.value = _array(raw, dtype, shape, "F" if by_columns else "C")


class _Buffer:
    """An array of pickle protocol 5."""

    def __new__(cls, raw: Any, dtype: _Dtype, shape: Any, order: str, *_: object) -> Any:
        return _array(raw, dtype, (shape,) if isinstance(shape, int) else shape, order)

    def __setstate__(self, state: object) -> None:
        raise _Refused("gives an array a state")


class _Scalar(_Buffer):
    """A number of a numpy type, as one of Python's."""

    def __new__(cls, dtype: _Dtype, raw: Any, *_: object) -> Any:
        return _array(raw, dtype, (), "C").item()


class _Bytes(_Buffer):
    """How Python 3 writes bytes for Python 2."""

    def __new__(cls, text: str, encoding: str, *_: object) -> Any:
        if encoding != "latin1":
            raise _Refused(f"asks for the codec {encoding}")
        return text.encode("latin1")


class _Nothing(_Buffer):
    """No bytes; as many as a file asks for would be another matter."""

    def __new__(cls) -> Any:
        return b""


class _Set(_Buffer):
    def __new__(cls, items: list[Any], *_: object) -> Any:
        return set(items)


class _Dict(_Buffer):
    def __new__(cls, items: Any = (), *_: object) -> Any:
        return dict(items)


class _Object(_Buffer):
    """The base class that old pickles name; of no use by itself."""


class _Old(_Buffer):
    """How Python 2 makes an object: its class, a base class, that one's state."""

    def __new__(cls, kind: type, *_: object) -> Any:
        if kind is not Inert:
            raise _Refused(f"makes a {kind.__name__} by itself")
        return Inert()


_ALLOWED: dict[str, type] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _Bytes,
    "collections.OrderedDict": _Dict,
    "copy_reg._reconstructor": _Old,
    "copyreg._reconstructor": _Old,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED |= {f"{_core}.multiarray._reconstruct": _Array, f"{_core}.multiarray.scalar": _Scalar}
    _ALLOWED |= {f"{_core}.numeric._frombuffer": _Buffer}
for _builtins in ("builtins", "__builtin__"):
    _ALLOWED[f"{_builtins}.bytes"] = _Nothing
    _ALLOWED |= {f"{_builtins}.set": _Set, f"{_builtins}.frozenset": _Set, f"{_builtins}.object": _Object}


class _Reader(_Unpickler):
    def __init__(self, stream: BinaryIO, inert: tuple[str, ...]) -> None:
        super().__init__(stream, fix_imports=False, encoding="latin1")
        self.inert = inert

    def find_class(self, module: str, name: str) -> type:
        if module.split(".")[0] in self.inert:
            return Inert
        found = _ALLOWED.get(f"{module}.{name}")
        if found is None:
            raise _Refused(f"asks for {module}.{name}")
        return found


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """`value` with arrays in place of what stands for them; each object once, however often the file refers to it."""
    if not isinstance(value, dict | list | tuple | set | _Array | Inert):
        if isinstance(value, type | _Dtype):
            raise _Refused("holds a class")
        return value
    key = id(value)
    if key in seen:
        if seen[key] is None:
            raise _Refused("holds something that contains itself")
        return seen[key]
    seen[key] = None
    if isinstance(value, dict):
        made: Any = {k: _plain(v, seen) for k, v in value.items()}
    elif isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        made = value.value
    elif isinstance(value, Inert):
        value.state = _plain(value.state, seen)
        made = value
    elif isinstance(value, set):
        made = value
    else:
        made = type(value)(_plain(v, seen) for v in value)
    seen[key] = made
    return made
