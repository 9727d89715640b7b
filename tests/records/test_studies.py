"""Studies, notes, plans, and the figures that a journal reads: on both back ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from flyweight.errors import UsageError
from flyweight.records.record import RunFigures, RunRecord
from flyweight.records.store import Store

Start = Callable[..., RunRecord]


def test_a_run_knows_its_study_and_its_parent(store: Store, start: Start) -> None:
    """Both come back as given; a run without them has none."""
    alone, step = start(), start(study="widths", parent_hash="12" * 32)

    assert (alone.study, alone.parent_hash) == (None, None)
    assert (step.study, step.parent_hash) == ("widths", "12" * 32)
    assert store.runs(study="widths") == (step,)


def test_a_study_has_a_name(store: Store, start: Start) -> None:
    """An empty one is refused by the database itself."""
    with pytest.raises(IntegrityError, match="ck_runs_study"):
        start(study="")


def test_figures_are_those_of_the_records_oldest_first(store: Store, start: Start) -> None:
    """Each field of the light value equals that of the full record, openings of the test set included."""
    first, second, other = start(study="widths"), start(study="widths", seed=1), start(study="depths")
    store.open_test(second.id, "final figure of the run")
    store.finish(
        second.id, "finished", test_correct=9_940, test_count=10_000, validation_correct=9, validation_count=10
    )

    found = store.figures(study="widths")

    assert [figures.id for figures in found] == [first.id, second.id]
    record = asdict(store.get(second.id))
    assert asdict(found[1]) == {field.name: record[field.name] for field in fields(RunFigures)}
    assert (found[1].test_accuracy, found[1].validation_accuracy, found[0].test_accuracy) == (0.994, 0.9, None)
    assert [figures.id for figures in store.figures()] == [first.id, second.id, other.id]


def test_an_unknown_study_names_those_there_are(store: Store, start: Start) -> None:
    """The nearest first, then all, the newest before the others; in an empty store, how to begin one."""
    with pytest.raises(UsageError, match="train --study NAME"):
        store.figures(study="width")
    start(study="widths")
    start(study="depths")

    with pytest.raises(UsageError, match=r"no study 'width'\. Did you mean 'widths'\? There are depths, widths\."):
        store.figures(study="width")


def test_recipes_come_once_each_by_their_hash(store: Store, start: Start) -> None:
    """More hashes than a statement takes parameters are no obstacle, and unknown ones are left out."""
    start(recipe_hash="a1", recipe={"name": "first"})
    start(recipe_hash="a1", recipe={"name": "again"}, seed=1)
    start(recipe_hash="b2", recipe={"name": "other"})

    found = store.recipes(["b2", "a1", *(f"c{n}" for n in range(1_200))])

    assert found == {"a1": {"name": "again"}, "b2": {"name": "other"}}


def test_notes_are_kept_with_author_and_time_and_never_replaced(store: Store) -> None:
    """All come back in the order of writing, each with its study or none."""
    first = store.notebook.write_note("a1", "before", "faster", author="Ada", study="widths")
    second = store.notebook.write_note("a1", "before", "faster, I hope", author="Ada", study="widths")
    apart = store.notebook.write_note("a1", "after", "a null \0 byte", author="Ada")

    assert store.notebook.notes() == (first, second, apart)
    assert [note.study for note in store.notebook.notes()] == ["widths", "widths", None]
    assert (first.kind, first.text, first.author) == ("before", "faster", "Ada")
    assert first.written_at <= second.written_at
    assert "\0" not in apart.text


@pytest.mark.parametrize("wrong", [{"kind": "meanwhile"}, {"author": ""}, {"study": ""}])
def test_a_note_that_cannot_be_is_refused(store: Store, wrong: dict[str, Any]) -> None:
    """The database holds the kinds, and that there is an author."""
    note = {"kind": "before", "author": "Ada", "study": None, **wrong}

    with pytest.raises(IntegrityError, match="ck_notes"):
        store.notebook.write_note("a1", note.pop("kind"), "text", **note)


def test_a_plan_is_found_from_both_sides_and_made_once(store: Store) -> None:
    """Whoever asks the question the other way round finds the same plan; a second one is refused."""
    question = {"data_hash": "d", "part": "test"}
    plan = store.notebook.make_plan("a1", "b2", looks=[(3, 3), (4, 4)], level=0.03, **question)

    assert store.notebook.plan("a1", "b2", **question) == store.notebook.plan("b2", "a1", **question) == plan
    assert plan.looks == [[3, 3], [4, 4]]
    assert store.notebook.plan("a1", "b2", data_hash="d", part="validation") is None
    with pytest.raises(IntegrityError):
        store.notebook.make_plan("a1", "b2", looks=[(3, 3)], level=0.05, **question)


def test_a_notebook_shows_a_run_escaped(store: Store, start: Start) -> None:
    """Its figures as text, and whatever a name holds as text too."""
    run = start(name="<img src=x onerror=alert(1)>")
    record = store.finish(run.id, "finished", test_correct=9_940, test_count=10_000, message="a & b", epochs_done=5)

    shown = record._repr_html_()

    assert "<img" not in shown
    assert "finished: a &amp; b" in shown
    assert "99.40%" in shown
    assert "19,348" in shown
    assert "99.40%" not in run._repr_html_()
