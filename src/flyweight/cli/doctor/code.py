"""`flyweight doctor --code`: faults in the text of a notebook or script."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from flyweight.cli.output import say, say_json


def check_code(path: Path, *, is_all: bool, as_json: bool) -> int:
    """Print the faults found in the text of a notebook or script."""
    from flyweight.code_check.reading import read_code
    from flyweight.report.diagnosis.code_check import code_text

    found = read_code(path)
    if as_json:
        say_json(asdict(found))
    else:
        say(code_text(found, is_full=is_all))
    return 0
