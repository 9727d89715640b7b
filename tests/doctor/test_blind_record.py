"""The blind test of the doctor: what the documentation says of it is counted again from the record of every case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CASES: Final[dict[str, dict[str, Any]]] = json.loads(
    (ROOT / "benchmarks" / "fault_bench" / "blind.json").read_text(encoding="utf-8")
)["cases"]
FIRST: Final = "named at rank 1 or tied"
SINGLE: Final = [one for one in CASES.values() if isinstance(one["judgement"], str) and one["kind"] != "healthy"]
HEALTHY: Final = [one for one in CASES.values() if one["kind"] == "healthy"]
COSTLY: Final = [one for one in SINGLE if one["lost_validation"] >= 2]


def alarms(case: dict[str, Any]) -> list[str]:
    return [found["code"] for found in case["findings"] if found["severity"] != "note"]


def is_named(case: dict[str, Any]) -> bool:
    return bool(case["judgement"].startswith("named"))


def right_alarms() -> tuple[int, int]:
    """(right, all) over all runs; in a healthy one none is right."""
    total = sum(len(alarms(one)) for one in CASES.values())
    wrong = sum(len(alarms(one)) for one in HEALTHY) + sum(len(one.get("plainly_wrong", ())) for one in CASES.values())
    return total - wrong, total


def test_the_figures_of_the_blind_test_are_those_of_its_cases():
    """Faults, how many of them are named, alarms and how many of them are right, healthy runs with one."""
    page = " ".join((ROOT / "docs" / "doctor.md").read_text(encoding="utf-8").replace("**", "").split())
    named, costly = sum(map(is_named, SINGLE)), sum(map(is_named, COSTLY))
    right, total = right_alarms()
    loud = sum(bool(alarms(one)) for one in HEALTHY)

    assert len(CASES) == 180
    assert f"{len(SINGLE)} single faults of {len({one['kind'] for one in SINGLE})} kinds" in page
    assert f"{named / len(SINGLE):.0%}".replace("%", " %") + f" of the faults ({named} of {len(SINGLE)}" in page
    assert f"{sum(one['judgement'] == FIRST for one in SINGLE)} at rank 1 or tied" in page
    assert f"{costly} of the {len(COSTLY)} that cost two points or more" in page
    assert f"{right / total:.0%}".replace("%", " %") + f" of its {total} alarms" in page
    assert f"{loud} of {len(HEALTHY)} healthy runs ({100 * loud / len(HEALTHY):.1f} %) had an alarm" in page


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_judgement_agrees_with_what_was_found(case):
    """A fault that is called named was named by a finding of that rank; a clean run has no alarm."""
    ranks = {found["code"]: found["rank"] for found in case["findings"]}

    if case["kind"] == "healthy":
        assert case["judgement"] == ("false alarm" if alarms(case) else "clean")
    elif case["judgement"] == FIRST:
        assert ranks[case["named_by"]] == 1
    elif case["judgement"] == "not named":
        assert case["named_by"] is None
