"""The counts of 48 published nets come out to the digit, and what was told wrongly is known."""

import pytest
import torch
from published_nets import DOCUMENTS, PUBLISHED, Published
from torch import Tensor, nn

from flyweight.model.build import build
from flyweight.model.count import count
from flyweight.model.trace import trace
from nets_of_documents import EXPERIMENTS

# Registered with the net as a batch norm over 20 features, where no layer has 20: no chain of layers can hold it.
NOT_A_CHAIN = "s004-1"


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.id)
def test_published_net_is_counted_to_the_digit(published: Published) -> None:
    """Executed and registered parameters, in closed form and built."""
    cost = count(published.net)

    assert cost.params == published.params
    assert cost.out_shape == (10,)
    if published.id != NOT_A_CHAIN:
        assert cost.registered_params == published.registered_params
        assert sum(one.numel() for one in build(published.net).parameters()) == published.registered_params


def test_all_48_are_there_and_their_counts_are_the_known_ones() -> None:
    """5 + 10 + 14 + 18 + 1 experiments; each count the documents and their notebooks tell rightly is in the table."""
    by_document = {number: [one for one in PUBLISHED if one.id[1:4] == number] for number in DOCUMENTS}
    rightly_told = {one.params for one in PUBLISHED if one.reported == one.params}

    assert [len(found) for found in by_document.values()] == [5, 10, 14, 18, 1]
    assert len({one.id for one in PUBLISHED}) == 48
    assert rightly_told == {
        12_026, 35_946, 32_090, 38_330, 22_186, 22_410, 19_614, 19_348, 593_200,
        130_864, 39_594, 25_674, 24_498, 61_461, 24_245, 20_290, 19_349,
    }  # fmt: skip
    assert [one.id for one in PUBLISHED if one.params == 12_026] == ["s003-1", "s003-2"]


def test_counts_typed_by_hand_are_distinguished() -> None:
    """Four experiments tell a count that their net does not have."""
    wrong = {one.id: (one.reported, one.params) for one in PUBLISHED if one.reported not in (None, one.params)}

    assert wrong == {
        "s001-9": (24_498, 24_638),
        "s001-10": (24_498, 24_638),
        "s003-10": (22_186, 22_410),
        "s003-13": (22_186, 19_614),
    }
    assert all(one.note for one in PUBLISHED if one.id in wrong)


def test_registered_is_not_executed_in_three_of_them() -> None:
    """21,700 against 19,348 twice, 19,389 against 19,349 once."""
    idle = {one.id: (one.registered_params, one.params) for one in PUBLISHED if one.registered}

    assert idle == {"s003-17": (21_700, 19_348), "s003-18": (21_700, 19_348), "s004-1": (19_389, 19_349)}


class WithIdleBatchNorm(nn.Module):
    """s004-1 as its notebook has it: a batch norm over 20 features that forward never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build(next(one.net for one in PUBLISHED if one.id == NOT_A_CHAIN))
        self.bn1d = nn.BatchNorm1d(20)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_idle_layer_that_fits_nowhere_is_found_by_tracing() -> None:
    """19,389 registered, 19,349 executed; the unused one is named."""
    cost = trace(WithIdleBatchNorm())

    assert (cost.registered_params, cost.params) == (19_389, 19_349)
    assert [(row.name, row.params) for row in cost.rows if not row.is_executed] == [("bn1d", 40)]


def test_table_agrees_with_the_study_of_the_documents() -> None:
    """Every entry of the table is the one of the study, layer by layer."""
    assert [one.id for one in PUBLISHED] == [entry.id for entry in EXPERIMENTS]
    for one, entry in zip(PUBLISHED, EXPERIMENTS, strict=True):
        cost = count(one.net)
        assert count(entry.notation).params == one.params == entry.params
        assert one.registered_params == entry.registered
        assert one.reported == (entry.reported or entry.in_source)
        assert [(row.out_shape, row.params) for row in cost.rows if row.is_executed] == entry.layers


def test_weights_of_a_published_net_predict_ten_classes() -> None:
    """The built net of 19,348 parameters answers log-probabilities for a batch of images."""
    net = next(one.net for one in PUBLISHED if one.id == "s003-17")

    answer = build(net).eval()(torch.zeros(2, 1, 28, 28))

    assert answer.shape == (2, 10)
    assert torch.allclose(answer.exp().sum(1), torch.ones(2))
