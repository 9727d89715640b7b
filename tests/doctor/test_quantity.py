"""A quantity is its value and its formula: what it prints gives what it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_subjects import made_ending, made_history, made_subject
from recomputed import recompute

from flyweight.doctor.quantity import FUNCTIONS, NAMES, Known, Quantity, call, fact

NUMBERS = {"a": 0.1, "b": 3, "c": 7.25, "d": -0.3}


def combined(pair: tuple[Any, Any], sign: str) -> Any:
    one, other = pair
    return {"+": one + other, "-": one - other, "*": one * other}[sign]


def deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    operands = st.tuples(inner, inner).filter(lambda pair: any(isinstance(one, Quantity) for one in pair))
    return st.one_of(
        st.builds(combined, operands, st.sampled_from("+-*")),
        st.builds(lambda one: one / 3, inner),
        st.builds(lambda one: 1 - one, inner),
        st.builds(lambda one: one**2, inner),
        st.builds(lambda one: call(abs, one), inner),
    )


named = st.sampled_from([Quantity(value, name) for name, value in NUMBERS.items()])


@given(st.recursive(named, deeper, max_leaves=12))
def test_a_formula_gives_its_value_to_the_last_bit(quantity: Quantity) -> None:
    """Whatever is combined with whatever: parentheses stand where the order would be another one."""
    assert recompute(quantity.formula, NUMBERS) == quantity.value


@pytest.mark.parametrize(
    ("made", "formula", "value"),
    [
        (
            lambda known: known.recipe.train.lr / (1 - known.recipe.train.momentum),
            "recipe.train.lr / (1 - recipe.train.momentum)",
            1.0,
        ),
        (lambda known: known.data.shape[1], "data.shape[1]", 28),
        (
            lambda known: known.result.test.correct / known.result.test.count,
            "result.test.correct / result.test.count",
            0.985,
        ),
        (lambda known: known.metrics.train_accuracy[-2], "metrics.train_accuracy[-2]", 0.9),
        (lambda known: call(len, known.layers("conv", "linear")), 'len(layers("conv", "linear"))', 3),
        (lambda known: call(round, 1 / known.data.n_classes, 3), "round(1 / data.n_classes, 3)", 0.1),
        (lambda known: call(sum, known.lr_curve[1:3]) * 2, "sum(lr_curve[1:3]) * 2", None),
    ],
)
def test_quantities_of_a_subject_are_named_as_they_are_reached(
    made: Callable[[Known], Quantity], formula: str, value: float | None
) -> None:
    """Attributes, items, operators and functions stand in the formula as they stand in the rule."""
    subject = made_subject(
        overrides=("train.lr=0.1", "train.momentum=0.9"), history=made_history([0.9, 0.95]), ending=made_ending()
    )

    found = fact("a number", made(Known(subject)))

    assert found.source == formula
    assert value is None or found.value == pytest.approx(value)


def test_a_layer_that_runs_again_is_named_by_its_number() -> None:
    """Layers that share weights share a name, so the second is no `row(...)`."""
    subject = made_subject("c8p1 r 2@(c8p1) r gap flat fc10")
    known, rows = Known(subject), subject.cost.rows

    formulas = [known.row(row).formula for row in rows if row.name == rows[2].name]

    assert formulas == [f'row("{rows[2].name}")', "cost.rows[3]"]


def test_a_name_that_nothing_has_is_no_quantity() -> None:
    """A rule with a typing error is an error at once, and no number."""
    known = Known(made_subject())

    with pytest.raises(AttributeError):
        known.recipes  # noqa: B018
    with pytest.raises(AttributeError):
        known.recipe.train.rate  # noqa: B018
    assert {name for name in NAMES if isinstance(getattr(known, name), Quantity)} == set(NAMES)


def test_functions_are_known_by_their_own_names() -> None:
    """Each name once; what a formula calls is what was called."""
    assert len({one.__name__ for one in FUNCTIONS}) == len(FUNCTIONS) > 10
    assert call(math.sqrt, Quantity(4, "a")) == Quantity(2.0, "sqrt(a)")
