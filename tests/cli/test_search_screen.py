"""What people see while a search runs: one screen in a terminal, a line for each news in a pipe."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from flyweight.cli.search import event_line
from flyweight.cli.search_screen import Screen
from flyweight.model.budget import Budget
from flyweight.recipe import load
from flyweight.records.search_record import TrialRecord
from flyweight.search.events import PhaseBegan, SearchEvent, TrialBegan, TrialEnded
from flyweight.search.plan import SearchPlan, plan_of
from flyweight.search.space import Space

NET = "c4nb bn silu c5nb bn silu m2 c5nb bn silu c5nb bn silu m2 c5nb bn silu gap flat fc10"


@pytest.fixture
def events() -> list[SearchEvent]:
    """A search that has three trials: one in full, one that can be promoted, one under way."""
    plan = SearchPlan(
        name="digits",
        recipe=load("own/8k"),
        budget=Budget(params=1_000),
        space=Space(),
        strategy="evolution",
        minutes=30,
        workers=2,
        epochs=12,
        n_seeds=5,
        epoch_seconds=6.0,
        max_epoch_seconds=24.0,
        train_seed=0,
        code="code",
        data_hash="hash",
    )
    assert plan_of(plan.as_dict()) == plan
    first, second, third = (trial(number) for number in (1, 2, 3))
    return [
        PhaseBegan(phase="calibration"),
        PhaseBegan(phase="trials", plan=plan),
        TrialBegan(trial=first),
        TrialBegan(trial=second),
        TrialEnded(trial=trial(1, 0.9, 0.95, 0.9876, status="finished"), net=NET, is_best=True, seconds_left=900),
        TrialEnded(trial=trial(2, 0.91), net=NET, is_best=False, seconds_left=840),
        TrialBegan(trial=third),
    ]


def trial(number: int, *accuracies: float, status: Any = "paused") -> TrialRecord:
    return TrialRecord(
        number=number,
        design={"net": NET, "settings": {}},
        design_hash=str(number),
        origin="known",
        parent=None,
        params=999,
        macs=1,
        activation_bytes=1,
        flash_bytes=1,
        status=status,
        accuracies=accuracies,
        seconds=1.0,
        group_id="g",
        attempt=1,
        message="",
    )


def test_the_screen_has_the_time_the_counts_and_the_best_net(events: list[SearchEvent]) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80, height=30, color_system=None)

    with Screen(console) as screen:
        for event in events:
            screen.watch(event)
        console.print(screen.page())
        screen.watch(PhaseBegan(phase="finals", plan=events[1].plan))  # type: ignore[union-attr]
        finals = io.StringIO()
        Console(file=finals, width=80).print(screen.page())

    text = written.getvalue()
    for shown in (
        "digits: params=1000, evolution, 12 epochs (rungs 1, 4, 12)",
        "14 min left before the finals",
        "2: 1 trained in full, 1 can be promoted; 0 twice; 1 under way",
        "best: trial 1, 98.76% validation at rung 3",
        "999 parameters",
        "trial 3: c4nb",
    ):
        assert shown in text
    assert "finals on fresh seeds" in finals.getvalue()
    assert "left" not in finals.getvalue()
    assert max(len(line.rstrip()) for line in finals.getvalue().splitlines()) <= 80


def test_a_pipe_gets_a_line_for_each_news(events: list[SearchEvent]) -> None:
    lines = [line for event in events if (line := event_line(event)) is not None]

    assert lines[0] == "measuring the speed of this machine"
    assert lines[1].startswith("digits: params=1000, evolution, 30 minutes, 2 at a time; 12 epochs of about 6.0 s")
    assert lines[2] == f"trial 1 finished, rung 3: 98.76%  best so far  {NET}  (15 min left)"
    assert lines[3] == f"trial 2 paused, rung 1: 91.00%  {NET}  (14 min left)"
    assert len(lines) == 4
