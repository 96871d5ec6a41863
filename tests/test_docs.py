"""What the documents say about the code is true: names exist, links resolve, snippets compile, presets are as told."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from meshtalk.cli.main import VERBS
from meshtalk.config import PRESETS

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "experiments"))
SOURCE = ROOT / "src/meshtalk"
FRONT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = [*(ROOT / name for name in FRONT), *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."): path for path in SOURCE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}
DATA_SUFFIXES = (".npz", ".npy", ".json", ".wav", ".png", ".html", ".obj", ".safetensors")
FILE_SUFFIXES = (".py", ".md", ".toml", ".txt", ".sh", ".cfg")


def defined(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """Functions, classes with their members, and assigned names of a module or class body."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef):
            names |= {prefix + node.name} | defined(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            names.add(prefix + node.name)
            if node.name == "__init__":
                attributes = [
                    n for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
                ]
                names |= {prefix + n.attr for n in attributes}
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.ImportFrom):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names |= {
                prefix + name.id
                for target in targets
                if target
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
            if isinstance(node, ast.ImportFrom):
                names |= {prefix + (alias.asname or alias.name) for alias in node.names}
        elif isinstance(node, ast.If):  # names imported under TYPE_CHECKING
            names |= defined(node.body, prefix)
    return names


NAMES = {module: defined(ast.parse(path.read_text(encoding="utf-8")).body) for module, path in MODULES.items()}
ANYWHERE = set().union(*NAMES.values())
METHODS = {name.split(".")[-1] for name in ANYWHERE}


def exists(dotted: str) -> bool:
    """Whether `Class`, `Class.member`, `module.name` (by its last parts) or `meshtalk.module.name` is in the package."""
    dotted = dotted.removeprefix("meshtalk.")
    if dotted in ANYWHERE or dotted in MODULES:
        return True
    parts = dotted.split(".")
    for cut in range(1, len(parts)):
        module, name = ".".join(parts[:cut]), ".".join(parts[cut:])
        if any((known == module or known.endswith("." + module)) and name in names for known, names in NAMES.items()):
            return True
    return False


def options_of(owner: Callable[..., object]) -> set[str]:
    """Options of a verb, or of a dataclass of options."""
    found: set[str] = set()
    hints = get_type_hints(owner, include_extras=True)
    for name, parameter in inspect.signature(owner).parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            continue
        kind, *notes = get_args(hints[name]) if get_origin(hints[name]) is Annotated else [hints[name]]
        if is_dataclass(kind):
            found |= options_of(kind)
        else:
            found |= {"--" + name.replace("_", "-")}
            found |= {alias for note in notes for alias in getattr(note, "aliases", None) or ()}
    return found


FUNCTIONS = {name: verb for name, verb in VERBS.items() if callable(verb)}
FUNCTIONS |= {
    f"{group} {name}": verb for group, verbs in VERBS.items() if not callable(verbs) for name, verb in verbs.items()
}
OPTIONS = {verb: options_of(function) for verb, function in FUNCTIONS.items()}


def command_complaint(words: list[str]) -> str | None:
    """What is wrong with the verb or an option of a `meshtalk …` command, if anything."""
    verb, *rest = words
    if verb.startswith("-"):
        return None
    if verb not in VERBS:
        return f"there is no verb {verb}"
    if verb not in FUNCTIONS:  # a group
        if not rest:
            return None
        verb, *rest = f"{verb} {rest[0]}", *rest[1:]
        if verb not in FUNCTIONS:
            return f"there is no {verb}"
    allowed = OPTIONS[verb] | {"--help"}
    takes = [p for p in inspect.signature(FUNCTIONS[verb]).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    if not takes and rest and not rest[0].startswith(("-", "[", "…", "...")):
        return f"{verb} takes no {rest[0]}"
    options = [word.split("=")[0].strip("[],") for word in rest if word.strip("[").startswith("-") and word != "-"]
    unknown = [option for option in options if option not in allowed]
    return f"{verb} has no option {unknown[0]}" if unknown else None


def complaint(code: str) -> str | None:
    """What is wrong with a piece of `code` in a document; None if it is right or of no form that is known here."""
    if re.match(r"(\.venv/bin/)?meshtalk ", code):
        return command_complaint(re.split(r"[\s|]+", code)[1:])
    if match := re.fullmatch(r"make ([a-z]+)", code):
        target = match[1]
        return None if re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M) else f"make has no {target}"
    if re.fullmatch(r"--[a-z-]+", code):
        return None if code in set().union(*OPTIONS.values()) else f"no verb has the option {code}"
    if re.fullmatch(r"[\w./-]+", code) and code.endswith(FILE_SUFFIXES):
        here = [
            ROOT / code,
            ROOT / "docs" / code,
            SOURCE / code,
            *(ROOT / folder / code for folder in ("experiments", "assets_build", "tools/blender")),
        ]
        return None if any(path.exists() for path in here) or "/" not in code else f"there is no file {code}"
    name = code.removesuffix("()")
    looks_ours = re.fullmatch(r"(meshtalk(\.\w+)+|[A-Z]\w*[a-z]\w*(\.\w+)*)", name)
    first = name.split(".")[0]
    roots = {part for module in MODULES for part in module.split(".")} - {"meshtalk"}
    is_ours = re.fullmatch(r"[a-z_]+(\.\w+)+", name) and first in roots and not name.endswith(DATA_SUFFIXES)
    if looks_ours or is_ours or (code.endswith("()") and re.fullmatch(r"\w+", name)):
        return (
            None
            if exists(name) or (code.endswith("()") and name in METHODS) or preset_field(name) is not None
            else f"there is no {name} in meshtalk"
        )
    return None


def preset_field(path: str, preset: str = "compact") -> object:
    """Value of a dotted field of a preset's model or training settings; None if there is none."""
    for config in PRESETS[preset]:
        value: object = config
        for part in path.split("."):
            value = getattr(value, part, None)
        if value is not None:
            return value
    return None


def codes(text: str) -> list[str]:
    """Inline code of a document, outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))


def fences(text: str, *languages: str) -> list[str]:
    return [body for language, body in re.findall(r"```(\w*)\n(.*?)```", text, flags=re.S) if language in languages]


def told_by(line: str) -> str:
    """What a line of a shell says, without prompt, remark, launcher and where its output goes."""
    told = line.strip().removeprefix("$ ").partition(" #")[0].partition(" > ")[0]
    return re.sub(r"^(torchrun|srun) .*?(?=meshtalk )", "", told)


def anchors(text: str) -> set[str]:
    """Link targets of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_code_that_a_document_names_exists(path):
    wrong = [found for code in codes(path.read_text(encoding="utf-8")) if (found := complaint(code))]
    assert not wrong, wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_resolve(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{path.name} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path.name} links to {link}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_snippets_compile_and_commands_exist(path):
    text = path.read_text(encoding="utf-8")
    for body in fences(text, "python", "py"):
        tree = ast.parse(body)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("meshtalk"):
                for alias in node.names:
                    assert exists(f"{node.module}.{alias.name}"), f"{path.name}: {node.module}.{alias.name}"
    for body in fences(text, "", "sh", "bash", "console", "shell"):
        for command in (part.strip() for line in body.splitlines() for part in told_by(line).split(" | ")):
            wrong = complaint(command) if command.startswith(("meshtalk ", "make ")) else None
            assert wrong is None, f"{path.name}: {command}: {wrong}"


def test_commands_in_messages_exist():
    for path in MODULES.values():
        for command in re.findall(r"`(meshtalk [^`]+)`", path.read_text(encoding="utf-8")):
            assert complaint(command) is None, f"{path.name}: {command}: {complaint(command)}"


def test_the_picture_of_the_floors_is_up_to_date():
    from draw_architecture import PICTURE, drawn

    assert PICTURE.read_text(encoding="utf-8") == drawn(), "run python experiments/draw_architecture.py"


def test_the_table_of_floors_has_every_room_on_its_floor():
    from test_house import FLOORS

    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (`.+) \|$", text, re.M)
    table = {int(number): {part.split("`")[1] for part in row.split(" · ")} for number, row in rows}
    assert table == {number: set(rooms) for number, rooms in enumerate(FLOORS, 1)}


def test_modules_of_the_reference_exist():
    found = {
        module
        for path in (ROOT / "docs/reference").glob("*.md")
        for module in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.M)
    }
    assert len(found) > 40
    assert not {module.removeprefix("meshtalk.") for module in found} - set(MODULES)


def preset_rows() -> list[list[str]]:
    section = (ROOT / "docs/equations.md").read_text(encoding="utf-8").split("## Presets")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return [row for row in rows if row[0].startswith("`")]


@pytest.mark.parametrize("row", preset_rows(), ids=lambda row: row[0].strip("`"))
def test_presets_are_as_the_table_says(row):
    for name, said in zip(("paper", "official", "compact"), row[1:4], strict=True):
        value = preset_field(row[0].strip("`"), name)
        assert value is not None, f"there is no setting {row[0]}"
        if said == "-":
            continue
        if isinstance(value, int | float | Fraction) and not isinstance(value, bool):
            assert float(said) == float(value), name
        else:
            assert said == (", ".join(map(str, value)) if isinstance(value, tuple) else str(value)), name


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("Prior.step", True),
        ("Prior.leap", False),
        ("losses.cross_modality", True),
        ("losses.nonsense", False),
        ("meshtalk.export.EXPORTERS", True),
        ("meshtalk animate --seed", True),
        ("meshtalk animate --sead", False),
        ("meshtalk takes line.wav -n 8 --lead-out 1 -o takes", True),
        ("meshtalk swap a.npz b.npz --no-blinks", False),
        ("meshtalk redub a.npz b.wav --clip c.npz", False),
        ("meshtalk dance", False),
        ("meshtalk corpus everything", False),
        ("meshtalk corpus -o corpus", False),
        ("meshtalk corpus build -o corpus", True),
        ("meshtalk corpus build everything", False),
        ("make demo", True),
        ("make coffee", False),
        ("docs/equations.md", True),
        ("docs/nothing.md", False),
        ("Topology.region", True),
        ("NoSuchClass", False),
        ("mouthClose", True),
    ],
)
def test_the_checks_can_fail(code, right):
    assert (complaint(code) is None) == right
