"""The table shows what was counted, in four forms that say the same."""

import csv
import io
import json

import pytest
from hypothesis import given
from random_nets import nets

from flyweight.model.budget import Budget
from flyweight.model.count import count
from flyweight.model.edits import edits
from flyweight.model.spec import Net
from flyweight.model.table import NO_BUDGET, cost_csv, cost_markdown, cost_text, cost_values
from flyweight.model.trace import trace

NET = "c8p1 bn r 2@(c8p1) m2 unused(c4) +(c8p1 | c8/1) gap flat do.1 fc10 ls"
BUDGET = Budget(params=2_000, macs=10**6, activation=60_000, flash=9_000, epochs=5, seconds=100)
EXTREME = "c65536/11s2p100d20nb c65536/11p60g16nb unused(c3) +(c65536/1) gap flat fc10"


@given(nets())
def test_four_forms_say_the_same(drawn: tuple[Net, tuple[int, ...]]) -> None:
    """Rows, parameters and MACs agree, the columns add up, and text is ASCII within 80 columns."""
    net, image = drawn
    cost = count(net, image)
    budget = Budget(params=max(cost.params // 2, 1), activation=max(cost.activation_bytes // 2, 1))
    found = edits(net, image, budget)

    reported = cost_values(cost, budget, found)
    records = list(csv.DictReader(io.StringIO(cost_csv(cost, budget))))
    text, markdown = cost_text(cost, budget, found), cost_markdown(cost, budget, found)

    assert json.loads(json.dumps(reported, allow_nan=False)) == reported
    assert sum(one["params"] for one in reported["layers"] if one["is_executed"]) == reported["params"] == cost.params
    assert [record["name"] for record in records] == [row.name for row in cost.rows]
    assert sum(int(record["macs"]) for record in records if record["is_executed"] == "1") == cost.macs
    assert text.isascii()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())
    narrow = cost_text(cost, budget, found, width=60)
    longest_word = max(map(len, cost.net.split()))
    assert max(len(line) for line in narrow.splitlines()) <= max(60, 12 + longest_word)
    assert all(f"{row.params:,}" in narrow for row in cost.rows if not row.is_shared)
    assert all(f"{row.params:,}" in text for row in cost.rows if not row.is_shared)
    cells = [line for line in markdown.splitlines() if line.startswith("|")][: len(cost.rows) + 3]
    assert {line.replace("\\|", "").count("|") for line in cells} == {10}


def test_text_of_a_whole_net() -> None:
    """Shared and unused layers are marked; each limit says under or over by how much."""
    text = cost_text(count(NET), BUDGET)

    assert text.splitlines() == [
        "c8p1 bn r 2@(c8p1) m2 unused(c4) +(c8p1 | c8/1) gap flat do.1 fc10 ls",
        "input 1x28x28",
        "",
        "layer              output  params   share       MACs  field  stride   memory",
        "----------------------------------------------------------------------------",
        "conv1        c8p1 8x28x28      80    4.0%     56,448      3       1  28.2 kB",
        "bn1          bn   8x28x28      16    0.8%          0      3       1  25.1 kB",
        "relu1        r    8x28x28       0    0.0%          0      3       1  25.1 kB",
        "conv2        c8p1 8x28x28     584   29.2%    451,584      5       1  50.2 kB",
        "conv2        c8p1 8x28x28  shared    0.0%    451,584      7       1  50.2 kB",
        "maxpool1     m2   8x14x14       0    0.0%          0      8       2  31.4 kB",
        "conv3        c4   4x12x12     292  unused          -      -       -        -",
        "conv4        c8p1 8x14x14     584   29.2%    112,896     12       2  12.5 kB",
        "conv5        c8/1 8x14x14      72    3.6%     12,544      8       2  18.8 kB",
        "avgpool1     gap    8x1x1       0    0.0%          0     38      28   6.3 kB",
        "flatten1     flat       8       0    0.0%          0     38      28     32 B",
        "dropout1     do.1       8       0    0.0%          0     38      28     32 B",
        "linear1      fc10      10      90    4.5%         80     38      28     72 B",
        "log_softmax1 ls        10       0    0.0%          0     38      28     40 B",
        "----------------------------------------------------------------------------",
        "total                  10   1,426   71.3%  1,085,136     38      28  50.2 kB",
        "",
        "columns     share of the budget; field: receptive field, pixels; memory: float32",
        "registered  1,718 parameters, 1,426 executed, 292 unused: conv3",
        "weights     5,768 bytes as float32, 1,442 as int8 (with 16 buffers)",
        "int8 in C   3,010 bytes of flash, 12,544 of RAM on a Cortex-M4 (computed)",
        "budget      1,426 of 2,000 parameters, under by 574",
        "budget      1,085,136 of 1,000,000 MACs, over by 85,136",
        "budget      50,176 of 60,000 bytes of activation memory, under by 9,824",
        "budget      5,768 of 9,000 bytes of flash, under by 3,232",
        "budget      epochs 5",
        "budget      seconds 100",
    ]


def test_dict_judges_every_limit() -> None:
    """The margin is negative where it is over; one limit over is enough not to fit."""
    reported = cost_values(count(NET), BUDGET)

    assert {one["kind"]: one["margin"] for one in reported["verdicts"]} == {
        "params": 574, "macs": -85_136, "activation": 9_824, "flash": 3_232,
    }  # fmt: skip
    assert reported["fits"] is False
    assert cost_values(count(NET))["fits"] is True


def test_edits_are_shown_with_what_they_save_and_their_net() -> None:
    """In text, Markdown and the dict."""
    budget = Budget(params=1_000)
    found = edits(NET, (1, 28, 28), budget)
    best = found[0]

    for shown in (cost_text(count(NET), budget, found), cost_markdown(count(NET), budget, found)):
        assert best.description in shown
        assert f"{best.saves:,}" in shown
        assert f"{best.params:,}" in shown
    assert cost_values(count(NET), budget, found)["edits"][0]["net"] == best.net


@pytest.mark.parametrize("image", [(3, 640, 480), (3, 224, 224)])
def test_huge_nets_fit_80_columns_too(image: tuple[int, ...]) -> None:
    """Tokens are cut, then columns that can be derived are left out."""
    text = cost_text(count(EXTREME, image), Budget(params=10**9, flash=10**9, activation=10**9))

    assert max(len(line) for line in text.splitlines()) <= 80
    assert "conv2" in text


@pytest.mark.parametrize("length", range(60, 90))
def test_long_tokens_are_broken_without_blanks_at_the_end(length: int) -> None:
    """A fraction of hundreds of digits begins anywhere in a line."""
    net = "r " * (length // 2) + "bn " * (length % 2) + "flat do." + "0" * 300 + "1 fc2"

    lines = cost_text(count(net), Budget(params=1), edits(net, (1, 28, 28), Budget(params=1))).splitlines()

    assert all(line == line.rstrip() and len(line) <= 80 for line in lines)


def test_markdown_escapes_what_would_break_a_table() -> None:
    """The bar of a shortcut; an underscore inside a name stays, since it is none of Markdown's."""
    markdown = cost_markdown(count(NET))

    assert markdown.startswith("`c8p1 bn r 2@(c8p1) m2 unused(c4) +(c8p1 | c8/1) gap flat do.1 fc10 ls` on 1x28x28")
    assert "| log_softmax1 |" in markdown


def test_traced_nets_show_what_is_not_known() -> None:
    """A dash in text and None in the dict, never nan."""
    import torch

    cost = trace(torch.nn.Sequential(torch.nn.Softmax(3), torch.nn.Flatten(), torch.nn.Linear(784, 10)))

    assert "nan" not in cost_text(cost) + cost_csv(cost) + cost_markdown(cost)
    assert cost_values(cost, NO_BUDGET)["layers"][0]["receptive_field"] == [None, None]
