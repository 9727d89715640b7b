"""Runs as one file: every figure comes back as it was, of one kind a column, and no text is run by a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded_runs import RECIPE, RESULT, begin, complete

from flyweight.errors import MissingError, UsageError
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.tables import without_formula
from flyweight.trackers.run_table import DERIVED, ENVIRONMENT, WRITERS, table_of, write_table

RUN_COLUMNS = [field.name for field in dataclasses.fields(RunRecord) if field.name not in ("recipe", "environment")]


@pytest.fixture
def runs(store: Store) -> tuple[RunRecord, ...]:
    """A finished run, one that diverged before anything was measured, one at work, and one with other keys."""
    finished = complete(store, study="first")
    diverged = store.finish(begin(store, seed=1).id, "diverged", message="the loss is no number")
    at_work = begin(store, seed=2, environment={})
    recipe = {**RECIPE, "train": {"epochs": 5, "lr": 1, "schedule": "step", "drops": [3, 4]}}
    other = complete(store, seed=3, name="=cmd|' /C calc'!A0", recipe=recipe, group_id=None)
    return (finished, diverged, at_work, other)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file as a reader of its kind sees them."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    if path.suffix == ".json":
        found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        return found
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(params=WRITERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each kind."""
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return tmp_path / "out" / f"runs{request.param}"


def test_every_run_is_a_row_and_every_fact_a_column(runs: tuple[RunRecord, ...], path: Path) -> None:
    """The record's columns in its order, the accuracies, the environment, then the recipe's keys."""
    assert write_table(runs, path) == path

    rows = read(path)
    keys = [
        "data.flip",
        "data.name",
        "data.train_limit",
        "description",
        "model.net",
        "name",
        "train.drops",
        "train.epochs",
        "train.lr",
        "train.schedule",
    ]
    assert len(rows) == len(runs) == 4
    assert list(rows[0]) == [
        *RUN_COLUMNS,
        *DERIVED,
        *(f"environment.{name}" for name in ENVIRONMENT),
        *(f"recipe.{key}" for key in keys),
    ]
    assert [row["id"] for row in rows] == [run.id for run in runs]
    assert [row["study"] for row in rows] == (
        ["first", "", "", ""] if path.suffix == ".csv" else ["first", *[None] * 3]
    )


def test_figures_come_back_bit_for_bit(runs: tuple[RunRecord, ...], path: Path) -> None:
    """A float read back is the float on record."""
    write_table(runs, path)

    row = read(path)[0]
    assert float(row["train_accuracy"]) == runs[0].train_accuracy == 54 / 55
    assert float(row["validation_loss"]) == RESULT["validation_loss"]
    assert int(row["macs"]) == 1_234_567
    assert float(row["recipe.train.lr"]) == 0.1


def test_what_is_not_known_stays_empty(runs: tuple[RunRecord, ...], path: Path) -> None:
    """Neither nan nor None nor zero: an empty cell or null."""
    write_table(runs, path)

    nothing = "" if path.suffix == ".csv" else None
    rows = read(path)
    for name in ("test_accuracy", "validation_loss", "best_epoch", "recipe.train.drops", "recipe.data.train_limit"):
        assert rows[1][name] == nothing, name
    assert rows[2]["finished_at"] == nothing
    assert rows[2]["environment.torch"] == nothing
    assert not [value for row in rows for value in row.values() if str(value).lower() in ("nan", "nat")]


def test_parquet_columns_have_one_kind_whatever_the_rows(runs: tuple[RunRecord, ...], tmp_path: Path) -> None:
    """A column that is empty today has the kind it will have when it is full, so files can be laid together."""
    pytest.importorskip("pyarrow")
    from pyarrow import parquet, types

    full, empty, none = (
        parquet.read_schema(write_table(some, tmp_path / f"{number}.parquet"))
        for number, some in enumerate([runs, runs[1:3], ()])
    )

    for name in [*RUN_COLUMNS, *DERIVED, *(f"environment.{name}" for name in ENVIRONMENT)]:
        assert full.field(name).type == empty.field(name).type == none.field(name).type, name
    assert types.is_timestamp(full.field("started_at").type)
    assert full.field("started_at").type.tz == "UTC"
    assert types.is_int64(full.field("best_epoch").type)
    assert types.is_float64(full.field("test_accuracy").type)
    assert types.is_float64(full.field("recipe.train.lr").type)
    assert types.is_int64(full.field("recipe.train.epochs").type)
    assert types.is_boolean(full.field("recipe.data.flip").type)
    assert types.is_string(full.field("recipe.train.drops").type)


def test_moments_are_utc(runs: tuple[RunRecord, ...], path: Path) -> None:
    """In text they are ISO 8601 and end in Z, in Parquet they are timestamps."""
    write_table(runs, path)

    started = read(path)[0]["started_at"]
    if path.suffix == ".parquet":
        assert started == runs[0].started_at
    else:
        assert started.endswith("Z")
        assert datetime.fromisoformat(started) == runs[0].started_at
    assert runs[0].started_at.tzinfo == UTC


def test_columns_do_not_depend_on_the_order_of_the_runs(runs: tuple[RunRecord, ...]) -> None:
    """The same runs in another order give the same columns of the same kinds."""
    forth, back = table_of(runs), table_of(runs[::-1])

    assert [(column.name, column.kind) for column in forth] == [(column.name, column.kind) for column in back]
    assert [column.cells for column in forth] == [column.cells[::-1] for column in back]


def test_no_runs_are_a_file_too(path: Path) -> None:
    """A table of no rows is written and read."""
    write_table([], path)

    assert read(path) == []


def test_no_cell_of_a_csv_is_a_formula(runs: tuple[RunRecord, ...], tmp_path: Path) -> None:
    """Text that a spreadsheet would run stands behind an apostrophe; numbers below zero stay numbers."""
    rows = read(write_table(runs, tmp_path / "runs.csv"))

    assert rows[3]["name"] == "'=cmd|' /C calc'!A0"
    assert rows[3]["recipe.train.drops"] == "[3, 4]"
    assert without_formula(-0.5) == -0.5


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_text_comes_back_from_a_csv(store: Store, tmp_path: Path, text: str) -> None:
    """Quotes, commas, line ends: one cell, the same text, an apostrophe at most before it."""
    run = store.finish(begin(store).id, "failed", message=text)

    (row,) = read(write_table([run], tmp_path / "text.csv"))

    assert row["message"] in (text, f"'{text}")
    assert not row["message"].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_json_has_no_word_that_json_does_not_know(store: Store, tmp_path: Path) -> None:
    """A recipe that held a number that is none gives null, not NaN."""
    run = dataclasses.replace(complete(store), recipe={"train": {"lr": math.nan, "warmup": math.inf}})

    path = write_table([run], tmp_path / "runs.json")

    (row,) = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert (row["recipe.train.lr"], row["recipe.train.warmup"]) == (None, None)


@pytest.mark.parametrize("name", ["runs.xlsx", "runs", "runs.csv.gz"])
def test_another_suffix_is_refused_with_the_three(runs: tuple[RunRecord, ...], tmp_path: Path, name: str) -> None:
    """What cannot be written is said before anything is, with what can."""
    with pytest.raises(UsageError, match=r"must end in \.parquet, \.csv, \.json"):
        write_table(runs, tmp_path / name)

    assert not (tmp_path / name).exists()


def test_what_was_there_stays_if_writing_fails(runs: tuple[RunRecord, ...], path: Path) -> None:
    """A file is replaced whole or not at all, and nothing half is left beside it."""
    write_table(runs[:1], path)
    before = path.read_bytes()
    impossible = dataclasses.replace(runs[0], name="lone surrogate \ud800")

    with pytest.raises(Exception, match=r"surrogate|utf|UTF"):
        write_table([impossible], path)

    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written_is_reported(runs: tuple[RunRecord, ...], tmp_path: Path) -> None:
    """One line: which file, and why not."""
    (tmp_path / "file").write_text("")

    with pytest.raises(MissingError, match=r"cannot write .*runs\.csv: .*; choose another path"):
        write_table(runs, tmp_path / "file" / "runs.csv")


def test_ten_thousand_runs_take_seconds(runs: tuple[RunRecord, ...], path: Path) -> None:
    """A journey's whole history is one call."""
    many = runs * 2_500

    write_table(many, path)

    assert len(read(path)) == 10_000
