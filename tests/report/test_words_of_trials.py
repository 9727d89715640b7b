"""What was tried and what was read, in words: proofs, ranges of learning rates, and code of others."""

from __future__ import annotations

from flyweight.doctor.code.findings import CodeFinding, CodeReading
from flyweight.experiment.lr_range import LrRange, SeedRange
from flyweight.experiment.prove import Expense, Proof
from flyweight.report.code_reading import code_text
from flyweight.report.trials import lr_range_text, proof_text, seed_words
from flyweight.report.wording import columns

EXPENSE = Expense(params=1442, registered_params=1442, macs=188_224)


def proof(**values) -> Proof:
    usual = {
        "code": "LR01",
        "gain": "accuracy",
        "changes": ("train.lr=0.1",),
        "seeds": (0, 1, 2),
        "before": (0.0987, 0.1, 0.1124),
        "after": (0.98, 0.985, 1.0),
        "told": (),
        "honest": (),
        "cost_before": EXPENSE,
        "cost_after": EXPENSE,
        "paired": None,
        "has_helped": True,
        "line": "helps",
        "budget": "short: 20,000 of 55,000 training images, 3 epochs",
        "run_ids": ("a", "b"),
    }
    return Proof(**{**usual, **values})


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


def test_a_proof_tells_every_seed():
    """Accuracies in percent, the seeds, and how long was trained; nothing of figures that it does not have."""
    text = proof_text(proof())

    assert "train.lr=0.1" in text
    assert "20,000 of 55,000 training images, 3 epochs, seeds 0 to 2" in " ".join(text.split())
    assert "9.87 10.00 11.24 %" in text
    assert "98.00 98.50 100.00 %" in text
    assert "honest" not in text
    assert max(map(columns, text.splitlines())) <= 80


def test_a_proof_of_honesty_tells_both_figures():
    """What was told and what is honest, seed by seed; where nothing was trained no seed is named."""
    text = proof_text(proof(before=(), after=(), told=(0.0049, 0.005), honest=(0.157, 0.16), gain="honesty"))
    untrained = proof_text(proof(before=(), after=(), run_ids=(), budget="nothing had to be trained"))

    assert "0.0049 0.005" in text
    assert "0.157 0.16" in text
    assert "before" not in text
    assert "seeds" not in untrained


def test_a_range_of_rates_says_where_the_recipe_lies():
    """The range, what to try, the recipe's own rate, the spread, the reason, and a line for each seed."""
    text = lr_range_text(lr_range(), name="own/8k")

    lines = text.splitlines()
    assert lines[0] == "own/8k: learning rates from 0.0213 to 0.41 are good"
    assert "  try        0.0934" in lines
    assert "  recipe's   1.2, above them" in lines
    assert "factor of 1.5" in text
    assert sum(line.startswith("  seed ") for line in lines) == 2
    assert max(map(columns, lines)) <= 80


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
    assert max(map(columns, text.splitlines())) <= 80


def test_faultless_code_is_told_to_be_so():
    """Nothing found is a sentence, not silence."""
    text = code_text(CodeReading(path="theirs.py", findings=(), n_cells=0, n_lines=1))

    assert text.splitlines() == ["theirs.py: 1 line; read as text, nothing was run", "", "nothing found"]
