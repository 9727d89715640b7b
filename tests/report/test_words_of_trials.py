"""What was tried and what was read, in words: trials, fixes, ranges of learning rates, and code of others."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from flyweight.code_check.findings import CodeFinding, CodeReading, Recognised
from flyweight.diagnose.fix import FixOutcome, FixStep
from flyweight.diagnose.lr_range import LrRange, SeedRange
from flyweight.diagnose.trial import Expense, Trial
from flyweight.doctor.finding import Evidence, Finding, Remedy
from flyweight.evidence.paired import Paired
from flyweight.recipe import load, override
from flyweight.report.diagnosis.code_check import code_text
from flyweight.report.diagnosis.trials import (
    fix_text,
    fix_values,
    lr_range_text,
    seed_words,
    step_text,
    trial_text,
)

EXPENSE = Expense(params=1442, registered_params=1442, macs=188_224)


def trial(**values) -> Trial:
    usual = {
        "code": "LR01",
        "gain": "accuracy",
        "changes": ("train.lr=0.1",),
        "seeds": (0, 1, 2),
        "before": (0.0987, 0.1, 0.1124),
        "after": (0.98, 0.985, 1.0),
        "reported": (),
        "clean": (),
        "cost_before": EXPENSE,
        "cost_after": EXPENSE,
        "paired": None,
        "has_helped": True,
        "line": "helps",
        "budget": "short: 20,000 of 55,000 training images, 3 epochs",
        "run_ids": ("a", "b"),
    }
    return Trial(**{**usual, **values})


def finding(code: str, change: str, *, gain="accuracy") -> Finding:
    return Finding(
        code=code,
        title=f"What {code} is about",
        severity="fault",
        rank=1,
        evidence=(Evidence(what=f"number of {code}", value=10, source="recipe.train.lr"),),
        explanation="One is this. Two is that. Three helps.",
        remedy=Remedy(changes=(change,), gain=gain, expected="It is gone."),
    )


RATE, BATCH = finding("LR01", "train.lr=0.05"), finding("ST01", "train.batch_size=32")
SEED = finding("EV06", "protocol.seed_after_split=false", gain="honesty")
LOSS = finding("EV08", "protocol.last_batch_loss=false", gain="honesty")
BROKEN = load("own/8k", overrides=["protocol.seed_after_split=true", "protocol.last_batch_loss=true"])


def fix_step(*findings: Finding, **values) -> FixStep:
    usual = {"trial": trial(), "recipe": BROKEN, "line": "validation 10.00 % → 98.00 %: helps"}
    return FixStep(findings=findings, **{**usual, **values})


def seed_range(seed: int, **values) -> SeedRange:
    usual = {
        "lrs": (0.1, 1.0),
        "losses": (2.0, 1.0),
        "steepest": 0.05,
        "halfway": 0.02,
        "lowest": 0.5,
        "diverges": 3.0,
        "low": 0.02,
        "high": 0.4,
    }
    return SeedRange(seed=seed, **{**usual, **values})


def lr_range(**values) -> LrRange:
    usual = {
        "lr": 1.2,
        "low": 0.0213,
        "high": 0.41,
        "suggestion": 0.0934,
        "where": "above",
        "spread": 1.5,
        "reason": "the loss is lowest there, and above it the seeds break. " * 3,
        "seeds": (seed_range(0), seed_range(1, low=None, high=None, steepest=None, lowest=None)),
    }
    return LrRange(**{**usual, **values})


def code_finding(line: int, severity="fault", code="CD01") -> CodeFinding:
    return CodeFinding(
        code=code,
        title="the test set is the training set",
        severity=severity,
        cell=4,
        line=line,
        text='test = datasets.MNIST("data", train=True, transform=transforms.ToTensor(), download=True)',
        explanation="One is this. Two is that. Three helps.",
        fix="write train=False",
    )


def test_a_trial_shows_every_seed():
    """Accuracies in percent, the seeds, and how long was trained; nothing of figures that it does not have."""
    text = trial_text(trial())

    assert "train.lr=0.1" in text
    assert "20,000 of 55,000 training images, 3 epochs, seeds 0 to 2" in " ".join(text.split())
    assert "9.87 10.00 11.24 %" in text
    assert "98.00 98.50 100.00 %" in text
    assert "clean" not in text
    assert max(map(cell_len, text.splitlines())) <= 80


def test_a_trial_of_a_clean_evaluation_shows_both_figures():
    """What was reported and what is clean, seed by seed; where nothing was trained no seed is named."""
    text = trial_text(trial(before=(), after=(), reported=(0.0049, 0.005), clean=(0.157, 0.16), gain="honesty"))
    untrained = trial_text(trial(before=(), after=(), run_ids=(), budget="nothing had to be trained"))

    assert "0.0049 0.005" in text
    assert "0.157 0.16" in text
    assert "before" not in text
    assert "seeds" not in untrained


def test_a_step_reports_the_finding_and_what_came_of_it():
    """All of the finding first, then whether the change is kept; one that makes no recipe is reported as it is
    written."""
    text = step_text(fix_step(RATE), BROKEN)
    wrong = fix_step(finding("NONE", "train.lr=fast"), trial=None, line="cannot be tried: train.lr must be a number.")

    assert "number of LR01  10" in text
    assert "  change     lr 0.1 → 0.05; for a better net" in text.splitlines()
    assert text.endswith("  so         the change is kept")
    assert "together" not in text
    assert "  change     train.lr=fast; for a better net" in step_text(wrong, BROKEN).splitlines()
    assert step_text(wrong, BROKEN).endswith("  so         the change is not kept")


def test_remedies_tried_together_were_shown_alone_before():
    """Titles and all changes in one line; why they are together is said."""
    text = step_text(fix_step(RATE, BATCH), BROKEN)

    lines = text.splitlines()
    assert [line[:7] for line in lines[:2]] == ["1  LR01", "1  ST01"]
    assert "  change     batch_size 64 → 32 images, lr 0.1 → 0.05; for a better net" in lines
    assert "none of them helps alone" in text
    assert "Three helps." not in text
    assert lines[-1] == "  so         the changes are kept"
    assert max(map(cell_len, lines)) <= 80


def test_protocols_in_one_step_are_reported_in_full():
    """Each finding with its numbers and its change; they are no try, and that is said once."""
    text = step_text(fix_step(SEED, LOSS), BROKEN)

    assert text.count("Three helps.") == text.count("; for a clean evaluation") == 2
    assert text.count("not counted as trials") == 1
    assert "number of" not in step_text(fix_step(SEED, LOSS), BROKEN, is_guessed=True)
    assert max(map(cell_len, text.splitlines())) <= 80


def test_a_fix_that_is_not_finished_says_how_it_continues():
    """The command that continues stands first, whether there is a file or not; one that is over has none."""
    fixed = override(BROKEN, ["train.lr=0.05"])
    kept = FixOutcome(start=BROKEN, recipe=fixed, steps=(fix_step(RATE),), left=(SEED,), is_done=False)
    begun = FixOutcome(start=BROKEN, recipe=BROKEN, steps=(), left=(RATE, SEED), is_done=False)
    over = FixOutcome(start=BROKEN, recipe=fixed, steps=(fix_step(RATE),), left=(), is_done=True)

    texts = [fix_text(kept, written="fixed.toml", continuing="GO ON", options=" --home there").splitlines()]
    texts += [fix_text(begun, written=None, continuing="GO ON").splitlines()]
    texts += [fix_text(over, written="fixed.toml", continuing="GO ON").splitlines()]

    train = "flyweight train fixed.toml --seeds 5"
    assert texts[0][-2:] == ["  next       GO ON", f"             {train} --home there"]
    assert texts[1][0] == "own/8k: stopped before the first trial"
    assert texts[1][-1] == "  next       GO ON"
    assert [any("not finished" in line for line in text) for text in texts] == [True, True, False]
    assert texts[2][-1] == f"  next       {train}"


@pytest.mark.parametrize(
    ("effect", "n", "left", "is_told"),
    [(0.4, 2, RATE, True), (-0.4, 2, RATE, False), (0.4, 5, RATE, False), (0.4, 2, SEED, False)],
)
def test_a_fix_of_few_seeds_says_that_more_may_show_more(effect, n, left, is_told):
    """Where a change that is still due looked good and was not shown to help; not where the usual seeds were tried."""
    found = Paired(n=n, effect=effect, low=-0.1, high=0.9, p=0.1, sd=0.3)
    step = fix_step(RATE, trial=trial(has_helped=False, paired=found))
    outcome = FixOutcome(start=BROKEN, recipe=BROKEN, steps=(step,), left=(left,), is_done=True)

    text = fix_text(outcome, written=None, continuing="")

    assert ("--seeds 5" in text) == is_told


def test_a_fix_as_values_has_every_finding_of_a_step():
    """What was tried together is one step with its findings, its trial and its line."""
    steps = (fix_step(RATE, BATCH),)

    found = fix_values(FixOutcome(start=BROKEN, recipe=BROKEN, steps=steps, left=(SEED,), is_done=True))

    (step,) = found["steps"]
    assert [one["code"] for one in step["findings"]] == ["LR01", "ST01"]
    assert step["trial"]["changes"] == ("train.lr=0.1",)
    assert (step["has_helped"], step["line"]) == (True, steps[0].line)
    assert [one["code"] for one in found["left"]] == ["EV06"]


def test_a_range_of_rates_shows_the_position_of_the_recipe():
    """The range, what to try, the recipe's own rate, the spread, the reason, and a line for each seed."""
    text = lr_range_text(lr_range(), name="own/8k")

    lines = text.splitlines()
    assert lines[0] == "own/8k: learning rates from 0.0213 to 0.41 are good"
    assert "  try        0.0934" in lines
    assert "  recipe's   1.2, above this range" in lines
    assert "factor of 1.5" in text
    assert sum(line.startswith("  seed ") for line in lines) == 2
    assert max(map(cell_len, lines)) <= 80


def test_no_range_is_no_crash():
    """Where the loss fell for too few seeds it is said, with the reason."""
    text = lr_range_text(
        lr_range(low=None, high=None, suggestion=None, spread=None, where="unknown", seeds=(seed_range(0),)), name="x"
    )

    assert "no range" in text
    assert "  why" in text
    assert seed_words(seed_range(0, low=None, high=None, steepest=None, lowest=None, diverges=None)) == (
        "the loss did not fall"
    )


def test_code_is_shown_with_its_place_and_explained_once():
    """The line as it stands in the file, what to write instead; the second place of a fault is not explained again."""
    reading = CodeReading(
        path="theirs.ipynb",
        findings=(code_finding(7), code_finding(9), code_finding(11, "note", "CD13")),
        n_cells=12,
        n_lines=340,
        skipped=("cell 3: a magic of the notebook",),
    )

    text = code_text(reading)

    assert text.startswith("theirs.ipynb: 12 code cells, 340 lines; read as text, nothing was run")
    assert "cell 4, line 7: test =" in text
    assert text.count("Three helps.") == 1
    assert code_text(reading, is_full=True).count("Three helps.") == 2
    assert "3 findings: 2 faults, 1 note" in text
    assert "cell 3: a magic" in text
    assert max(map(cell_len, text.splitlines())) <= 80


def test_code_without_faults_is_reported_as_such():
    """Nothing found is a sentence, not silence."""
    text = code_text(CodeReading(path="theirs.py", findings=(), n_cells=0, n_lines=1))

    assert text.splitlines() == ["theirs.py: 1 line; read as text, nothing was run", "", "nothing found"]


def test_code_that_was_not_understood_is_not_called_faultless():
    """Nothing found is said only of what was understood; the rest is named."""
    nothing = code_text(CodeReading(path="a.py", findings=(), n_cells=0, n_lines=1, recognised=Recognised()))
    some = Recognised(libraries=("Lightning", "PyTorch"), nets=1, losses=2)
    part = code_text(CodeReading(path="a.py", findings=(), n_cells=0, n_lines=1, recognised=some))
    whole = Recognised(libraries=("PyTorch",), nets=1, training_loops=1, evaluation_loops=1)
    found = code_text(CodeReading(path="a.py", findings=(), n_cells=0, n_lines=1, recognised=whole))

    assert "nothing was judged" in nothing
    assert "nothing found in what was understood" in part
    assert "Lightning, PyTorch: 1 net, 2 loss functions" in part
    assert "not judged" in part
    assert "nothing found\n" in found
    assert "not judged" not in found
    assert max(map(cell_len, part.splitlines())) <= 80
