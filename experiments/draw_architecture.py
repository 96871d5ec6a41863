"""The picture of docs/architecture.md: the floors of tests/test_house.py, and which room imports which.

    python experiments/draw_architecture.py [PATH]

A line goes from a room down to one that it imports from, unless it reaches that room through another one as well (the transitive
reduction of the imports). Plain SVG, the same bytes for the same source.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))

from test_house import FLOORS, room_imports  # noqa: E402

PICTURE = ROOT / "docs/images/architecture.svg"
WIDTH_PX, FLOOR_PX, ROOM_PX, MARGIN_PX = 1000, 76, 34, 60
WIDEST_GAP_PX = 110
CHARACTER_PX = 8.6
"""Of the fixed-width letters at their size."""

Rooms = Mapping[str, set[str]]


def reduced(imports: Rooms) -> dict[str, set[str]]:
    """Imports without those that follow from others: a → c goes where a → b → c is there."""
    reached: dict[str, set[str]] = {}

    def below(room: str) -> set[str]:
        if room not in reached:
            reached[room] = set().union(imports[room], *(below(each) for each in imports[room]))
        return reached[room]

    return {room: below(room) - set().union(*(below(each) for each in imports[room])) for room in imports}


def placed(floors: tuple[tuple[str, ...], ...]) -> dict[str, tuple[float, float, float]]:
    """Room → (centre, top, width) in pixels, the ground floor at the bottom."""
    places = {}
    for number, rooms in enumerate(floors):
        widths = [len(room) * CHARACTER_PX + 24 for room in rooms]
        free = WIDTH_PX - 2 * MARGIN_PX - sum(widths)
        gap = min(WIDEST_GAP_PX, free / max(len(rooms) - 1, 1))
        left = MARGIN_PX + (free - gap * (len(rooms) - 1)) / 2
        top = (len(floors) - 1 - number) * FLOOR_PX + (FLOOR_PX - ROOM_PX) / 2
        for room, width in zip(rooms, widths, strict=True):
            places[room] = left + width / 2, top, width
            left += width + gap
    return places


def ordered(floors: tuple[tuple[str, ...], ...], imports: Rooms) -> tuple[tuple[str, ...], ...]:
    """The same floors, with rooms near those they import from, so that fewer lines cross."""
    importers = {room: {each for each in imports if room in imports[each]} for room in imports}
    for neighbours in (imports, importers, imports, importers, imports):
        places = placed(floors)

        def wish(room: str, neighbours: Rooms = neighbours, places: dict = places) -> float:
            near = sorted(places[each][0] for each in neighbours[room])
            return sum(near) / len(near) if near else places[room][0]

        floors = tuple(tuple(sorted(rooms, key=wish)) for rooms in floors)
    return floors


def drawn() -> str:
    """The picture as SVG."""
    imports = reduced(room_imports())
    floors = ordered(FLOORS, imports)
    places, height = placed(floors), len(floors) * FLOOR_PX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height}" font-family="monospace" font-size="14">',
        "<title>Rooms of meshtalk on their floors; a line goes down to a room that is imported</title>",
        f'<rect width="{WIDTH_PX}" height="{height}" fill="#ffffff"/>',
    ]
    for number in range(len(floors)):
        top = (len(floors) - 1 - number) * FLOOR_PX
        shade = "#f3f5f8" if number % 2 else "#ffffff"
        parts.append(f'<rect y="{top}" width="{WIDTH_PX}" height="{FLOOR_PX}" fill="{shade}"/>')
        parts.append(f'<text x="22" y="{top + FLOOR_PX / 2 + 5:g}" fill="#6b7686">{number + 1}</text>')
    for room in sorted(imports):
        x, top, _ = places[room]
        for other in sorted(imports[room]):
            to, other_top, _ = places[other]
            if other_top == top:  # beside it: under both
                low = top + ROOM_PX
                path = f"M{x:.1f},{low:g} C{x:.1f},{low + 22:g} {to:.1f},{low + 22:g} {to:.1f},{low:g}"
            else:
                start, middle = top + ROOM_PX, (top + ROOM_PX + other_top) / 2
                path = f"M{x:.1f},{start:g} C{x:.1f},{middle:g} {to:.1f},{middle:g} {to:.1f},{other_top:g}"
            parts.append(f'<path d="{path}" fill="none" stroke="#4a78b5" stroke-opacity=".55" stroke-width="1.3"/>')
    for room, (x, top, width) in places.items():
        box = f'x="{x - width / 2:.1f}" y="{top:g}" width="{width:.1f}" height="{ROOM_PX}" rx="6"'
        parts.append(f'<rect {box} fill="#ffffff" stroke="#2b3a4d"/>')
        parts.append(f'<text x="{x:.1f}" y="{top + 22:g}" text-anchor="middle" fill="#16202c">{room}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    path.write_text(drawn(), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
