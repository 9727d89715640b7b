"""Reads a script (.py) or a notebook (.ipynb) as one program: its syntax tree and its lines, cell after cell.

Files are read as text; nothing of them is run or imported. What IPython adds to Python (lines with `%`, `!` and `?`)
is left out without changing line numbers.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flyweight.errors import DataError, UsageError
from flyweight.files import read_bytes

MAX_BYTES: Final = 20_000_000
# Cell magics whose body is Python.
_PYTHON_MAGICS: Final = {"time", "timeit", "capture", "prun", "python", "python3"}
_TIMED: Final = re.compile(r"^(\s*)%time\s+(?=\S)")
_MAGIC: Final = re.compile(r"^\s*(?:%|!(?!=)|\?)|^\s*[\w., ]+=\s*(?:!|%(?=[a-z]))|^\s*[\w.]+\?{1,2}\s*$")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A program and its lines. starts: for each code cell, the number of lines before it."""

    path: str
    tree: ast.Module
    lines: tuple[str, ...]
    starts: tuple[int, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def n_lines(self) -> int:
        """As an editor counts: text after the last line break is a line, nothing is not."""
        return len(self.lines) - (self.lines[-1:] == ("",))

    def place(self, line: int) -> tuple[int | None, int]:
        """The code cell (from 1; None in a script) and the line in it, for a line of the program."""
        if not self.starts:
            return None, line
        cell = bisect_right(self.starts, line - 1)
        return cell, line - self.starts[cell - 1]


def read_source(path: Path) -> Source:
    """The program of a script or a notebook.

    Raises:
        UsageError: the path is neither that of a script nor of a notebook.
        DataError: there is no such file, or it is not Python or not a notebook.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file. Give the path of a script (.py) or a notebook (.ipynb).")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the path of one .py or .ipynb file.")
    readers = {".py": _script, ".ipynb": _notebook}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path.name} must be a script (.py) or a notebook (.ipynb), found {path.suffix or 'no'!r}.")
    try:
        return readers[path.suffix.lower()](path, _content(path))
    except (RecursionError, MemoryError):
        raise too_deep(path) from None


def too_deep(path: Path) -> DataError:
    return DataError(f"{path.name} cannot be checked: its code is nested too deeply.")


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path.name} must be at most {MAX_BYTES // 1_000_000} MB, found {path.stat().st_size:,} bytes;"
                " clear the outputs of a notebook and save it again."
            )
        return read_bytes(path)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}.") from None


def _script(path: Path, content: bytes) -> Source:
    if b"\0" in content:
        raise DataError(f"{path.name} must be text, found binary data.")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        raise DataError(f"{path.name} must be UTF-8, or say its encoding in line 1; save it as UTF-8.") from None
    lines = _lines(text)
    try:
        tree = _tree(lines)
    except SyntaxError as error:
        raise DataError(
            f"{path.name} must be Python 3, found an error in line {error.lineno or 1}: {error.msg}."
        ) from None
    return Source(path=str(path), tree=tree, lines=tuple(lines))


def _notebook(path: Path, content: bytes) -> Source:
    try:
        tables = json.loads(content)
    except (ValueError, UnicodeDecodeError):
        raise DataError(
            f"{path.name} must be a notebook in JSON, found something else; save it from Jupyter."
        ) from None
    cells = _code_cells(tables)
    if cells is None:
        raise DataError(f"{path.name} must be a notebook of format 3 or 4, found JSON without a list of cells.")
    language = _language(tables)
    if language not in ("", "python", "ipython", "python3"):
        raise DataError(f"{path.name} must be a notebook in Python, found one in {language!r}.")
    if not cells:
        raise DataError(f"{path.name} has no code cells, so there is nothing to check.")
    return _joined(path, cells)


def _joined(path: Path, cells: Sequence[str]) -> Source:
    """The cells as one program; a cell that does not parse has no code in it and is named in `skipped`."""
    body: list[ast.stmt] = []
    lines: list[str] = []
    starts, skipped = [], []
    for number, text in enumerate(cells, 1):
        starts.append(len(lines))
        written = _lines(text)
        try:
            tree = _cell_tree(written)
        except SyntaxError as error:
            skipped.append(f"cell {number}: {error.msg} (line {error.lineno or 1})")
        else:
            ast.increment_lineno(tree, len(lines))
            body += tree.body
        lines += written
    tree = ast.Module(body=body, type_ignores=[])
    return Source(path=str(path), tree=tree, lines=tuple(lines), starts=tuple(starts), skipped=tuple(skipped))


def _code_cells(tables: Any) -> list[str] | None:
    """The text of each code cell, in format 4 (cells) or 3 (worksheets of cells)."""
    if not isinstance(tables, dict):
        return None
    cells = tables.get("cells")
    if cells is None and isinstance(tables.get("worksheets"), list):
        sheets = [sheet.get("cells") for sheet in tables["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list):
        return None
    code = [cell for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    return [_text(cell.get("source", cell.get("input", ""))) for cell in code]


def _text(written: Any) -> str:
    parts = written if isinstance(written, list) else [written]
    text = "".join(part for part in parts if isinstance(part, str))
    # JSON may contain half a character (a lone surrogate), which cannot be printed.
    return text.encode("utf-8", "replace").decode("utf-8")


def _language(tables: dict[str, Any]) -> str:
    metadata = tables.get("metadata")
    for key, inner in (("kernelspec", "language"), ("language_info", "name")):
        about = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(about, dict) and isinstance(about.get(inner), str):
            return str(about[inner]).lower()
    return ""


def _lines(text: str) -> list[str]:
    """As Python counts lines; `splitlines` would also break at form feeds and at U+2028."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _cell_tree(lines: Sequence[str]) -> ast.Module:
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None or not lines[first].lstrip().startswith("%%"):
        return _tree(_dedented(lines))
    magic = lines[first].lstrip()[2:].split(maxsplit=1)
    if not magic or magic[0] not in _PYTHON_MAGICS:
        raise SyntaxError(f"%%{magic[0] if magic else ''} is not Python", ("", first + 1, 0, None))
    return _tree(_dedented([*lines[:first], "", *lines[first + 1 :]]))


def _dedented(lines: Sequence[str]) -> list[str]:
    """As IPython does: what the first line with text is indented by is cut off from every line that begins with it."""
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    return [line.removeprefix(indent) for line in lines]


def _tree(lines: Sequence[str]) -> ast.Module:
    """Parse as plain Python first: a line that starts with `%` may continue an expression of the line before."""
    try:
        return _parsed(lines)
    except SyntaxError as error:
        plain = _without_magics(lines)
        if plain == list(lines):
            raise
        try:
            return _parsed(plain)
        except SyntaxError as other:
            raise (other if other.lineno else error) from None


def _without_magics(lines: Sequence[str]) -> list[str]:
    """A magic becomes `pass`, so that a block that contains only magics stays a block."""
    plain, is_continued = [], False
    for line in lines:
        timed = _TIMED.sub(r"\1", line)
        if timed != line:
            plain.append(timed)
        elif is_continued or _MAGIC.match(line):
            indent = line[: len(line) - len(line.lstrip())]
            plain.append("" if is_continued else f"{indent}pass")
            is_continued = line.rstrip().endswith("\\")
        else:
            plain.append(line)
    return plain


def _parsed(lines: Sequence[str]) -> ast.Module:
    with warnings.catch_warnings():
        # Python warns of unknown escapes in the program; that is no finding here.
        warnings.simplefilter("ignore")
        try:
            return ast.parse("\n".join(lines))
        except ValueError as error:
            # Null bytes, and integers of too many digits.
            raise SyntaxError(str(error), ("", 1, 0, None)) from None
