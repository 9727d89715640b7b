"""The page of a run: self-contained, true to the files, safe, and possible without torch."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flyweight.errors import DataError
from flyweight.model.count import count
from flyweight.recipe.protocol import SENTENCES
from flyweight.records.results import Figures, Misread, Predictions, ReportedEpoch, ReportedFigures, ReportedTraining
from flyweight.records.run_folder import RunFolder
from flyweight.records.weights import Weights
from flyweight.report.run import plots
from flyweight.report.run.page import write_report
from flyweight.train.metrics import EpochMetrics
from made_results import made_result


class Links(HTMLParser):
    """Every place a page would load from, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def run_folder(
    path: Path,
    *,
    net: str = "c6nb bn r gap flat fc10",
    name: str = "tiny",
    epochs: int = 3,
    n_classes: int = 10,
    shape: tuple[int, int, int] = (1, 28, 28),
    n_wrong: int = 3,
    diverged: bool = False,
    **more: Any,
) -> RunFolder:
    """A run folder with the files of docs/architecture.md, made without training."""
    folder = RunFolder(path=path)
    rng, cost = np.random.default_rng(0), count(net, shape)
    names = [str(number) if n_classes == 10 else f"a class with a long name {number}" for number in range(n_classes)]
    labels = np.arange(10 * n_classes) % n_classes
    predicted = labels.copy()
    wrong = np.argsort(labels, kind="stable")[:n_wrong]
    predicted[wrong] = (predicted[wrong] + 1) % n_classes
    probabilities = np.full((len(labels), n_classes), 0.1 / n_classes, np.float32)
    probabilities[np.arange(len(labels)), predicted] = 0.9
    figures = Figures(correct=len(labels) - n_wrong, count=len(labels), loss=0.05)
    values: dict[str, Any] = {
        "run": "1m7yk00000000000000a",
        "name": name,
        "status": "diverged" if diverged else "finished",
        "message": "loss nan at epoch 1" if diverged else "",
        "net": net,
        "params": cost.params,
        "registered_params": cost.registered_params,
        "macs": cost.macs,
        "flash_bytes": cost.flash_bytes,
        "int8_bytes": cost.int8_bytes,
        "budget": {"params": 20_000},
        "epochs": 0 if diverged else epochs,
        "best_epoch": None if diverged else 1,
        "kept": "best",
        **dict.fromkeys(("train", "validation", "test"), None if diverged else figures),
        "class_names": tuple(names),
        "layers": tuple(vars(row) for row in cost.rows),
        **more,
    }
    folder.write_recipe(f'name = "{name}"\n')
    folder.write_environment({"torch": "2.13.0", "threads": 1})
    if not diverged:
        images = rng.integers(0, 256, (len(wrong), *shape), dtype=np.uint8)
        folder.write_misread(
            Misread(
                images=images,
                labels=labels[wrong],
                predicted=predicted[wrong],
                probabilities=probabilities[wrong],
                indices=wrong,
            )
        )
        predictions = Predictions(labels=labels, probabilities=probabilities)
        folder.write_predictions(validation=predictions, test=predictions, validation_indices=labels)
        first = next((row for row in cost.rows if row.layer.startswith("c")), None)
        kernel = np.zeros((6, shape[0], 3, 3), np.float32) if first else np.zeros((10, 784), np.float32)
        folder.write_weights(
            Weights(
                tensors={"conv1.weight" if first else "linear1.weight": kernel},
                net=net,
                input_shape=shape,
                mean=(0.1,) * shape[0],
                std=(0.3,) * shape[0],
                class_names=tuple(names),
                data="mnist",
            )
        )
    folder.write_end(made_result(**values), [line(epoch) for epoch in range(1, 1 + values["epochs"])])
    return folder


def line(epoch: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        train_loss=1 / epoch,
        train_accuracy=1 - 0.3 / epoch,
        validation_loss=0.8 / epoch,
        validation_accuracy=1 - 0.2 / epoch,
        lr=0.1 / epoch,
        seconds=1.0,
        images_per_second=5000.0,
    )


def words_of(folder: RunFolder) -> str:
    """What the page of a run says, in one line."""
    return " ".join(" ".join(Links(write_report(folder).read_text(encoding="utf-8")).words).split())


def test_the_page_loads_nothing_from_anywhere(tmp_path):
    """Every picture is inside it, so it opens offline."""
    page = write_report(run_folder(tmp_path)).read_text(encoding="utf-8")

    found = Links(page)
    assert len(found.targets) == 4
    assert all(target.startswith("data:image/png;base64,") for target in found.targets)
    assert "script" not in found.tags
    assert "http" not in page.replace("http-equiv", "")
    assert 'name="viewport"' in page


def test_the_page_holds_the_figures_of_the_run(tmp_path):
    """Accuracy with its interval, parameters against the budget, layers, confusions, and how to repeat it."""
    words = words_of(run_folder(tmp_path))

    for expected in ("97.00 %", "91.55 to 98.97", "97 of 100", "of 20,000", "conv1", "train again.toml --seed 0"):
        assert expected in words
    assert "0 read as 1 (3)" in words


def test_hostile_names_stay_text(tmp_path):
    """A recipe called like a script is shown, not run."""
    name = "<script>alert(1)</script>"

    page = write_report(run_folder(tmp_path, name=name)).read_text(encoding="utf-8")

    assert "script" not in Links(page).tags
    assert "&lt;script&gt;alert(1)" in page


def test_a_report_can_be_written_again(tmp_path):
    """The same files give the same bytes, and the run's own files stay as they were."""
    folder = run_folder(tmp_path)
    first = {path.name: path.read_bytes() for path in sorted(write_report(folder).parent.iterdir())}

    second = {path.name: path.read_bytes() for path in sorted(write_report(folder).parent.iterdir())}

    assert first == second
    assert {"curves.png", "confusion.png", "misread.png", "filters.png", "report.html"} <= set(first)
    folder.verify()


@pytest.mark.parametrize(
    "case",
    [
        {"epochs": 1},
        {"epochs": 60},
        {"n_wrong": 0},
        {"n_wrong": 90},
        {"n_classes": 2},
        {"n_classes": 47},
        {"shape": (3, 32, 32)},
        {"net": "flat fc10"},
        {"net": "c6 r gap flat fc10 unused(fc5)"},
        {"diverged": True},
        {"budget": {}},
        {"budget": {"epochs": 3}},
    ],
    ids=str,
)
def test_every_kind_of_run_has_a_page(tmp_path, case):
    """One epoch or sixty, no mistakes or many, colour, many classes, no convolution, diverged: warnings are errors."""
    folder = run_folder(tmp_path, **case)

    page = write_report(folder).read_text(encoding="utf-8")

    pictures = sorted(path.stem for path in folder.path.glob("*.png"))
    expected = ["confusion", "curves", "filters", "misread"]
    if case.get("diverged"):
        expected = []
    if case.get("net") == "flat fc10":
        expected.remove("filters")
    assert pictures == expected
    for path in folder.path.glob("*.png"):
        with Image.open(path) as picture:
            assert 100 < picture.width < 4000
            assert 50 < picture.height < 4000
    if "unused" in case.get("net", ""):
        assert "Registered but never used" in page


def test_a_recipe_without_a_budget_shows_no_limit(tmp_path):
    """Parameters stand alone where nothing limits them, and beside their limit where it does."""
    pages = [
        words_of(run_folder(tmp_path / name, budget=budget))
        for name, budget in (("none", {}), ("limited", {"params": 20_000}))
    ]

    assert ["parameters of 20,000" in words for words in pages] == [False, True]


@pytest.mark.parametrize(("judged_on", "called"), [("test", "test images"), ("train", "training images")])
def test_a_page_of_a_run_with_a_protocol_says_so_above_its_figures(tmp_path, judged_on, called):
    """What was measured otherwise and reported; what was not held out is not called validation."""
    test = ReportedFigures(correct=90, count=100, loss=0.0049)
    reported = ReportedEpoch(epoch=3, train=ReportedTraining(accuracy=0.9, loss=0.3), test=test)
    protocol = (SENTENCES["evaluate_on", judged_on], SENTENCES["loss_divided_twice", True])
    folder = run_folder(tmp_path, judged_on=judged_on, protocol=protocol, reported=reported)

    words = words_of(folder)

    assert words.index("Not a clean evaluation") < words.index("97.00 %")
    assert f"This recipe has a protocol: {'; '.join(protocol)}." in words
    assert "90.00% of 100, loss 0.0049" in words
    assert f"{called}, judged every epoch" in words
    assert f"best by {called}: 1" in words
    assert "validation" not in words


def test_a_run_without_a_protocol_is_warned_of_nothing(tmp_path):
    """Its page has no banner."""
    assert "otherwise" not in write_report(run_folder(tmp_path)).read_text(encoding="utf-8")


def test_a_diverged_run_with_a_protocol_has_a_page(tmp_path):
    """It reports what was reported, and claims no clean figures."""
    test = ReportedFigures(correct=9, count=100, loss=None)
    reported = ReportedEpoch(epoch=1, train=ReportedTraining(accuracy=0.1, loss=None), test=test)
    protocol = (SENTENCES["evaluate_on", "test"],)
    folder = run_folder(tmp_path, diverged=True, judged_on="test", protocol=protocol, reported=reported)

    words = words_of(folder)

    assert "train 10.00%, loss nan; test 9.00% of 100, loss nan" in words
    assert "measured honestly" not in words


def test_a_run_that_is_not_over_has_no_page(tmp_path):
    """It is reported in one line what is missing and how to continue."""
    with pytest.raises(DataError, match="flyweight train --resume"):
        write_report(RunFolder(path=tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_a_report_needs_no_torch(tmp_path):
    """A folder can be reported on a machine that has none."""
    folder = run_folder(tmp_path)
    script = (
        "import sys; from pathlib import Path; from flyweight.records.run_folder import RunFolder;"
        "from flyweight.report.run.page import write_report;"
        "write_report(RunFolder(path=Path(sys.argv[1]))); print({'torch', 'sqlalchemy'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script, str(folder.path)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_names_of_classes_are_drawn_as_they_are():
    """Dollar signs begin no formula, a character without a shape is a box, and nothing warns."""
    names = ["$\\frac{$", "数字", "_hidden", "two\nlines"]
    counts = np.array([[1, 2, 0, 1]] * 4)
    images = np.zeros((4, 1, 8, 8), np.uint8)
    misread = Misread(
        images=images,
        labels=np.arange(4),
        predicted=np.arange(4)[::-1],
        probabilities=np.full((4, 4), 0.25, np.float32),
        indices=np.arange(4),
    )

    drawn = [
        plots.confusion(counts, names),
        plots.misread(misread, names),
        plots.class_grid([images] * 4, names),
    ]

    assert all(picture.startswith(b"\x89PNG") for picture in drawn)
