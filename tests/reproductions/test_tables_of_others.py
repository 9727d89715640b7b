"""Tables of experiments that others wrote: read whole or refused whole, and doubted only with numbers in hand."""

from __future__ import annotations

import random
import string
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flyweight.errors import DataError, UsageError
from flyweight.model.count import count
from flyweight.reproductions.log_import.cells import Accuracy, read_accuracy, read_count
from flyweight.reproductions.log_import.changes import is_training_only, layers_changed
from flyweight.reproductions.log_import.doubts import KINDS, MNIST_CLASS_COUNTS, Doubt, doubts
from flyweight.reproductions.log_import.pipes import pipe_tables
from flyweight.reproductions.log_import.proportions import p_of_difference, shown_difference
from flyweight.reproductions.log_import.reading import read_table
from flyweight.reproductions.log_import.table import Row, Table
from nets_of_documents import EXPERIMENTS

# The figures of the log of 18 rows: change, count as reported, correct predictions of 10,000.
LOG_003 = (
    ("first try", 12026, 8964),
    ("kernels of 5x5 at the front", 12026, 8819),
    ("Channels: 10→16, 16→32", 35946, 9475),
    ("Channels: 16→32, 32→16", 32090, 9611),
    ("Padding in the first block", 38330, 9863),
    ("Padding everywhere, two more blocks", 22186, 9804),
    ("Scheduler step_size 1 → 5", 22186, 9872),
    ("Scheduler step_size 5 → 10", 22186, 9917),
    ("Batch norm added after each conv", 22410, 9946),
    ("Batch size doubled to 1024", 22186, 9947),
    ("Channel decrease: 32→28", 19614, 9928),
    ("Validation split", 19614, 9935),
    ("Dropout p=0.5 added", 22186, 9923),
    ("Dropout p=0.25, clean validation images", 19614, 9918),
    ("Dropout removed", 19614, 9919),
    ("Dropout 0.3", 19614, 9915),
    ("LR 0.05, global average pooling, more convs", 19348, 9949),
    ("Dropout 0.15", 19348, 9941),
)
HEADS = {"step": "#", "change": "Changes", "parameters": "Params", "accuracy": "Test Acc"}


def markdown(headers: list[str], rows: list[list[str]], *, is_framed: bool = True) -> str:
    """A pipe table of cells that are Markdown already."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" if is_framed else " | ".join(line) for line in lines)


def log(*rows: tuple[str, str, str]) -> str:
    """A log of (change, parameters, accuracy)."""
    return markdown(list(HEADS.values()), [[str(n), *row] for n, row in enumerate(rows, start=1)])


def read(text: str, **columns: str) -> Table:
    return read_table(text, label="log.md", columns=columns)


def reported(table: Table) -> list[tuple[str | None, str | None]]:
    """The claims of each row, as they are reported."""
    return [tuple(claim and claim.reported for claim in (row.parameters, row.accuracy)) for row in table.rows]  # type: ignore[misc]


def kinds(found: tuple[Doubt, ...], row: int | None = None) -> list[str]:
    return [doubt.kind for doubt in found if row is None or doubt.row == row]


def log_003() -> Table:
    return read(log(*((change, f"{count:,}", f"{right / 100:.2f}%") for change, count, right in LOG_003)))


# Cells.


@pytest.mark.parametrize(
    ("cell", "value", "within"),
    [
        ("22,186", 22186, 1),
        ("22 186", 22186, 1),
        ("22'186", 22186, 1),
        ("22_186", 22186, 1),
        ("22186.0", 22186, 1),
        ("22,186 params", 22186, 1),
        ("19,348 (~19k)", 19348, 1),
        ("6,379,786", 6379786, 1),
        ("22.186k", 22186, 1),
        ("22.2k", 22200, 100),
        ("19K", 19000, 1000),
        ("1.2M", 1200000, 100000),
        ("0.02 M", 20000, 10000),
        ("~20,000", 20000, 1000),
        ("0", 0, 1),
    ],
)
def test_a_count_is_read_as_people_write_it(cell: str, value: int, within: int) -> None:
    """With the distance that its last digit leaves open."""
    found = read_count(cell)

    assert (found.value, found.within, found.is_above) == (value, within, False)


@pytest.mark.parametrize(
    "cell", ["22.186", "-22,186", "many", "22,18", "1 2 3", "22,186 / 19,348", "3x3", "9" * 20, "22.5"]
)
def test_a_count_that_is_no_whole_number_is_refused(cell: str) -> None:
    """So are a negative one, several at once, and 22.186, which is 22,186 to some."""
    with pytest.raises(ValueError, match="found '"):
        read_count(cell)


@pytest.mark.parametrize(
    ("cell", "shown", "correct", "images"),
    [
        ("99.49", "99.49 %", None, None),
        ("99.49%", "99.49 %", None, None),
        ("99.49 %", "99.49 %", None, None),
        ("99,49 %", "99.49 %", None, None),
        ("99.490", "99.490 %", None, None),
        ("9949/10000", "99.49 %", 9949, 10000),
        ("9,949 / 10,000", "99.49 %", 9949, 10000),
        ("9949 of 10000 images", "99.49 %", 9949, 10000),
        ("9,949/10,000 (99.49%)", "99.49 %", 9949, 10000),
        ("99.49% (9,949/10,000)", "99.49 %", 9949, 10000),
        ("57232/60000", "95.39 %", 57232, 60000),
        ("99.41% (epoch 14/20)", "99.41 %", None, None),
        ("~9.9", "about 9.9 %", None, None),
        ("≈ 99 %", "about 99 %", None, None),
        ("99.41 ± 0.05", "about 99.41 %", None, None),
        ("> 95", "above 95 %", None, None),
        ("99.4+", "above 99.4 %", None, None),
        ("100", "100 %", None, None),
        ("0 %", "0 %", None, None),
    ],
)
def test_an_accuracy_is_read_as_people_write_it(cell: str, shown: str, correct: int | None, images: int | None) -> None:
    """In percent with the digits that were printed, and with its images where the cell has them."""
    found = read_accuracy(cell)

    assert (found.reported("percent"), found.correct, found.images) == (shown, correct, images)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [("0.9949", "99.49 %"), (".9949", "99.49 %"), ("0.99490", "99.490 %"), ("1.0", "100 %"), ("0.9", "about 90 %")],
)
def test_a_fraction_keeps_its_digits_in_percent(cell: str, shown: str) -> None:
    """But for one digit, which in percent would look more exact than it is."""
    found = read_accuracy(cell)

    assert found.scale == "fraction"
    assert found.reported("fraction") == shown


@pytest.mark.parametrize("cell", ["-0.5", "100.01", "9949", "10001/10000", "5/0", "99.4 / 99.3", "good", "99.4 99.5"])
def test_what_is_no_accuracy_is_refused(cell: str) -> None:
    """Below 0, above 100 %, more correct predictions than images, two at once, words."""
    with pytest.raises(ValueError, match="found '"):
        read_accuracy(cell)


# Tables.


def test_a_log_as_in_readmes_is_read() -> None:
    """Text around it, marks, links, emoji, notes and line breaks within cells, no outer pipes."""
    text = "\n".join(
        [
            "# My net 🧠",
            "",
            "Iteration | **Key changes** | Parameters | Peak Test Accuracy (%) | Epochs",
            ":--- | :---: | ---: | --- | ---",
            "1 | Baseline | `350,000` ❌ | 98.85 | 20",
            "2 | [Lighter](https://a.org/b_(c)) model<br/>no *scheduler* | **19,489** ✅ | **99.27**<sup>1</sup> | 20",
            "3 | c8 +(c8p1 \\| c8/1) | ~~22,186~~ 19,489 | ~99.3 ⭐️ (epoch 14) | 20",
            "",
            "The end | of it",
        ]
    )
    table = read(text)

    assert table.columns == {
        "step": "Iteration",
        "change": "Key changes",
        "parameters": "Parameters",
        "accuracy": "Peak Test Accuracy (%)",
    }
    assert reported(table) == [("350000", "98.85 %"), ("19489", "99.27 %"), ("19489", "about 99.3 %")]
    assert [row.change for row in table.rows] == ["Baseline", "Lighter model; no scheduler", "c8 +(c8p1 | c8/1)"]
    assert [(row.number, row.line, row.step) for row in table.rows] == [(1, 5, "1"), (2, 6, "2"), (3, 7, "3")]
    assert table.rows[2].accuracy is not None
    assert (table.rows[2].accuracy.epoch, table.rows[2].accuracy.is_best) == (14, True)


def test_cells_that_hold_whole_paragraphs_give_the_figures_that_they_name() -> None:
    """As in the log of 18 rows: a column "Parameters" without any, the count among other details, and the accuracy of
    the test images among those of others."""
    details = "**Model**<br/>- Total Parameter Count: {}<br/>- Use of Dropout: No"
    text = markdown(
        ["Ex_Number", "Model Details", "Accuracy (Epoch 1)", "Parameters", "Changes"],
        [
            [
                "11",
                details.format("19,614"),
                "**Epoch 20**<br/>Train: Loss=0.0435, Accuracy=99.09%"
                "<br/>Test: Loss=0.0216, Accuracy=99.28% (9,928/10,000)",
                "**Configuration**<br/>- Kernel size: 3x3<br/>- LR: 0.001",
                "Channel decrease: 32→28",
            ],
            [
                "12",
                details.format("19,614"),
                "Train: Accuracy=99.00%<br/>Validation: Accuracy=98.86% (9,886/10,000)"
                "<br/>Test: Accuracy=99.35% (9,935/10,000)",
                "**Configuration**<br/>- Kernel size: 3x3",
                "Added a split<br/>Train: 50,000 \\| Validation: 10,000",
            ],
        ],
    )
    table = read("| Layer | Parameters |\n|---|---|\n| Conv2d-1 | 140 |\n\n" + text)

    assert reported(table) == [("19614", "99.28 %"), ("19614", "99.35 %")]
    accuracies = [row.accuracy for row in table.rows if row.accuracy is not None]
    assert [(one.on, one.images, one.correct, one.epoch) for one in accuracies] == [
        ("test", 10000, 9928, 20),
        ("test", 10000, 9935, 1),  # the epoch of the head
    ]
    assert table.rows[1].change == "Added a split; Train: 50,000 | Validation: 10,000"
    assert "read the table of line 5, one of 2; not read: that of line 1" in table.notes


def test_a_table_with_experiments_as_columns_is_turned() -> None:
    """Where its first column names figures; each row is then a column of the file."""
    table = read(
        markdown(
            ["Metric", "Model 1", "Model 2"],
            [["Params", "13.5k", "7,994"], ["Test acc", "99.40", "99.45"], ["Change", "first", "BN added"]],
        )
    )

    assert table.is_transposed
    assert [(row.step, row.change) for row in table.rows] == [("Model 1", "first"), ("Model 2", "BN added")]
    assert reported(table) == [("about 13500", "99.40 %"), ("7994", "99.45 %")]


def test_a_log_whose_experiments_are_called_by_their_changes_has_changes() -> None:
    """Where no other column reports them; numbers are no changes."""
    rows = [["Baseline", "24,498"], ["+BN", "24,498"]]
    table, numbered = read(markdown(["Model", "Params"], rows)), read(markdown(["#", "Params"], [["1", "24,498"]]))

    assert [row.change for row in table.rows] == ["Baseline", "+BN"]
    assert kinds(doubts(table)) == ["same count"]
    assert numbered.rows[0].change == ""


def test_a_fault_in_a_turned_table_is_named_by_its_column_and_line() -> None:
    """The line is that of the cell."""
    text = markdown(["", "One", "Two"], [["Parameters", "13,500", "7.994"], ["Accuracy", "99.40", "99.45"]])

    with pytest.raises(DataError, match=r"column 2 \(line 3\), 'Parameters': a count must be a whole number"):
        read(text)


@pytest.mark.parametrize(
    ("headers", "taken", "on"),
    [
        (["Params", "Train Acc", "Val Acc", "Test Acc"], "Test Acc", "test"),
        (["Params", "Train Acc", "Val. accuracy (%)"], "Val. accuracy (%)", "validation"),
        (["Params", "Training accuracy", "Accuracy"], "Accuracy", "test"),
        (["Params", "train_acc", "test_acc"], "test_acc", "test"),
        (["Params", "TrainAcc", "TestAcc"], "TestAcc", "test"),
        (["Params", "Accuracy drop", "Target accuracy", "Top-1"], "Top-1", "test"),
        (["Params", "Test loss", "Test %"], "Test %", "test"),
        (["Params", "Train/Test Acc", "Valid acc"], "Valid acc", "validation"),
    ],
)
def test_of_several_accuracies_the_test_images_come_first(headers: list[str], taken: str, on: str) -> None:
    """Then validation, then one that says nothing; never a loss, a target or a difference."""
    table = read(markdown(headers, [["22,186", *["99.1"] * (len(headers) - 1)]]))

    assert table.columns["accuracy"] == taken
    assert table.rows[0].accuracy is not None
    assert table.rows[0].accuracy.on == on


@pytest.mark.parametrize(
    "head",
    ["Params", "# Params", "Parameters", "Total Params", "No. of parameters", "param_count", "Trainable Parameters"],
)
def test_usual_headers_of_counts_are_known(head: str) -> None:
    """Also beside other words about parameters."""
    table = read(markdown(["Exp", "Hyper-parameters", "Parameter limit", head], [["1", "7", "25,000", "22,186"]]))

    assert table.columns["parameters"] == head
    assert reported(table) == [("22186", None)]


def test_which_column_was_taken_is_said() -> None:
    """And which others there were."""
    notes = read(markdown(["Exp", "Val acc", "Test acc"], [["1", "99.1", "99.2"]])).notes

    assert notes == ("accuracy is that of 'Test acc'; left: 'Val acc'",)


def test_columns_that_the_user_names_are_used() -> None:
    """Whatever their headers are; capitals, blanks and marks do not matter."""
    text = markdown(["Nr", "**Val  acc**", "Test acc", "Grösse", "Idea"], [["1", "98.1", "99.2", "22,186", "none"]])
    table = read(text, accuracy="val ACC", parameters="grösse", change="Idea", step="Nr")

    assert reported(table) == [("22186", "98.1 %")]
    assert table.rows[0].accuracy is not None
    assert table.rows[0].accuracy.on == "validation"


def test_a_named_column_chooses_the_table() -> None:
    """Even one without any usual head."""
    text = f"{log(('first', '22,186', '99.1'))}\n\n{markdown(['Net', 'Score'], [['A', '98.5'], ['B', '98.6']])}"

    assert reported(read(text)) == [("22186", "99.1 %")]
    assert reported(read(text, accuracy="score")) == [(None, "98.5 %"), (None, "98.6 %")]


def test_an_unknown_column_lists_those_there_are() -> None:
    """With the nearest one."""
    with pytest.raises(
        UsageError, match=r"no table has a column 'Test ac' for --accuracy.*Did you mean 'Test Acc'.*'Params'"
    ):
        read(log(("first", "22,186", "99.1")), accuracy="Test ac")


def test_an_unknown_role_lists_those_there_are() -> None:
    """With the nearest one."""
    with pytest.raises(UsageError, match="Did you mean 'accuracy'"):
        read(log(("first", "22,186", "99.1")), acuracy="Test Acc")


def test_columns_of_different_tables_cannot_be_named_together() -> None:
    """They make no rows."""
    text = f"{markdown(['A', 'B'], [['1', '2']])}\n\n{markdown(['C', 'D'], [['1', '2']])}"

    with pytest.raises(UsageError, match='--parameters "A" and --accuracy "D" must stand in one table'):
        read(text, parameters="A", accuracy="D")


def test_all_faults_are_reported_at_once_by_row_and_column() -> None:
    """In the order of the rows, and nothing is imported."""
    text = log(
        ("fine", "9,190", "98.90%"),
        ("cut", "26.202", "99.41%"),
        ("long", "26,202", "99.4% | more"),
        ("empty", "-", "n/a"),
        ("high", "3k", "101%"),
        ("mixed", "3k", "0.99"),
        ("short |", "", ""),
    ).replace("| 7 | short | |  |  |", "| 7 | short |")

    with pytest.raises(DataError) as caught:
        read(text)

    lines = str(caught.value).splitlines()
    assert lines[0] == "log.md: 6 faults, and nothing was imported."
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "row 2 (line 4), 'Params'",
        "row 3 (line 5)",
        "row 4 (line 6)",
        "row 5 (line 7), 'Test Acc'",
        "row 6 (line 8), 'Test Acc'",
        "row 7 (line 9)",
    ]
    assert "must have 4 cells, one for each header, found 5 cells" in lines[2]
    assert "a claim needs a figure" in lines[3]


@pytest.mark.parametrize(
    ("cells", "head", "row"),
    [
        (["99.1", "0.99", "99.3"], "Test Acc", 2),
        (["99.1", "99.2", "1.0"], "Test Acc", 3),
        (["99.1 %", "1", "99.3"], "Test Acc", 2),
        (["0.991", "99.2", "0.993"], "Test Acc", 2),
        (["0.991"], "Test Acc (%)", 1),
    ],
)
def test_percent_and_fraction_are_not_mixed(cells: list[str], head: str, row: int) -> None:
    """The odd one is named; a head that says percent is believed."""
    text = markdown(["Params", head], [["22,186", cell] for cell in cells])

    with pytest.raises(
        DataError, match=rf"row {row} \(line {row + 2}\), '{head.replace('(', '.').replace(')', '.')}'.*would"
    ):
        read(text)


def test_a_column_of_fractions_is_one_as_a_whole() -> None:
    """1.0, 0 and a ratio of images may stand in it."""
    table = read(markdown(["Exp", "Accuracy"], [["1", "0.9949"], ["2", "1.0"], ["3", "0"], ["4", "9949/10000"]]))

    assert [accuracy for _, accuracy in reported(table)] == ["99.49 %", "100 %", "0 %", "99.49 %"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a Markdown table"),
        ("no | table\nhere | at all", "must have a Markdown table"),
        ("| a | b |\n| - |\n| 1 | 2 |", "must have a Markdown table"),
        ("```\n| Params |\n|---|\n| 5 |\n```", "must have a Markdown table"),
        ("<!--\n| Params |\n|---|\n| 5 |\n-->", "must have a Markdown table"),
        ("| Name | Seconds |\n|---|---|\n| A | 5 |", "found the columns 'Name', 'Seconds'.*as in --accuracy \"Top-1\""),
        ("| Params |\n|---|\n| 5 | 6 |", "must have 1 cell, one for each header, found 2 cells"),
        ("| Params | Acc |\n|---|---|", "must have rows"),
        ("| Params | Acc |\n|---|---|\n|  | - |", "a claim needs a figure, found none under 'Params' and 'Acc'"),
        ("| Params | Acc |\n|---|---|\n| 5 | 99 |\nA line below", "end the table with a blank line"),
    ],
)
def test_what_holds_no_claims_is_refused_in_one_line(text: str, message: str) -> None:
    """No table, none with figures, none with rows, a row without any."""
    with pytest.raises(DataError, match=message) as caught:
        read(text)

    assert "\n" not in str(caught.value)


def test_the_table_with_both_figures_is_taken_before_others() -> None:
    """Before a table of layers, of epochs, and of one metric a line."""
    others = (
        markdown(["Layer", "Params"], [["conv1", "80"], ["fc", "130"]]),
        markdown(["Epoch", "Test acc"], [["1", "97.2"], ["2", "98.6"]]),
        markdown(["Metric", "Value"], [["Params", "7,994"], ["Test acc", "99.45"]]),
    )
    ours = log(("first", "22,186", "99.1"), ("second", "19,348", "99.4"))
    table = read("\n\n".join([*others, ours]))

    assert reported(table) == [("22186", "99.1 %"), ("19348", "99.4 %")]


def test_tables_that_were_not_read_are_named_by_their_lines() -> None:
    """So that someone who meant another finds it."""
    others = markdown(["Layer", "Params"], [["conv1", "80"]]), markdown(["Epoch", "Test acc"], [["1", "97.2"]])
    ours = log(("first", "22,186", "99.1"))

    assert read("\n\n".join([others[0], ours, others[1]])).notes == (
        "read the table of line 5, one of 3; not read: those of lines 1 and 9",
    )


def test_nets_that_are_not_in_our_notation_are_said_where_others_are() -> None:
    """They are not counted, and silence would look like approval; an empty cell is none."""
    nets = ("c8 r m2 flat fc10", "c8 banana", "", "-", "my resnet", "fc10")
    table = nets_table(*((net, "13,610") for net in nets))

    assert table.notes == (
        "row 2, 'Net': 'c8 banana' is not in flyweight's notation ('banana' is not a layer); not counted",
        "row 5, 'Net': 'my resnet' is not in flyweight's notation ('my' is not a layer); not counted",
    )


def test_many_nets_that_are_not_in_our_notation_are_said_at_once() -> None:
    """Beyond eight rows by their number."""
    some = nets_table(("c8", "80"), *[("LeNet", "7")] * 4)
    many = nets_table(("c8", "80"), *[("LeNet", "7")] * 20)

    assert some.notes == (
        "rows 2, 3, 4 and 5, 'Net': not in flyweight's notation (row 2: 'LeNet' is not a layer); not counted",
    )
    assert many.notes[0].startswith("rows 2, 3, 4, 5, 6, 7, 8 and 13 more, 'Net': not in flyweight's notation")


def test_a_log_of_nets_in_other_words_is_not_reproached_for_them() -> None:
    """Unless the user said that the column has nets."""
    text = markdown(["#", "Net", "Params"], [["1", "LeNet", "61,706"]])

    assert read(text).notes == ()
    assert len(read(text, net="Net").notes) == 1


def test_limits_and_failures_are_left_out_and_said() -> None:
    """They are no figures, and no reason to refuse the table."""
    table = read(log(("first", "< 25k", "99.1"), ("second", "22,186", "diverged ❌"), ("third", "19k", "> 99")))

    assert reported(table) == [(None, "99.1 %"), ("22186", None), ("about 19000", "above 99 %")]
    assert [note.split(":")[0] for note in table.notes] == ["row 1, 'Params'", "row 2, 'Test Acc'"]


def test_a_count_may_be_in_thousands_by_its_head() -> None:
    """Unless the cell says otherwise itself."""
    table = read(markdown(["Exp", "Params (k)"], [["1", "22.2"], ["2", "22,186"], ["3", "0.5M"]]))

    assert [(row.parameters.reported, row.within) for row in table.rows if row.parameters] == [
        ("about 22200", 100),
        ("22186", 1),
        ("about 500000", 100000),
    ]


def test_line_numbers_are_those_of_the_file() -> None:
    """Behind code, comments and any kind of line end."""
    text = "<!-- one\r\ntwo -->\r\n```\r\n| a |\r\n|---|\r\n```\r\n\r\n| Params |\r\n|---|\r\n| 5 |\r\n"

    [grid] = pipe_tables(text)

    assert (grid.line, grid.rows[0][0].line) == (8, 10)


# Properties of reading.

TEXTS = st.text(string.ascii_letters + string.digits + " .,:;()|+-/", max_size=20)
ROWS = st.lists(
    st.tuples(TEXTS, st.none() | st.integers(0, 10**9), st.none() | st.integers(0, 10_000)).filter(
        lambda row: row[1] is not None or row[2] is not None
    ),
    min_size=1,
    max_size=8,
).filter(lambda rows: any(count is not None for _, count, _ in rows) and any(right is not None for *_, right in rows))
Made = list[tuple[str, int | None, int | None]]


def cells_of(rows: Made, ways: random.Random) -> dict[str, list[str]]:
    """Each column as a person might write it: one way for accuracies, any for counts."""
    is_fraction = ways.random() < 0.5
    counts = (lambda n: f"{n:,}", str, lambda n: f"**{n:,}**", lambda n: f"`{n}` ✅")
    return {
        HEADS["step"]: [str(number) for number in range(1, len(rows) + 1)],
        HEADS["change"]: [text.replace("|", "\\|") for text, *_ in rows],
        HEADS["parameters"]: [
            ways.choice(("-", "", "n/a")) if n is None else ways.choice(counts)(n) for _, n, _ in rows
        ],
        HEADS["accuracy"]: [
            ways.choice(("—", "", "TBD"))
            if right is None
            else f"{right / 10_000:.4f}"
            if is_fraction
            else f"{right / 100:.2f}%"
            for *_, right in rows
        ],
    }


def written(cells: dict[str, list[str]], headers: list[str], ways: random.Random) -> str:
    """With pipes around it or not; without, a cell at either end cannot be empty."""
    rows = [list(row) for row in zip(*(cells[head] for head in headers), strict=True)]
    has_ends = all(row[0].strip() and row[-1].strip() for row in rows)
    return markdown(headers, rows, is_framed=not has_ends or ways.random() < 0.5)


@given(ROWS, st.randoms(use_true_random=False))
def test_a_table_that_was_written_is_read_back(rows: Made, ways: random.Random) -> None:
    """Every count and every accuracy, to the digit, whichever way they were written."""
    table = read(written(cells_of(rows, ways), list(HEADS.values()), ways))

    assert len(table.rows) == len(rows)
    for row, (text, n_params, right) in zip(table.rows, rows, strict=True):
        assert (row.parameters and row.parameters.value) == n_params
        assert (row.accuracy and round(row.accuracy.value * 10_000)) == right
        assert row.change.replace(" ", "").endswith(text.lstrip("-+ ").replace(" ", ""))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_columns_does_not_matter(rows: Made, ways: random.Random) -> None:
    """Columns are found by what they are, not where."""
    cells = cells_of(rows, ways)
    headers = list(HEADS.values())
    shuffled = ways.sample(headers, k=len(headers))

    assert read(written(cells, shuffled, ways)).rows == read(written(cells, headers, ways)).rows


SIGNS = tuple("|-:.,%/~>*_`\\<>[]()!#$&+\u00b1\u2013\u00d7\u00b2\u0663\u00bd\0\u2028\x85 k")
BLOCKS = ("\n", "\r\n", "|---|---|\n", "| Params | Test acc |\n")
SCRAPS = ("0.99", "22,186", "1e9", "9" * 40, "<br>", "**", "<!--", "```", "&nbsp;", "🧠", "nan", "acc", "epoch 3/4")
PIECES = st.sampled_from((*SIGNS, *BLOCKS, *SCRAPS))


def read_or_refused(text: str) -> Table | None:
    """None where a DataError says why not."""
    refusal = ""
    try:
        return read(text)
    except DataError as error:
        refusal = str(error)
    assert refusal.startswith("log.md: ")
    return None


@given(st.lists(PIECES | st.text(max_size=4), max_size=60).map("".join))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    """It is read and judged, or a DataError says why not."""
    table = read_or_refused(text)

    if table is None:
        return
    assert all(row.parameters or row.accuracy or table.notes for row in table.rows)
    assert {doubt.kind for doubt in doubts(table, limit=20_000)} <= set(KINDS)


GOOD_CELLS = st.sampled_from(
    ("22,186", "22.2k", "~19k", "99.49", "9949/10000", "99.4% (epoch 3)", "-", "c8 r", "bn added")
)
CELLS = GOOD_CELLS | st.lists(st.sampled_from((*SIGNS[1:], *SCRAPS)) | GOOD_CELLS, max_size=4).map("".join)


@given(st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=4))
def test_no_cells_do_worse_than_be_refused(rows: list[list[str]]) -> None:
    """Under good headers, whatever stands below."""
    table = read_or_refused(markdown(list(HEADS.values()), rows))

    if table is None:
        return
    assert all(0 <= row.accuracy.value <= 1 for row in table.rows if row.accuracy)
    assert all(row.parameters.value == int(row.parameters.value) >= 0 for row in table.rows if row.parameters)
    assert {doubt.kind for doubt in doubts(table, limit=20_000)} <= set(KINDS)


@given(st.lists(st.tuples(*[GOOD_CELLS] * 2), min_size=1, max_size=4))
def test_cells_that_are_read_alone_are_read_together_or_named(rows: list[tuple[str, str]]) -> None:
    """Each row comes back with what its own cells say, unless a row is named in the error."""
    table = read_or_refused(markdown(["Params", "Test acc"], [list(row) for row in rows]))

    if table is None:
        return
    alone = [read(markdown(["Params", "Test acc"], [list(row)])) for row in rows]
    assert reported(table) == [claims for one in alone for claims in reported(one)]


# Doubts.


def test_counts_that_were_typed_by_hand_are_found_by_their_changes() -> None:
    """The log of 18 rows: 22,186 beside a batch size and beside dropout, neither of which has parameters."""
    found = [doubt for doubt in doubts(log_003()) if doubt.kind in ("same count", "changed count")]

    assert [(doubt.row, doubt.kind, doubt.column) for doubt in found] == [
        (10, "changed count", "Params"),
        (13, "changed count", "Params"),
    ]
    assert found[0].sentence.startswith("22,186 is 224 fewer than 22,410 in row 9")
    assert found[1].sentence.startswith("22,186 is 2,572 more than 19,614 in row 12")


def test_a_count_that_stays_when_batch_norm_comes_is_doubted() -> None:
    """24,498 in rows 8 and 9 of the document of ten rows."""
    table = read(
        log(("LR 0.002", "24,498", "94.12"), ("Batch 512 -> 128", "24,498", "94.27"), ("Added BN", "24,498", "93.93"))
    )
    found = [doubt for doubt in doubts(table) if doubt.kind == "same count"]

    assert [doubt.row for doubt in found] == [3]
    assert found[0].sentence.startswith("24,498 as in row 2, although the change says 'Added BN'; batch norm has 2")


def test_a_bare_layer_must_change_the_count_as_one_that_was_added() -> None:
    """But for two rows of the same name, which may both have it."""
    table = read(log(("first", "9,014", "-"), ("batch norm", "9,014", "-"), ("Batch norm", "9,014", "-")))
    found = doubts(table)

    assert [(doubt.row, doubt.kind) for doubt in found] == [(2, "same count")]
    assert found[0].sentence.startswith("9,014 as in row 1, although the change says 'batch norm'; batch norm has 2")


def test_ten_of_the_18_steps_of_the_log_are_distinguished_from_no_change_by_8_or_9_seeds() -> None:
    """8 of 17 have p > 0.05; asked all at once, 9 have."""
    right = [right for *_, right in LOG_003]
    p_values = [p_of_difference(a, 10_000, b, 10_000) for a, b in pairwise(right)]
    found = [doubt for doubt in doubts(log_003()) if doubt.kind == "no difference"]

    assert sum(p > 0.05 for p in p_values) == 8
    assert [doubt.row for doubt in found] == [9, 10, 11, 12, 13, 14, 15, 16, 18]
    assert found[0].sentence == (
        "a change of +0.29 points from row 8 (99.17 % to 99.46 %) cannot be distinguished from none: p = 0.116 "
        "adjusted for 17 steps; 10,000 images can show 0.42 points"
    )


def test_steps_are_compared_on_their_own_images() -> None:
    """And over rows without an accuracy; one that is about or above something is compared with nothing."""
    table = read(
        markdown(
            ["#", "Params", "Acc"],
            [
                ["1", "5", "990/1000"],
                ["2", "5", "diverged"],
                ["3", "5", "58,000/60,000"],
                ["4", "5", "~97"],
                ["5", "5", "99.0"],
                ["6", "5", "99.0"],
            ],
        )
    )
    found = [doubt for doubt in doubts(table, images=500) if doubt.kind == "no difference"]

    assert [doubt.row for doubt in found] == [6]
    assert "from row 5" in found[0].sentence
    assert "adjusted for 2 steps; 500 images" in found[0].sentence


MEANS = {"sd": st.integers(1, 300), "n": st.integers(2, 40), "right": st.integers(9_000, 9_999)}


@given(*[st.tuples(MEANS["right"], MEANS["sd"], MEANS["n"])] * 2)
def test_two_means_over_seeds_are_compared_by_their_spread(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    """By Welch's test, as scipy makes it from the figures alone."""
    from scipy.stats import ttest_ind_from_stats

    rows = [[str(place), f"{mean / 100:.2f} ± {sd / 100:.2f} (n={n})"] for place, (mean, sd, n) in enumerate((a, b), 1)]
    found = doubts(read(markdown(["#", "Acc"], rows)))
    p = ttest_ind_from_stats(*a, *b, equal_var=False).pvalue
    assume(abs(p - 0.05) > 1e-6 and abs(1_000 * p % 1 - 0.5) > 1e-3)

    assert kinds(found) == (["no difference"] if p > 0.05 else [])
    assert all(f"p = {p:.3f};" in doubt.sentence for doubt in found)


def test_two_means_that_cannot_be_distinguished_are_shown_with_their_seeds() -> None:
    """With what so many seeds can show; the test of whole images is not theirs."""
    table = read(log(("first", "5", "98.62 ± 0.05 (n=5)"), ("second", "6", "98.65% ± 0.04% over 5 seeds")))

    [doubt] = doubts(table)
    assert doubt.sentence == (
        "a change of +0.03 points from row 1 (98.62 ± 0.05 % to 98.65 ± 0.04 %, 5 seeds each) cannot be distinguished "
        "from none: p = 0.327; 5 seeds a side can show 0.09 points"
    )
    assert table.notes == (
        "rows 1 and 2 are means over seeds, ± taken for their standard deviation; compared only with other means, by "
        "Welch's t test",
    )


@pytest.mark.parametrize(
    ("cells", "notes"),
    [
        (
            ["98.62 ± 0.05", "98.63 +/- 0.05", "98.6"],
            ["rows 1 and 2 are means over seeds; how many is not given, so they are not compared"],
        ),
        (
            ["98.62", "98.62 ± 0.05 (epoch 5)"],
            ["row 2 is a mean over seeds; how many is not given, so it is not compared"],
        ),
        (
            ["98.62 ± 0.05", "98.62 ± 0.05, n=3", "98.62"],
            ["row 1 is a mean over seeds; how many is not given", "row 2 is a mean over seeds, ± taken for"],
        ),
    ],
)
def test_means_over_unknown_seeds_are_compared_with_nothing(cells: list[str], notes: list[str]) -> None:
    """Neither with another mean nor with a single run; which they are is said."""
    table = read(markdown(["#", "Acc"], [[str(place), cell] for place, cell in enumerate(cells, 1)]))

    assert doubts(table) == ()
    assert len(table.notes) == len(notes) + 1
    assert all(note.startswith(begin) for note, begin in zip(table.notes[1:], notes, strict=True))


@pytest.mark.parametrize(
    ("head", "cell", "value", "sd", "n_seeds"),
    [
        ("Acc", "98.62 ± 0.05", 0.9862, 0.0005, None),
        ("Acc", "98,62 % +- 0,05 % (n = 5)", 0.9862, 0.0005, 5),
        ("Acc", "0.9862 ± .0005 (10 runs)", 0.9862, 0.0005, 10),
        ("Acc", "0.9862 ± 0.05%", 0.9862, 0.0005, None),
        ("Acc over 5 seeds", "98.62±0.05", 0.9862, 0.0005, 5),
        ("Acc", "98.62 ± 0.00", 0.9862, 0.00005, None),
        ("Acc", "98.62 ± 0.05 (n=1)", 0.9862, 0.0005, None),
        ("Acc", "98.62 ± 0.05 (n=10,000)", 0.9862, 0.0005, None),
    ],
)
def test_a_mean_over_seeds_is_read_with_its_spread(
    head: str, cell: str, value: float, sd: float, n_seeds: int | None
) -> None:
    """A spread of 0 is at most half a last digit; thousands are images and no seeds."""
    [row] = read(markdown(["#", head], [["1", cell]])).rows

    assert row.mean is not None
    assert (row.mean.value, row.mean.n_seeds) == (value, n_seeds)
    assert row.mean.sd == pytest.approx(sd)


def test_no_sentence_begins_like_a_formula() -> None:
    """In a spreadsheet it would be shown with an apostrophe."""
    means = read(markdown(["#", "Acc"], [["1", "98.62 ± 0.05 (n=5)"], ["2", "98.61 ± 0.05 (n=5)"]]))
    found = (*doubts(log_003(), limit=20_000), *doubts(means))

    assert len(found) > 10
    assert all(doubt.sentence[0] not in "+-=@" for doubt in found)


NETS = {
    "c32p1 bn r c32p1 bn r m2 c16p1 bn r c16p1 bn r m2 c8p1 bn r c8p1 bn r flat fc10": 22410,
    "c8 r unused(c8 bn) gap flat fc10": 170,
    "c8 r m2 flat fc10": 13610,
}


def nets_table(*rows: tuple[str, str]) -> Table:
    return read(
        markdown(["#", "Net", "Params"], [[str(n), f"`{net}`", count] for n, (net, count) in enumerate(rows, 1)])
    )


def test_a_net_in_our_notation_is_counted() -> None:
    """The right count, a rounded one and one cut off are let be; others are reported with both numbers."""
    big = next(iter(NETS))
    table = nets_table(
        (big, "22,410"), (big, "22.4k"), (big, "~22,000"), (big, "22,186"), (big, "22.9k"), ("LeNet", "7")
    )
    found = doubts(table)

    assert [(doubt.row, doubt.kind) for doubt in found] == [(4, "count"), (5, "count")]
    assert "reported 22,186" in found[0].sentence
    assert found[0].sentence.endswith("has 22,410, 224 more")


def test_a_registered_count_is_reported_as_one() -> None:
    """With what of it is never used."""
    [doubt] = doubts(nets_table(("c8 r unused(c8 bn) gap flat fc10", "770")))

    assert doubt.sentence == "770 is what the net registers; 600 of it are never used, so that it works with 170"


@given(st.sampled_from(sorted(NETS)), st.integers(0, 30_000))
def test_a_count_is_doubted_exactly_if_it_is_not_the_count(net: str, claimed: int) -> None:
    """Whatever was claimed."""
    assert count(net).params == NETS[net]

    assert (kinds(doubts(nets_table((net, f"{claimed:,}")))) == ["count"]) == (claimed != NETS[net])


def test_counts_that_are_right_silence_the_words() -> None:
    """A kernel can grow while the count stays: what the nets say goes first."""
    headers = ["Change", "Net", "Params"]
    table = read(
        markdown(
            headers,
            [
                ["first", "c10 r c10 r c10 r m2 c16 r c16 r c16 r flat fc10 ls", "12,026"],
                ["kernel size increased to 5x5", "c10/5 r c10/5 r c10/5 r m2 c16 r c16 r c16 r flat fc10 ls", "12,026"],
            ],
        )
    )
    without_nets = read(markdown(headers, [["first", "", "12,026"], ["kernel size increased to 5x5", "", "12,026"]]))

    assert doubts(table) == ()
    assert kinds(doubts(without_nets)) == ["same count"]


def test_a_count_above_the_limit_is_reported() -> None:
    """By how much; the limit itself is within, and a rounded count that may are below it is let be."""
    table = read(
        markdown(["#", "Params"], [["1", "25,674"], ["2", "25,000"], ["3", "25.0k"], ["4", "25.7k"], ["5", ">25,000"]])
    )
    found = doubts(table, limit=25_000)

    assert [doubt.row for doubt in found] == [1, 4, 5]
    assert found[0].sentence == "25,674 is above the limit of 25,000 by 674"


def test_a_net_above_the_limit_is_reported_where_its_claim_is_not() -> None:
    """The count of the net decides."""
    found = doubts(nets_table(("c8 r m2 flat fc10", "9,999")), limit=10_000)

    assert kinds(found) == ["count", "over the limit"]
    assert found[1].sentence == "its net has 13,610, above the limit of 10,000 by 3,610"


@pytest.mark.parametrize(
    ("cell", "images", "sentence"),
    [
        (
            "95.685%",
            10_000,
            "95.685 % of 10,000 images is 9,568.5 correct predictions; the nearest possible are 9,568 (95.68 %) and "
            "9,569 (95.69 %)",
        ),
        (
            "99.433",
            10_000,
            "99.433 % of 10,000 images is 9,943.3 correct predictions; the nearest possible are 9,943 (99.43 %) and "
            "9,944 (99.44 %)",
        ),
        (
            "99.5",
            100,
            "99.5 % of 100 images is 99.5 correct predictions; the nearest possible are 99 (99 %) and 100 (100 %)",
        ),
        (
            "50.5",
            1,
            "50.5 % of 1 image is 0.505 correct predictions; the nearest possible are 0 (0 %) and 1 (100 %)",
        ),
        ("99.48% (9,949/10,000)", 500, "99.48 % is not 9,949 of 10,000, which is 99.49 %"),
        ("95.68", 10_000, None),
        ("95.7", 10_000, None),
        ("99.43", 3_000, None),
        ("99.46", 3_000, None),
        ("~99.433", 10_000, None),
        (">99.433", 10_000, None),
        ("99.433", 1_000_000, None),
        ("0.9948999881744385", 10_000, None),
        ("98.59999999999999", 10_000, None),
    ],
)
def test_an_accuracy_that_no_number_of_images_gives_is_reported(cell: str, images: int, sentence: str | None) -> None:
    """With the two nearest; printed digits may be rounded, cut off, or those of a float."""
    found = [doubt.sentence for doubt in doubts(read(markdown(["#", "Acc"], [["1", cell]])), images=images)]

    assert found == ([] if sentence is None else [sentence])


@given(st.integers(1, 70_000), st.data())
def test_a_possible_accuracy_is_never_called_impossible(images: int, data: Any) -> None:
    """Any k of n, printed in percent with 0 to 6 decimals or as a fraction, rounded or cut off."""
    correct = data.draw(st.integers(0, images))
    decimals = data.draw(st.integers(0, 6))
    in_percent = data.draw(st.booleans())
    scaled = correct * 10**decimals * (100 if in_percent else 1)
    whole = scaled // images if data.draw(st.booleans()) else round(scaled / images)
    cell = f"{whole // 10**decimals}.{whole % 10**decimals:0{decimals}d}" if decimals else str(whole)
    table = read(markdown(["#", "Acc"], [["1", f"{cell} %" if in_percent else cell]]))
    assume(in_percent or 0 < whole <= 10**decimals)

    assert "impossible accuracy" not in kinds(doubts(table, images=images))


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_half_images_are_always_found(correct: int, tenth: int) -> None:
    """Three decimals of 10,000 images, the last not 0."""
    assume(correct < 10_000)
    table = read(markdown(["#", "Acc"], [["1", f"{correct / 100:.2f}{tenth} %"]]))

    assert "impossible accuracy" in kinds(doubts(table))


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("9.87", "always 0 is right for 5,923 of MNIST's 60,000 training images"),
        ("10.44", "always 7 is right for 6,265 of MNIST's 60,000 training images"),
        ("11.24", "always 1 is right for 6,742 of MNIST's 60,000 training images"),
        ("9.80", "always 0 is right for 980 of MNIST's 10,000 test images"),
        ("11.35", "always 1 is right for 1,135 of MNIST's 10,000 test images"),
        ("10.28", "always 7 is right for 1,028 of MNIST's 10,000 test images"),
        ("1135/10000", "always 1 is right for 1,135 of MNIST's 10,000 test images"),
        ("9.74", "4 is right for 5,842 of MNIST's 60,000 training images, always 8 is right for 974"),
    ],
)
def test_a_constant_prediction_is_recognised(cell: str, words: str) -> None:
    """By its class, and by both where two classes give the same."""
    [doubt] = doubts(read(markdown(["#", "Test acc"], [["1", cell], ["2", "~9.8"]])))

    assert (doubt.row, doubt.kind) == (1, "constant prediction")
    assert words in doubt.sentence


@pytest.mark.parametrize("cell", ["9.9", "~9.87", "10.00", "95.68", "5923/50000", "6742/10000"])
def test_other_accuracies_are_no_constant_predictions(cell: str) -> None:
    """Too few digits, other images, other shares."""
    assert "constant prediction" not in kinds(doubts(read(markdown(["#", "Acc"], [["1", cell]]))))


def test_constant_predictions_of_other_images_can_be_known() -> None:
    """Then MNIST's shares say nothing."""
    table = read(markdown(["#", "Acc"], [["1", "62.50"], ["2", "9.87"]]))
    found = doubts(table, class_counts=[5, 3])

    assert [(doubt.row, doubt.sentence) for doubt in found if doubt.kind == "constant prediction"] == [
        (
            1,
            "62.50 % is what a net gets that predicts one class for every image: "
            "always 0 is right for 5 of the 8 images",
        )
    ]


def test_the_class_counts_add_up() -> None:
    """10 digits, 60,000 and 10,000 images."""
    assert [(len(counts), sum(counts)) for _, counts in MNIST_CLASS_COUNTS] == [(10, 60_000), (10, 10_000)]


@pytest.mark.parametrize("setting", [{"images": 0}, {"limit": 0}])
def test_no_images_and_no_limit_below_one(setting: dict[str, int]) -> None:
    """They would make every figure wrong."""
    with pytest.raises(UsageError, match="must be at least 1, found 0"):
        doubts(log_003(), **setting)


def test_a_table_of_nothing_doubtful_has_no_doubts() -> None:
    """Clear steps, counts that follow the changes."""
    table = read(log(("first", "13,610", "95.10"), ("one more conv", "14,194", "98.00"), ("lr 0.1", "14,194", "98.90")))

    assert doubts(table, limit=20_000) == ()


# Words.


@pytest.mark.parametrize(
    "change",
    [
        "Batch Normalization added after each conv layer",
        "batch normalization after conv layers",
        "Added BN",
        "added batchnorm and dropout",
        "lr 0.1 + BN",
        "Last fully connected layer removed",
        "removed the last FC layer",
        "Added a 1x1 conv after the pool",
        "Added two more conv layers",
        "channels reduced further",
        "Reduced the number of channels",
        "fewer filters",
        "Channel decrease: Block 1: 32→28",
        "Channels 10->16",
        "Kernel size increased to 5x5",
        "batch norm",
        "BN",
        "- BatchNorm2d.",
        "batch_norm layers",
        "extra conv",
        "one more conv layer",
        "2 additional 3x3 convolutions",
        "a 1x1 conv",
        "fc layer",
        "another linear layer",
    ],
)
def test_words_by_which_a_count_must_change_are_understood(change: str) -> None:
    """The words themselves are given back."""
    found = layers_changed(change)

    assert found is not None
    assert found in change


@pytest.mark.parametrize(
    "change",
    [
        "",
        "Initial experiment",
        "Dropout added after each conv layer",
        "Added dropout after batch norm",
        "added FC dropout",
        "BN momentum 0.9",
        "BN and MaxPool reordered",
        "moved batch norm after relu",
        "No batch norm added",
        "Will add batch norm next",
        "Max pool kernel size changed",
        "Padding in all blocks",
        "max pooling added",
        "Random crop width reduced",
        "Batch size doubled to 1024",
        "Channels 16 -> 16",
        "batch size",
        "Batch",
        "no batch norm change",
        "same conv",
        "BN?",
        "BN momentum",
        "3 conv layers",
        "the last fc layer",
        "linear",
        "dense",
        "dropout layer",
    ],
)
def test_ambiguous_words_are_no_claims(change: str) -> None:
    """Better no doubt than a wrong one."""
    assert layers_changed(change) is None


@pytest.mark.parametrize(
    "change",
    [
        "Batch size doubled to 1024",
        "batch 512 -> 128",
        "LR 0.002",
        "Learning rate = 1e-3, momentum 0.9",
        "Scheduler step_size=1 → 5",
        "Dropout p=0.5 added",
        "Dropout removed",
        "Switched to Adam instead of SGD",
        "Data augmentation: random rotation 10",
        "Trained for 20 epochs with seed 26",
        "Experiment 10: batch size 1024",
    ],
)
def test_changes_of_the_training_alone_are_understood(change: str) -> None:
    """Settings, numbers, and words that bring in nothing else."""
    assert is_training_only(change)


@pytest.mark.parametrize(
    "change",
    [
        "",
        "1024",
        "Initial experiment",
        "Batch norm",
        "Dropout 0.1 and a conv more",
        "LR 0.05, GAP, more convs",
        "lr 0.1 with fewer channels",
        "Batch size 128, bias removed",
        "linear warmup",
    ],
)
def test_changes_that_may_touch_the_net_are_not_of_the_training_alone(change: str) -> None:
    """A single word that is not known is enough."""
    assert not is_training_only(change)


# Statistics.


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_p_is_that_of_scipy(n_a: int, n_b: int, data: Any) -> None:
    """Fisher's where a cell expects less than one, else chi-squared times (N - 1) / N."""
    from scipy.stats import chi2, chi2_contingency, fisher_exact

    right_a, right_b = data.draw(st.integers(0, n_a)), data.draw(st.integers(0, n_b))
    table = [[right_a, n_a - right_a], [right_b, n_b - right_b]]
    found = p_of_difference(right_a, n_a, right_b, n_b)

    total, right = n_a + n_b, right_a + right_b
    if right in (0, total):
        expected = 1.0
    elif min(right, total - right) * min(n_a, n_b) / total < 1:
        expected = fisher_exact(table).pvalue
    else:
        expected = chi2.sf(chi2_contingency(table, correction=False).statistic * (total - 1) / total, 1)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.integers(1, 10_000), st.data())
def test_equal_shares_are_never_distinguished(n: int, data: Any) -> None:
    """p is 1, and it is the same from either side."""
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))

    assert p_of_difference(a, n, a, n) == pytest.approx(1)
    assert p_of_difference(a, n, b, n) == pytest.approx(p_of_difference(b, n, a, n))


@pytest.mark.parametrize(("share", "n", "is_rise"), [(0.99, 10_000, True), (0.9, 1_000, False), (0.5, 400, True)])
def test_a_difference_of_that_size_is_shown_four_times_of_five(share: float, n: int, is_rise: bool) -> None:
    """In 4,000 simulated pairs, to 3 points; the sd of the simulation is 0.6."""
    import numpy as np

    difference = shown_difference(share, n, n, is_rise=is_rise)
    assert difference is not None
    draw = np.random.default_rng(2003)
    a = draw.binomial(n, share, 4_000)
    b = draw.binomial(n, share + (difference if is_rise else -difference), 4_000)

    shown = np.mean([p_of_difference(int(x), n, int(y), n) <= 0.05 for x, y in zip(a, b, strict=True)])
    assert shown == pytest.approx(0.8, abs=0.03)


def test_where_all_images_right_would_not_do_nothing_is_shown() -> None:
    """98 of 100 cannot be distinguished from 100 of 100."""
    assert shown_difference(0.98, 100, 100, is_rise=True) is None
    assert shown_difference(1.0, 100, 100, is_rise=True) is None


# The whole.


def test_the_facts_of_the_48_experiments_as_tables() -> None:
    """Every count that was reported wrongly is found by counting, and no other."""
    rows = [
        [one.id, one.label.replace("|", "\\|"), one.notation.replace("|", "\\|"), f"{one.reported:,}"]
        for one in EXPERIMENTS
        if one.reported
    ]
    table = read(markdown(["Id", "Change", "Net", "Params"], rows))
    wrong = {table.rows[doubt.row - 1].step for doubt in doubts(table) if doubt.kind == "count"}

    assert len(rows) == 42
    assert wrong == {"s001-9", "s001-10", "s003-10", "s003-13"}


def test_rows_and_tables_can_be_compared_and_shown() -> None:
    """Read twice, a text gives equal values."""
    assert log_003() == log_003()
    assert len(log_003().rows) == 18
    assert isinstance(log_003().rows[0], Row)
    assert isinstance(read_accuracy("99"), Accuracy)


def test_importing_the_judge_of_tables_is_cheap() -> None:
    """Neither torch nor scipy nor matplotlib."""
    heavy = "{'torch', 'matplotlib', 'scipy', 'numpy'}"
    script = f"import sys, flyweight.reproductions.log_import.doubts; print({heavy} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
