"""What the documentation says of the scripts and notebooks of strangers is counted from their records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pytest

from flyweight.code_check.reading import read_code
from flyweight.evidence.stats import wilson

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "benchmarks" / "fault_bench" / "strangers"
ROUNDS: Final[dict[str, dict[str, Any]]] = {
    path.stem.removeprefix("round"): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("round*.json"))
}


def share(part: int, whole: int) -> str:
    """`4 of 45, 9 % (4 to 21 %)`."""
    low, high = wilson(part, whole)
    return f"{part} of {whole}, {part / whole * 100:.0f} % ({low * 100:.0f} to {high * 100:.0f} %)"


@pytest.mark.parametrize("number", ROUNDS)
def test_the_table_of_rounds_is_counted_from_the_record(number: str) -> None:
    """Files, faults named when each file was first read, alarms that are right, and sound files with a wrong alarm."""
    files = ROUNDS[number]["files"]
    faults = [fault["verdict"] for one in files for fault in one["faults"]]
    alarms = [(one["healthy"], alarm["verdict"]) for one in files for alarm in one["alarms"]]
    judged = [verdict for _, verdict in alarms if verdict != "debatable"]
    sound = [one for one in files if one["healthy"]]
    disturbed = [one for one in sound if any(alarm["verdict"] == "wrong" for alarm in one["alarms"])]

    row = " | ".join(
        [
            f"| {number}",
            str(len(files)),
            share(faults.count("named"), len(faults)),
            share(judged.count("right"), len(judged)),
            f"{share(len(disturbed), len(sound))} |",
        ]
    )

    assert row in (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", ROUNDS)
def test_the_files_of_a_round_are_those_that_were_judged_and_are_read_whole(number: str) -> None:
    """The bytes are those of the first run; a cell is skipped only where it is no Python."""
    files = ROUNDS[number]["files"]
    assert len(files) == 60

    for one in files:
        path = FOLDER / f"round{number}" / one["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"], one["file"]
        skipped = read_code(path).skipped
        assert all("is not Python" in reason for reason in skipped), (one["file"], skipped)
