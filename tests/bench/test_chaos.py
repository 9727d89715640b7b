"""The table of docs/reliability.md is that of the record, and the trials can be made again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from benchmarks.chaos.record import Trials, carry_out, read
from benchmarks.chaos.table import misses, table

ROOT = Path(__file__).parent.parent.parent
RECORD, PAGE = ROOT / "benchmarks" / "chaos" / "record.json", ROOT / "docs" / "reliability.md"


def between(text: str, mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- end of {mark} -->", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_page_has_the_counts_of_the_record():
    """Also what did not hold."""
    parts, page = read(RECORD), PAGE.read_text(encoding="utf-8")

    assert len(parts) >= 12
    assert between(page, "table") == table(parts)
    assert between(page, "misses") == misses(parts)
    for part in parts:
        assert sum(part.counts.values()) == part.tried
        assert part.tried - part.held == len(part.misses)


def test_a_stopped_command_goes_on_where_it_was(tmp_path):
    """Trials on record are not made again, whatever stopped the command."""
    made: list[int] = []
    stops = [RuntimeError("stopped")]

    def one(number: int, _draw: Random) -> tuple[str, str]:
        if number == 5 and stops:
            raise stops.pop()
        made.append(number)
        return ("held", "") if number % 2 else ("odd", f"trial {number}")

    def trials():
        yield Trials(name="a part", promise="all", n=9, n_small=1, one=one)

    path = tmp_path / "record.json"
    with pytest.raises(RuntimeError):
        carry_out(trials(), path, is_small=False, say=lambda _: None)
    (part,) = carry_out(trials(), path, is_small=False, say=lambda _: None)

    assert made == list(range(9))
    assert (part.tried, part.held, part.counts) == (9, 4, {"odd": 5, "held": 4})
    assert read(path) == (part,)


@pytest.mark.soak
def test_the_small_form_holds(tmp_path):
    """A few trials of each kind, as processes, with signals and disks."""
    command = [sys.executable, "-m", "benchmarks.chaos", "--small", "--folder", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)

    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    assert "Every trial on record held." in done.stdout
