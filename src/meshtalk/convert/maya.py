"""Maya geometry caches: the .xml that describes one, and its .mc files, one for all frames or one a frame."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from meshtalk.errors import InputError

TICKS_PER_S = 6000
ARRAYS = {b"FVCA": ">f4", b"DVCA": ">f8"}
"""Tag of an array of vectors → its numbers."""
GROUP = b"FOR4"
LARGEST_XML = 10_000_000


@dataclass(frozen=True)
class Cache:
    """Contents of the .xml."""

    files: tuple[Path, ...]
    ticks_per_frame: int
    channel: str

    @property
    def fps(self) -> Fraction:
        return Fraction(TICKS_PER_S, self.ticks_per_frame)


def read_description(path: Path) -> Cache:
    """The .xml of a cache with one channel of points, or of the first one where there are several.

    Raises:
        InputError: damaged, no such cache, or its files are missing.
    """
    try:
        text = path.read_bytes()
        if len(text) > LARGEST_XML or b"<!" in text.replace(b"<!--", b""):
            raise ValueError("declarations")
        root = ElementTree.fromstring(text)
        kind = root.find("cacheType")
        ticks = root.find("cacheTimePerFrame")
        channels = list(root.iterfind("Channels/*"))
        if kind is None or ticks is None:
            raise ValueError("no cache")
        per_frame = int(ticks.attrib["TimePerFrame"])
        names = [c.attrib["ChannelName"] for c in channels if c.attrib.get("ChannelType", "").endswith("VectorArray")]
        if not names or per_frame < 1:
            raise ValueError("no points")
        mcx = kind.attrib.get("Format", "mcc") != "mcc"
        one_file = kind.attrib["Type"] == "OneFile"
    except (OSError, ValueError, KeyError, ElementTree.ParseError):
        raise InputError(f"{path} is damaged, or describes no Maya cache of points") from None
    if mcx:
        raise InputError(f"{path} is an mcx cache. Export it in the mcc format, or as .npy or .pc2.")
    if one_file:
        files = [path.with_suffix(".mc")]
    else:
        pattern = re.compile(re.escape(path.stem) + r"Frame(-?[0-9]+)(?:Tick([0-9]+))?\.mc")
        found = [(match, file) for file in path.parent.iterdir() if (match := pattern.fullmatch(file.name))]
        files = [file for _, file in sorted(found, key=lambda pair: (int(pair[0][1]), int(pair[0][2] or 0)))]
    if not files or not files[0].is_file():
        raise InputError(f"{path} has no .mc file beside it")
    return Cache(tuple(files), per_frame, names[0])


def read_cache(path: Path) -> tuple[np.ndarray, np.ndarray, Fraction]:
    """Samples of a cache by its .xml.

    Returns:
        ((n,V,3) float32 in rising order of time, (n,) frame numbers from 0 on, frames per second)

    Raises:
        InputError: damaged, cut off, or samples that do not lie on frames or are of several meshes.
    """
    cache = read_description(path)
    samples: dict[int, np.ndarray] = {}
    for file in cache.files:
        for tick, points in read_samples(file, cache.channel):
            samples[tick] = points
    if not samples:
        raise InputError(f"{path} has no samples of {cache.channel}")
    if len({points.shape for points in samples.values()}) > 1:
        raise InputError(f"{path} has samples of several numbers of points")
    ticks = np.array(sorted(samples))
    index, rest = np.divmod(ticks - ticks[0], cache.ticks_per_frame)
    if rest.any():
        raise InputError(f"{path} has samples between its frames of {cache.ticks_per_frame} ticks")
    return np.stack([samples[tick] for tick in ticks.tolist()]), index, cache.fps


def read_samples(path: Path, channel: str) -> Iterator[tuple[int, np.ndarray]]:
    """(time in ticks, (V,3) float32) of each sample of a channel in one .mc file.

    Raises:
        InputError: it is none, or it is cut off.
    """
    damaged = f"{path} is damaged or cut off"
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if bytes(data[:4]) != GROUP:
        raise InputError(f"{path} is no Maya cache")
    try:
        tick = 0
        for tag, group in _chunks(data):
            if tag != GROUP:
                raise InputError(damaged)
            name, count = b"", 0
            for part, content in _chunks(group[4:]):
                if part in (b"STIM", b"TIME"):
                    tick = int(struct.unpack(">i", content)[0])
                elif part == b"CHNM":
                    name = bytes(content).rstrip(b"\0")
                elif part == b"SIZE":
                    count = int(struct.unpack(">i", content)[0])
                elif part in ARRAYS and bytes(group[:4]) == b"MYCH" and name == channel.encode():
                    points = np.frombuffer(content, ARRAYS[part]).reshape(-1, 3)
                    if len(points) != count:
                        raise InputError(damaged)
                    yield tick, points.astype(np.float32)
    except (struct.error, ValueError):
        raise InputError(damaged) from None


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(tag, content) of chunks that lie on end: a tag, a big-endian size, the content up to the next multiple of 4.

    Raises:
        ValueError, struct.error: one reaches beyond the end.
    """
    at = 0
    while at < len(data):
        (size,) = struct.unpack(">I", data[at + 4 : at + 8])
        if at + 8 + size > len(data):
            raise ValueError("cut off")
        yield bytes(data[at : at + 4]), data[at + 8 : at + 8 + size]
        at += 8 + -(-size // 4) * 4
