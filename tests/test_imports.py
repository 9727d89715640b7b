"""Data flows one way: who may import whom, held by walking every import of the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import flyweight

PACKAGE = Path(flyweight.__file__).parent

# Each room and the rooms that it may use (docs/architecture.md). A room may use only rooms that stand above it here.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "tables": set(),
    "kernels": set(),
    "model": {"tables", "files", "errors", "kernels"},
    "recipe": {"tables", "files", "errors"},
    "data": {"errors", "kernels"},
    "records": {"files", "errors"},
    "evidence": {"tables", "errors", "recipe", "records"},
    "doctor": {"errors", "model", "recipe", "data", "records", "evidence"},
    "code_check": {"files", "errors", "doctor"},
    "trackers": {"tables", "files", "errors", "records"},
    "train": {"errors", "model", "data", "kernels"},
    "inference": {"files", "errors", "model", "recipe", "data", "records", "train"},
    "experiment": {"files", "errors", "model", "recipe", "data", "records", "train"},
    "execute": {"errors", "model", "recipe", "data", "records", "train", "experiment"},
    "export": {"tables", "files", "errors", "model", "recipe", "data", "records", "evidence", "experiment"},
    "page": {"files", "errors", "model", "recipe", "data", "records", "evidence", "experiment", "export"},
    "studies": {"tables", "errors", "recipe", "data", "records", "train", "evidence", "experiment", "execute"},
    "reproductions": {
        "tables",
        "files",
        "errors",
        "model",
        "recipe",
        "data",
        "records",
        "train",
        "evidence",
        "experiment",
        "execute",
    },
    "diagnose": {
        "errors",
        "model",
        "recipe",
        "data",
        "records",
        "train",
        "evidence",
        "doctor",
        "inference",
        "experiment",
        "execute",
        "studies",
        "reproductions",
    },
    "search": {"errors", "model", "recipe", "data", "records", "train", "evidence", "experiment", "execute"},
    "report": {
        "tables",
        "files",
        "errors",
        "evidence",
        "recipe",
        "records",
        "model",
        "reproductions",
        "doctor",
        "code_check",
        "diagnose",
        "search",
    },
    "bench": {
        "tables",
        "files",
        "errors",
        "kernels",
        "model",
        "recipe",
        "data",
        "records",
        "train",
        "experiment",
        "execute",
        "doctor",
        "evidence",
        "diagnose",
    },
    "cli": {
        "tables",
        "files",
        "bench",
        "code_check",
        "diagnose",
        "doctor",
        "errors",
        "evidence",
        "execute",
        "experiment",
        "export",
        "inference",
        "kernels",
        "model",
        "page",
        "recipe",
        "data",
        "records",
        "report",
        "reproductions",
        "search",
        "studies",
        "trackers",
        "train",
    },
}
HEAVY = {"torch", "matplotlib"}
LIGHT_ROOMS = {
    "errors",
    "files",
    "tables",
    "model",
    "recipe",
    "records",
    "evidence",
    "trackers",
    "doctor",
    "code_check",
}
TORCH_IN_MODEL = {"build.py", "stacked.py", "tied.py", "trace.py", "operations.py"}


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")
    )


def module_of(path: Path) -> str:
    return ".".join(("flyweight", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


# Every file by the name of its module, but the package's own face, which may show all.
FILES = {module_of(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def uses_of(path: Path) -> set[str]:
    """The modules of the package that a file imports anywhere in it: in functions and for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in FILES:
                name = name.rpartition(".")[0]
            found |= {name} - {"", module_of(path)}
    return found


def circles(uses: Mapping[str, set[str]]) -> list[list[str]]:
    """Files that lead back to themselves, those of a circle together (Warshall's closure)."""
    beyond = {module: set(used) for module, used in uses.items()}
    for through in beyond:
        for module in beyond:
            if through in beyond[module]:
                beyond[module] |= beyond[through]
    together = {
        frozenset(other for other in beyond[module] if module in beyond.get(other, ()))
        for module in beyond
        if module in beyond[module]
    }
    return sorted(sorted(one) for one in together)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports, in functions too, but not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path):
    """No import goes up or sideways, and light rooms never touch torch or matplotlib."""
    room = room_of(path)
    names = [name.split(".") for name in imported(path)]

    used = {parts[1] for parts in names if parts[0] == "flyweight" and len(parts) > 1} - {"__version__"}
    assert used <= ROOMS[room] | {room}
    if room in LIGHT_ROOMS and path.name not in TORCH_IN_MODEL:
        assert not {parts[0] for parts in names} & HEAVY


def test_the_table_of_rooms_is_in_order():
    """A room may use only rooms that stand above it, so no chain of rooms leads back to where it began."""
    rooms = list(ROOMS)

    for room, used in ROOMS.items():
        assert used <= set(rooms[: rooms.index(room)]), room


def test_no_file_leads_back_to_itself():
    """There is no circle of files, whatever its length; imports in functions and for type checkers count."""
    uses = {module: uses_of(path) for module, path in FILES.items()}

    assert circles(uses) == []
    assert sum(map(len, uses.values())) > 500


def test_the_page_about_the_code_has_the_same_table():
    """docs/architecture.md names every room in order with what it imports; the files it names exist."""
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", page, re.M)
    places = set(re.findall(r"`(\w+/(?:[\w/*.]*))`", page.partition("## Where things are")[2]))

    assert [(room, set(re.findall(r"`(\w+)`", used))) for room, used in rows] == list(ROOMS.items())
    light = re.findall(r"`(\w+)`", page.partition(" import neither torch nor")[0].rpartition("\n\n")[2])
    assert set(light) - {name.removesuffix(".py") for name in TORCH_IN_MODEL} == LIGHT_ROOMS
    assert {place for place in places if any(PACKAGE.glob(place))} == places
    assert len(places) >= 13


def test_every_circle_is_found():
    """Of two, of three, of two that share a file; a chain is none."""
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == [["a", "b"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"c"}, "e": set()}) == [["a", "b", "c", "d"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_every_room_was_walked():
    """The test above saw every room and a fair number of files."""
    assert {room_of(path) for path in modules()} == set(ROOMS)
    assert len(modules()) > 50


@pytest.mark.parametrize(
    "module",
    [
        "flyweight",
        "flyweight.recipe",
        "flyweight.model.cost",
        "flyweight.experiment.plan",
        "flyweight.search.space",
        "flyweight.search.strategy",
        "flyweight.records.run_folder",
        "flyweight.evidence.compare",
        "flyweight.evidence.journal",
        "flyweight.trackers",
        "flyweight.studies.results",
        "flyweight.studies.until_sure",
        "flyweight.cli",
        "flyweight.report.run.summary",
    ],
)
def test_importing_is_cheap(module):
    """These are imported without torch, matplotlib, scipy or pooch."""
    script = f"import sys, {module}; print({{'torch', 'matplotlib', 'scipy', 'pooch'}} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_the_public_names_are_there():
    """Everything in __all__ loads, has a docstring, and dir() shows it."""
    for name in flyweight.__all__:
        assert getattr(flyweight, name).__doc__, name
    assert set(flyweight.__all__) <= set(dir(flyweight))
    assert len(flyweight.__all__) == len(set(flyweight.__all__)) > 15
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        flyweight.nothing  # noqa: B018
