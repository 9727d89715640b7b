"""A budget is a set of inclusive limits that can be written as text."""

import pytest

from flyweight.errors import UsageError
from flyweight.model.budget import KINDS, Budget, LimitCheck, overruns, parse_budget, refusal
from flyweight.model.count import count

NET_19348 = (
    "c14p1 bn r c14p1 bn r c14p1 bn r m2 do.1 c24p1 bn r c24p1 bn r m2 do.1 "
    "c16p1 bn r c16p1 bn r unused(c16p1 bn) gap flat do.1 fc50 r fc10 ls"
)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("20k", Budget(params=20_000)),
        ("20K", Budget(params=20_000)),
        ("20_000", Budget(params=20_000)),
        ("20,000", Budget(params=20_000)),
        ("19348", Budget(params=19_348)),
        ("params=20k", Budget(params=20_000)),
        (" params = 0.5k ", Budget(params=500)),
        ("macs=1.2M", Budget(macs=1_200_000)),
        ("activation=32000", Budget(activation=32_000)),
        ("activation=32kB", Budget(activation=32_000)),
        ("activation=32 KiB", Budget(activation=32_768)),
        ("flash=80kB", Budget(flash=80_000)),
        ("epochs=5", Budget(epochs=5)),
        ("seconds=100", Budget(seconds=100)),
        ("seconds=1.5min", Budget(seconds=90)),
        ("seconds=0.25", Budget(seconds=0.25)),
        (["20k", "macs=1.2M", "seconds=100"], Budget(params=20_000, macs=1_200_000, seconds=100)),
        ([], Budget()),
    ],
)
def test_budget_is_read_from_text(text: str | list[str], budget: Budget) -> None:
    """Counts take k, M and G, bytes kB and KiB, times s, min and h; a bare number limits parameters."""
    assert parse_budget(text) == budget


@pytest.mark.parametrize("budget", [Budget(params=1, seconds=0.5), Budget(**dict.fromkeys(KINDS, 7))])
def test_budget_prints_what_can_be_read_back(budget: Budget) -> None:
    """str(budget), split at spaces, parses to the same budget."""
    assert parse_budget(str(budget).split()) == budget


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("parms=20k", "Did you mean 'params'?"),
        ("sconds=3", "Did you mean 'seconds'?"),
        ("macs", "Did you mean 'macs'?"),
        ("20q", "cannot have the unit 'q'"),
        ("params=", "needs an amount"),
        ("-3", "needs an amount"),
        ("1e3", "needs an amount"),
        ("nan", "needs an amount"),
        ("0", "must be above 0"),
        ("epochs=2.5", "not an integer"),
        (["20k", "params=3"], "limited twice"),
    ],
)
def test_wrong_budget_is_reported_with_the_nearest_kind(text: str | list[str], reported: str) -> None:
    """What cannot be a budget is a usage error that says what was found."""
    with pytest.raises(UsageError) as caught:
        parse_budget(text)

    assert reported in str(caught.value)


def test_limits_are_inclusive() -> None:
    """19,348 parameters pass a budget of 19,348 and fail 19,347 by one."""
    cost = count(NET_19348)

    assert overruns(Budget(params=19_348), cost) == ()
    assert overruns(Budget(params=19_347), cost) == (LimitCheck(kind="params", needed=19_348, allowed=19_347),)
    assert overruns(Budget(params=19_347), cost)[0].margin == -1


@pytest.mark.parametrize(
    ("kind", "needed"), [("params", 19_348), ("macs", 4_757_044), ("activation", 87_808), ("flash", 78_368)]
)
def test_every_kind_of_a_net_is_limited(kind: str, needed: int) -> None:
    """What the net needs passes, one less does not."""
    cost = count(NET_19348)

    assert overruns(Budget(**{kind: needed}), cost) == ()
    assert [overrun.margin for overrun in overruns(Budget(**{kind: needed - 1}), cost)] == [-1]


def test_epochs_are_limited_when_they_are_known() -> None:
    """Planned epochs count; without a plan, and for seconds, there is nothing to judge."""
    cost = count(NET_19348)

    assert overruns(Budget(epochs=5, seconds=1), cost, epochs=5) == ()
    assert overruns(Budget(epochs=5, seconds=1), cost) == ()
    assert [overrun.kind for overrun in overruns(Budget(epochs=5), cost, epochs=6)] == ["epochs"]


def test_refusal_reports_needs_budget_heaviest_and_what_to_try() -> None:
    """The whole message for the net of 593,200 parameters."""
    cost = count("c32 r c64 m2 r c128 r c256 m2 r flat fc50 r fc10 ls")
    found = overruns(Budget(params=25_000, epochs=1), cost, epochs=2)

    message = refusal("iteration-2", cost, found, suggestions=["thinner"])

    assert message.splitlines() == [
        "iteration-2 needs 593,200 parameters, the budget is 25,000 (568,200 over).",
        "iteration-2 needs 2 epochs, the budget is 1 (1 over).",
        "  Heaviest: conv4 295,168, linear1 204,850, conv3 73,856.",
        "  Try: thinner",
    ]
