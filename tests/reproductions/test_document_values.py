"""The documents as they are written: all experiments are there, every count and mark of them holds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flyweight.errors import UsageError
from flyweight.model.count import count
from flyweight.recipe import Recipe, flat, keys, load, value_at
from flyweight.reproductions.document import MARKS, NOT_A_NUMBER, Claim, Step, document, documents
from flyweight.reproductions.verdicts import INPUT_SHAPE
from nets_of_documents import BESIDE, EXPERIMENTS

STEPS = {"000": 5, "001": 10, "002": 14, "003": 18, "004": 1}
RELATED = {"000": 0, "001": 1, "002": 1, "003": 3, "004": 1}
# What forward uses, by steps in a row; the sums are in the documents' own sources.
COUNTS = {
    "000": [15842] * 3 + [20290] * 2,
    "001": [593200, 130864, 130864, 39594, 25674] + [24498] * 3 + [24638] * 2 + [593200],
    "002": [593200] * 10 + [61461] * 3 + [24245, 14378],
    "003": [12026, 12026, 35946, 32090, 38330] + [22186] * 3 + [22410] * 2 + [19614] * 6 + [19348] * 2
    + [23354, 20214, 20050],
    "004": [19349, 19349],
}  # fmt: skip
REGISTERED = {"003-17": 21700, "003-18": 21700, "003-19": 22402, "004-1": 19389, "004-2": 19389}
# Counts that were typed by hand and are wrong.
WRONG_COUNTS = {"001-9": 24498, "001-10": 24498, "002-b1": 24245, "003-10": 22186, "003-13": 22186}


def every_step() -> list[Step]:
    return [step for one in documents() for step in one.all_steps]


def test_all_experiments_are_there() -> None:
    """48 experiments in five documents, and the six steps beside them."""
    assert {one.name: len(one.steps) for one in documents()} == STEPS
    assert {one.name: len(one.related) for one in documents()} == RELATED
    assert sum(STEPS.values()) == 48
    assert len({step.name for step in every_step()}) == 54


@pytest.mark.parametrize("name", STEPS)
def test_every_net_has_the_count_of_its_source(name: str) -> None:
    """To the digit, what is registered and never used counted apart."""
    costs = {step.name: count(step.recipe.model.net, INPUT_SHAPE) for step in document(name).all_steps}

    assert [cost.params for cost in costs.values()] == COUNTS[name]
    for step, cost in costs.items():
        assert cost.registered_params == REGISTERED.get(step, cost.params)


def test_every_claimed_count_is_right_or_known_to_be_wrong() -> None:
    """43 counts are claimed, five of them typed wrongly."""
    claimed = {step.name: int(c.value) for step in every_step() for c in step.claims if c.what == "parameters"}
    wrong = {name: n for name, n in claimed.items() if n != count(load(name).model.net, INPUT_SHAPE).params}

    assert wrong == WRONG_COUNTS
    assert len(claimed) == 46


def test_every_key_that_a_step_sets_says_how_sure_it_is() -> None:
    """What differs from a default has one of the four marks, and what was assumed has its alternatives."""
    defaults = flat(Recipe(name="plain", model={"net": "flat fc10"}).model_dump())  # type: ignore[arg-type]
    n_set, n_assumed = 0, 0
    for step in every_step():
        recipe = step.recipe
        values = flat(recipe.model_dump())
        changed = {key for key in values if values[key] != defaults[key] and key not in ("name", "description")}
        n_set += len(changed)
        n_assumed += len(step.assumed)
        assert changed <= step.marks.keys(), step.name
        assert set(step.marks.values()) <= MARKS.keys()
        assert step.marks.keys() <= {key.key for key in keys()}
        assert [key for key in step.assumed if not step.alternatives.get(key)] == []

    assert n_set > 850
    assert n_assumed > 100


def test_a_step_is_the_change_against_the_one_it_came_from() -> None:
    """No step repeats what it inherits, and each comes from an earlier step of its document but the first."""
    n_changes = 0
    for one in documents():
        names = [step.name for step in one.all_steps]
        for step in one.all_steps:
            if step.parent is None:
                assert step.name == names[0]
                continue
            assert step.extends in names[: names.index(step.name)]
            written = list(flat(_written(one.name, step.name)))
            repeated = [key for key in written if value_at(step.parent, key) == value_at(step.recipe, key)]
            assert repeated == [], step.name
            n_changes += len(written)

    assert n_changes > 70


def _written(name: str, step: str) -> dict[str, Any]:
    from flyweight.recipe.catalogue import document_tables

    tables = document_tables(name)
    (found,) = [one for one in (*tables["steps"], *tables.get("related", ())) if one["name"] == step]
    return dict(found["recipe"])


def test_every_claim_is_a_figure_or_an_outcome() -> None:
    """Right answers over images give the accuracy that is reported, as far as the document's own output goes."""
    claims = [(step.name, claim) for step in every_step() for claim in step.claims]
    slips = []
    for step, claim in claims:
        if claim.what in ("outcome", "net") or claim.reported == NOT_A_NUMBER:
            continue
        assert claim.value > 0
        assert claim.what != "accuracy" or claim.value < 1
        is_counted = claim.correct is not None and claim.images is not None
        if is_counted and abs(claim.correct / claim.images - claim.value) > claim.unit / 2:
            slips.append(step)

    assert slips == []
    assert len(claims) > 260


@pytest.mark.parametrize(
    ("reported", "value", "sense", "unit"),
    [
        ("95.68 %", 0.9568, "exactly", 0.0001),
        ("about 9.9 %", 0.099, "about", 0.001),
        ("above 95 %", 0.95, "above", 0.01),
        ("0.0049", 0.0049, "exactly", 0.0001),
        ("22186", 22186, "exactly", 1),
    ],
)
def test_a_claim_is_read_as_it_is_reported(reported: str, value: float, sense: str, unit: float) -> None:
    """Its figure, how exactly it is meant, and what its last digit is worth."""
    claim = Claim(what="accuracy", reported=reported, mark="stated")

    assert claim.value == pytest.approx(value)
    assert claim.sense == sense
    assert claim.unit == pytest.approx(unit)


def test_a_column_of_a_log_is_claimed_epoch_by_epoch() -> None:
    """Once each, with the digits that were printed, whether or not some of them were claimed by hand."""
    (step,) = [one for one in document("004").steps if one.name == "004-1"]
    claims = {(claim.what, claim.epoch): claim for claim in step.claims if claim.epoch and claim.on == "test"}
    figures = [(claims["accuracy", int(row["epoch"])], claims["loss", int(row["epoch"])]) for row in step.log]

    assert len(figures) == 20
    assert sum(claim.epoch is not None for claim in step.claims) == 40
    assert [(accuracy.reported, loss.reported) for accuracy, loss in figures[7:10]] == [
        ("99.30 %", "0.0239"),
        ("99.23 %", "0.0236"),
        ("99.32 %", "0.0204"),
    ]


def test_every_step_of_the_log_of_003_links_to_its_commit() -> None:
    """A commit of its own for each of the 21 steps, as the document lists them."""
    links = [step.link for step in document("003").all_steps]

    assert all(link and re.search(r"/blob/[0-9a-f]{40}/MNIST_Model/Reference/\w+\.ipynb$", link) for link in links)
    assert len(set(links)) == 21


def test_logs_are_complete() -> None:
    """Epochs count up from 1, to the last that the step trains."""
    logs = {step.name: step.log for step in every_step() if step.log}
    for name, log in logs.items():
        assert [row["epoch"] for row in log] == list(range(1, len(log) + 1))
        assert load(name).train.epochs == len(log)
        assert all("test" in row or "validation" in row for row in log)

    assert len(logs) == 35


def test_steps_are_chosen_by_their_name_or_its_end() -> None:
    """In the order of the document; a step that is not there is named with all that are."""
    log = document("003")

    assert [step.name for step in log.select(["17", "003-2"])] == ["003-2", "003-17"]
    assert len(log.select([])) == 21
    with pytest.raises(UsageError, match=r"no step '19b'.*Did you mean.*Steps are 003-1, 003-2, "):
        log.select(["1", "19b"])
    with pytest.raises(UsageError, match="Documents are 000, 001, 002, 003, 004"):
        document("005")


def test_every_net_is_layer_by_layer_that_of_the_sources() -> None:
    """Shapes and parameters against the list that was made from the sources; two steps have the net of another."""
    found = (*EXPERIMENTS, *BESIDE)
    for net in found:
        rows = [row for row in count(load(net.id[1:]).model.net, INPUT_SHAPE).rows if row.is_executed]
        reported = [(shape, params) for shape, params in net.layers if params]
        assert [(row.out_shape, row.params) for row in rows if row.params] == reported, net.id

    assert len(found) == 52
