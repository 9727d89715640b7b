"""Which runs on record can be used for a requested run: every pair of purposes, and every part of the rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from flyweight.execute.reuse import WantedRun, is_resumable_for, is_reusable_for
from flyweight.records.record import PURPOSES, Purpose, RunFigures

# A row for what a request is for, and in it the purposes of the runs that stand for it (x) or are resumed for it (r).
TABLE = """
                run  trial  remedy  reproduction  certification  search
run             xr   -      -       xr            x              -
trial           x    xr     x       x             x              -
remedy          x    x      xr      x             x              -
reproduction    xr   -      -       xr            x              -
certification   -    -      -       -             -              -
search          -    -      -       -             -              r
"""

WANTED = WantedRun(
    recipe_hash="recipe",
    data_hash="data",
    split_hash="split",
    seed=3,
    purpose="run",
    figures=("validation", "test"),
)


def expected() -> Mapping[tuple[str, str], str]:
    heads, *rows = (line.split() for line in TABLE.strip().splitlines())
    return {(wanted, on_record): cell for wanted, *cells in rows for on_record, cell in zip(heads, cells, strict=True)}


def on_record(**changes: Any) -> RunFigures:
    """A finished run that is the requested one, except for the changes."""
    run = RunFigures(
        id="01",
        name="tiny",
        group_id=None,
        status="finished",
        seed=3,
        recipe_hash="recipe",
        params=10,
        data_name="mnist",
        data_hash="data",
        split_hash="split",
        started_at=datetime(2025, 1, 1, tzinfo=UTC),
        epochs_done=1,
        validation_correct=9,
        validation_count=10,
        validation_loss=0.1,
        test_correct=9,
        test_count=10,
        test_loss=0.1,
        test_openings=1,
        train_seconds=1.0,
    )
    return replace(run, **changes)


@pytest.mark.parametrize(("wanted", "purpose"), list(product(PURPOSES, PURPOSES)))
def test_every_pair_of_purposes_follows_the_table(wanted: Purpose, purpose: Purpose) -> None:
    """A trial can use any run and its own runs serve only trials; a certification neither reuses nor resumes any."""
    cell, asked = expected()[wanted, purpose], replace(WANTED, purpose=wanted)

    assert is_reusable_for(on_record(purpose=purpose), asked) == ("x" in cell)
    assert is_resumable_for(on_record(purpose=purpose, status="interrupted"), asked) == ("r" in cell)


def test_the_table_has_every_pair() -> None:
    """Six purposes on either side."""
    assert len(expected()) == len(PURPOSES) ** 2 == 36


@pytest.mark.parametrize("changes", [{"recipe_hash": "x"}, {"data_hash": "x"}, {"split_hash": "x"}, {"seed": 4}])
def test_a_different_run_is_not_used(changes: dict[str, Any]) -> None:
    """Recipe, images, split and seed must be equal, for an ended run and for a stopped one."""
    assert is_reusable_for(on_record(), WANTED)
    assert not is_reusable_for(on_record(**changes), WANTED)
    assert not is_resumable_for(on_record(status="lost", **changes), WANTED)


@pytest.mark.parametrize(
    ("status", "stands", "resumed"),
    [
        ("finished", True, False),
        ("diverged", True, False),
        ("interrupted", False, True),
        ("lost", False, True),
        ("failed", False, False),
        ("running", False, False),
    ],
)
def test_only_an_ended_run_is_reused(status: Any, stands: bool, resumed: bool) -> None:
    """A stopped run is resumed; a failed or running one is neither reused nor resumed."""
    assert is_reusable_for(on_record(status=status), WANTED) == stands
    assert is_resumable_for(on_record(status=status), WANTED) == resumed


def test_a_reused_run_must_have_the_requested_figures() -> None:
    """A run without test figures is used if only validation is requested; a diverged run needs no figures."""
    closed = {"test_correct": None, "test_count": None, "test_loss": None, "test_openings": 0}

    assert not is_reusable_for(on_record(**closed), WANTED)
    assert is_reusable_for(on_record(**closed), replace(WANTED, figures=("validation",)))
    assert is_reusable_for(on_record(), replace(WANTED, figures=("validation",)))
    assert is_reusable_for(on_record(**closed, status="diverged", validation_count=None), WANTED)
