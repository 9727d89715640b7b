"""Runs, recipes and costs show themselves in notebooks."""

from __future__ import annotations

import subprocess
import sys

from flyweight.experiment.events import Ended, EpochDone, Measuring, Started, Stepped, ignore
from flyweight.experiment.notebook import NotebookProgress, shown_in_notebook
from flyweight.model.count import count
from flyweight.recipe import ModelSection, Recipe
from flyweight.train.metrics import EpochMetrics

METRICS = EpochMetrics(
    epoch=1,
    train_loss=0.2,
    train_accuracy=0.9,
    validation_loss=0.1,
    validation_accuracy=0.95,
    lr=0.1,
    seconds=2.0,
    images_per_second=1000.0,
)


def stepped(step: int) -> Stepped:
    return Stepped(
        run_id="a",
        seed=7,
        epoch=1,
        epochs=2,
        step=step,
        n_steps=100,
        loss=0.5,
        accuracy=0.9,
        images_per_second=1000.0,
        seconds_left=61.0,
    )


def test_a_bar_follows_a_run_and_changes_a_few_times_a_second():
    """Of 100 steps in a second some are shown; epochs, the measuring and the end all are. Names are escaped."""
    shown: list[str] = []
    times = iter(number / 100 for number in range(10_000))
    progress = NotebookProgress(shown.append, clock=lambda: next(times))

    progress(Started(run_id="a", seed=7, name="<b>", params=1, epochs=2))
    for step in range(1, 101):
        progress(stepped(step))
    n_of_steps = len(shown) - 1
    progress(EpochDone(run_id="a", seed=7, epochs=2, metrics=METRICS))
    progress(Measuring(run_id="a", seed=7, epochs=2, part="test"))
    progress(Ended(run_id="a", seed=7, status="finished", message=""))

    assert "&lt;b&gt;, seed 7" in shown[0]
    assert 2 <= n_of_steps <= 10
    assert 'value="0.500"' in shown[-3]
    assert "epoch 1/2: train 90.00%, validation 95.00%" in shown[-3]
    assert "measuring the kept net on the test images" in shown[-2]
    assert "seed 7: finished" in shown[-1]


def test_nothing_is_shown_outside_of_a_notebook():
    """In a script the default stays, and IPython is not imported; what a caller gives is used anywhere."""
    assert shown_in_notebook(print) is print
    assert shown_in_notebook(ignore) is ignore


def test_a_notebook_gets_a_display_that_is_updated():
    """A shell with a kernel, as notebooks have; a shell in a terminal has none."""
    script = """if True:
        import sys
        from types import SimpleNamespace as Made
        updates = []
        display = Made(HTML=str, display=lambda *_, display_id: Made(update=updates.append))
        shell = Made(kernel=object())
        sys.modules["IPython"], sys.modules["IPython.display"] = Made(get_ipython=lambda: shell), display
        from flyweight.experiment.events import Ended, ignore
        from flyweight.experiment.notebook import shown_in_notebook
        shown_in_notebook(ignore)(Ended(run_id="a", seed=7, status="finished", message=""))
        del shell.kernel
        print(len(updates), shown_in_notebook(ignore) is ignore)
    """

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "1 True\n"


def test_recipes_and_costs_have_html():
    """The keys that were set, and a row for each layer with the totals; all text is escaped."""
    recipe = Recipe(name="<mine>", model=ModelSection(net="c8 r m2 flat fc10"))
    cost = count("c8 r m2 flat fc10")

    assert "&lt;mine&gt;" in recipe._repr_html_()
    assert "model.net = &#x27;c8 r m2 flat fc10&#x27;" in recipe._repr_html_()
    assert "train." not in recipe._repr_html_()
    assert cost._repr_html_().count("<tr>") == 1 + len(cost.rows)
    assert f"{cost.params:,} parameters" in cost._repr_html_()
