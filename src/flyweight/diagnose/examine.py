"""Examine a recipe or a run: collect what is known and run the rules of the doctor.

In: a recipe, or a run and its store. Out: a `Subject` and its `Diagnosis`. Results of earlier trials are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyweight.diagnose.subjects import subject_of_recipe, subject_of_run
from flyweight.doctor.diagnosis import Tried, diagnose
from flyweight.doctor.finding import Diagnosis
from flyweight.doctor.subject import Subject
from flyweight.errors import in_one_line
from flyweight.evidence.integrity import faults_of
from flyweight.recipe import Recipe

if TYPE_CHECKING:
    from flyweight.records.record import RunRecord
    from flyweight.records.run_folder import RunFolder
    from flyweight.records.store import Store

__all__ = ["Examined", "examine_recipe", "examine_run"]


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A recipe or run with its subject and diagnosis.

    record: None for a recipe. changed: what of the run is no longer as it was recorded.
    """

    recipe: Recipe
    record: RunRecord | None
    subject: Subject
    diagnosis: Diagnosis
    changed: tuple[str, ...] = ()


@in_one_line
def examine_recipe(recipe: Recipe) -> Examined:
    """Examine a recipe before any run.

    Raises:
        RecipeError, OverBudgetError: the recipe cannot be trained.
    """
    subject = subject_of_recipe(recipe)
    return Examined(recipe=recipe, record=None, subject=subject, diagnosis=diagnose(subject))


@in_one_line
def examine_run(selector: str, store: Store, *, with_probes: bool = True) -> Examined:
    """Examine a run; a finding whose remedy was tried without success gets a lower rank.

    Raises:
        UsageError: no such run. RecipeError: this version cannot read its recipe. DataError: its files are missing.
    """
    record = store.get(selector)
    subject = subject_of_run(record, store, with_probes=with_probes)
    folder = store.folder(record.id)
    return Examined(
        recipe=subject.recipe,
        record=record,
        subject=subject,
        diagnosis=diagnose(subject, tried=_tried(folder)),
        changed=faults_of(record, store) if folder.path.is_dir() else (),
    )


def _tried(folder: RunFolder) -> tuple[Tried, ...]:
    if not folder.has("trials"):
        return ()
    from flyweight.diagnose.trial_record import read_tried

    found: tuple[Tried, ...] = read_tried(folder)
    return found
