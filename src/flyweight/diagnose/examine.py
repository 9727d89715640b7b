"""A recipe or a run examined: all that is known of it, and what the doctor finds in that.

Goes in: a recipe, or a run and its store. Comes out: a `Subject` and its `Diagnosis`. How a remedy is tried is not
known here; what came of trying it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyweight.diagnose.subjects import subject_of_recipe, subject_of_run
from flyweight.doctor.diagnosis import Tried, diagnose
from flyweight.doctor.finding import Diagnosis
from flyweight.doctor.subject import Subject
from flyweight.recipe import Recipe

if TYPE_CHECKING:
    from flyweight.records.record import RunRecord
    from flyweight.records.run_folder import RunFolder
    from flyweight.records.store import Store

__all__ = ["Examined", "examine_recipe", "examine_run"]


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What was looked at, all that was seen, and what was found. record: None for a recipe by itself."""

    recipe: Recipe
    record: RunRecord | None
    subject: Subject
    diagnosis: Diagnosis


def examine_recipe(recipe: Recipe) -> Examined:
    """What can be found before any run.

    Raises:
        RecipeError, OverBudgetError: a recipe that could not be trained.
    """
    subject = subject_of_recipe(recipe)
    return Examined(recipe=recipe, record=None, subject=subject, diagnosis=diagnose(subject))


def examine_run(selector: str, store: Store, *, with_probes: bool = True) -> Examined:
    """What can be found in a run; remedies that were tried on it and did not help cost their findings the rank.

    Raises:
        UsageError: no such run. RecipeError: its recipe is of another version. DataError: nothing of it is left.
    """
    record = store.get(selector)
    subject = subject_of_run(record, store, with_probes=with_probes)
    tried = _tried(store.folder(record.id))
    return Examined(recipe=subject.recipe, record=record, subject=subject, diagnosis=diagnose(subject, tried=tried))


def _tried(folder: RunFolder) -> tuple[Tried, ...]:
    if not folder.has("trials"):
        return ()
    from flyweight.diagnose.trial_record import read_tried

    found: tuple[Tried, ...] = read_tried(folder)
    return found
