"""The faults that the documents have, each replayed as a recipe: which finding names it, and at which rank.

A document's recipe has many faults at a time, so each is looked for twice: in the step as it is (in its run, where
`flyweight journey run` has left one), and alone, in the step with everything else mended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flyweight.diagnose.subjects import subject_of_recipe, subject_of_run
from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import Diagnosis, Finding
from flyweight.errors import FlyweightError
from flyweight.experiment.resolved import canonical_hash
from flyweight.recipe import Recipe, load, override
from flyweight.records.store import Store

# Fixing one fault can reveal another.
MAX_ROUNDS: Final = 6


@dataclass(frozen=True, kw_only=True)
class DocumentFault:
    """A fault of a document: its number in the audit of the five, what it is, a step that has it, who must name it."""

    number: int
    what: str
    step: str
    code: str


DOCUMENT_FAULTS: Final = (
    DocumentFault(number=1, what="a count of parameters typed by hand", step="003-10", code="CL01"),
    DocumentFault(number=1, what="a count that was not counted anew", step="003-13", code="CL01"),
    DocumentFault(number=2, what="layers registered and never called", step="003-17", code="NE08"),
    DocumentFault(number=2, what="the same, a batch norm", step="004-1", code="NE08"),
    DocumentFault(number=3, what="augmentation silently off", step="003-15", code="EV02"),
    DocumentFault(number=4, what="validation images augmented", step="003-12", code="EV01"),
    DocumentFault(number=5, what="test images augmented", step="000-5", code="EV01"),
    DocumentFault(number=6, what="the test set is the training set", step="002-4", code="EV03"),
    DocumentFault(number=7, what="a claim against its own output", step="002-3b", code="CL01"),
    DocumentFault(number=8, what="diverged", step="002-1a", code="LR01"),
    DocumentFault(number=8, what="diverged, with a lower rate", step="002-2a", code="LR01"),
    DocumentFault(number=8, what="collapsed to one answer", step="002-2g", code="LR01"),
    DocumentFault(number=9, what="too few updates, not too many parameters", step="002-2d", code="ST01"),
    DocumentFault(number=10, what="loss summed over the batch", step="000-2", code="LR03"),
    DocumentFault(number=11, what="scheduler that stops learning", step="003-4", code="ST02"),
    DocumentFault(number=11, what="the same, every five epochs", step="003-7", code="ST02"),
    DocumentFault(number=12, what="best epoch picked on the test set", step="003-17", code="EV04"),
    DocumentFault(number=13, what="seed set after the split", step="003-12", code="EV06"),
    DocumentFault(number=14, what="training loss of the last batch", step="003-9", code="EV08"),
    DocumentFault(number=14, what="test loss divided twice", step="000-5", code="EV07"),
    DocumentFault(number=15, what="log_softmax before cross entropy", step="003-1", code="NE11"),
    DocumentFault(number=16, what="a change that shows nothing", step="003-11", code="CL03"),
    DocumentFault(number=17, what="several things changed at once", step="003-17", code="CL02"),
)


@dataclass(frozen=True, kw_only=True)
class DocumentReplay:
    """Where a fault was found. rank, ties: in the step as it is, judged by its run or by its recipe (`looked_at`);
    rank_alone: in the step with everything else mended. None: not found there, or not to be found without a run.
    """

    number: int
    what: str
    step: str
    code: str
    looked_at: str
    rank: int | None
    ties: int
    rank_alone: int | None


def replays(store: Store) -> tuple[DocumentReplay, ...]:
    """Every fault of the documents, looked for in what the store has of the steps."""
    return tuple(_replay(fault, store) for fault in DOCUMENT_FAULTS)


def _replay(fault: DocumentFault, store: Store) -> DocumentReplay:
    recipe = load(fault.step)
    runs = [run for run in store.runs(recipe_hash=canonical_hash(recipe), purpose="all") if run.status != "running"]
    case = subject_of_run(runs[0], store) if runs else subject_of_recipe(recipe)
    diagnosis = diagnose(case)
    found = named(diagnosis, fault.code)
    return DocumentReplay(
        number=fault.number,
        what=fault.what,
        step=fault.step,
        code=fault.code,
        looked_at="run" if runs else "recipe",
        rank=found.rank if found else None,
        ties=sum(one.rank == found.rank for one in diagnosis.findings) if found else 0,
        rank_alone=rank_alone(recipe, fault.code),
    )


def named(diagnosis: Diagnosis, code: str) -> Finding | None:
    """The finding of a code."""
    return next((finding for finding in diagnosis.findings if finding.code == code), None)


def rank_alone(recipe: Recipe, code: str) -> int | None:
    """The rank of a finding in the recipe with all else mended, before any run; None where it needs a run."""
    found = named(diagnose(subject_of_recipe(alone(recipe, code))), code)
    return found.rank if found else None


def alone(recipe: Recipe, code: str) -> Recipe:
    """The recipe with what other findings propose done to it, as long as this one is still found."""
    for _ in range(MAX_ROUNDS):
        others = [
            finding.remedy.changes
            for finding in diagnose(subject_of_recipe(recipe)).findings
            if finding.code != code and finding.remedy is not None
        ]
        mended = recipe
        for changes in others:
            tried = _changed(mended, changes)
            if tried is not None and named(diagnose(subject_of_recipe(tried)), code):
                mended = tried
        if mended == recipe:
            break
        recipe = mended
    return recipe


def _changed(recipe: Recipe, changes: tuple[str, ...]) -> Recipe | None:
    try:
        return override(recipe, changes)
    except FlyweightError:
        return None
