"""Claims about a recipe or a run, compared with the records: documents, descriptions, notes, targets.

In: a recipe with its cost, and a run. Out: claims, each with what the records say. No torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyweight.doctor.subject import Claim, Ending
from flyweight.doctor.typed_accuracies import typed_otherwise as accuracies_typed_otherwise
from flyweight.errors import DataError
from flyweight.evidence.typed import typed_otherwise as counts_typed_otherwise
from flyweight.model.cost import Cost
from flyweight.recipe import Recipe, document_names
from flyweight.records.record import OVER
from flyweight.records.results import SPLITS

if TYPE_CHECKING:
    from flyweight.records.record import Note, RunRecord
    from flyweight.records.store import Store
    from flyweight.reproductions.document import Document, Step
    from flyweight.reproductions.runs import Replay

DESCRIPTION = "the description of the recipe"


def claims_of_recipe(recipe: Recipe, cost: Cost) -> tuple[Claim, ...]:
    """Claims about the number of parameters, which need no run."""
    named = step_of(recipe.name)
    counts = _of_document(*named, cost, replays=(), is_run=False) if named and _has_its_net(recipe, named[1]) else ()
    return (*counts, *_typed_counts(_description(recipe), DESCRIPTION, cost))


def claims_of_run(
    recipe: Recipe, cost: Cost, record: RunRecord, store: Store, *, ending: Ending | None
) -> tuple[Claim, ...]:
    """All claims about an ended run; for an unfinished run, those that need no run."""
    if ending is None:
        return claims_of_recipe(recipe, cost)
    named = step_of(recipe.name)
    is_step = named is not None and _is_run_of(record, named[1])
    replays = _replays(named[1], record, store) if named and is_step else ()
    written = [one for one in _written(recipe, record, store) if not (is_step and one.where == DESCRIPTION)]
    return (
        *(_of_document(*named, cost, replays=replays, is_run=True) if named and is_step else ()),
        *(claim for one in written for claim in _typed_counts(one.text, one.where, cost)),
        *(claim for one in written if not one.is_expectation for claim in _typed_accuracies(one, record, store)),
        *_target(recipe, record, ending),
    )


@dataclass(frozen=True, kw_only=True)
class _Written:
    """A text about a recipe. is_expectation: written before the run, when no accuracy was known."""

    where: str
    text: str
    is_expectation: bool = False


@functools.cache
def step_of(name: str) -> tuple[Document, Step] | None:
    """The document and the step that have the name of a recipe."""
    document_name = name.partition("-")[0]
    if document_name not in document_names():
        return None
    from flyweight.reproductions.document import document

    found = document(document_name)
    return next(((found, step) for step in found.all_steps if step.name == name), None)


def _has_its_net(recipe: Recipe, step: Step) -> bool:
    return recipe.model.net == step.recipe.model.net and recipe.data.name == step.recipe.data.name


def _is_run_of(record: RunRecord, step: Step) -> bool:
    """Whether the recipe of a run is that of the step; a changed recipe can have the same name."""
    from flyweight.experiment.resolved import canonical_hash

    return record.recipe_hash == canonical_hash(step.recipe)


def _replays(step: Step, record: RunRecord, store: Store) -> tuple[Replay, ...]:
    """The run as a replay of the step; empty if its folder lacks files."""
    from flyweight.reproductions.replay import replay_of

    try:
        return (replay_of(step.name, record, store),)
    except (DataError, KeyError, TypeError):
        return ()


def _of_document(
    document: Document, step: Step, cost: Cost, *, replays: Sequence[Replay], is_run: bool
) -> tuple[Claim, ...]:
    """The claims of the document with their verdicts; refuted claims are contradicted."""
    from flyweight.reproductions.document import COUNTED
    from flyweight.reproductions.verdicts import judge_claim

    verdicts = [judge_claim(claim, step, cost, replays) for claim in step.claims if is_run or claim.what in COUNTED]
    return tuple(
        Claim(
            what=verdict.claim.subject,
            said=verdict.claim.reported,
            found=verdict.sentence,
            where=f"the document {document.name}, step {step.name}",
            is_contradicted=verdict.kind == "refuted",
        )
        for verdict in verdicts
    )


def _typed_counts(text: str, where: str, cost: Cost) -> Iterator[Claim]:
    """Parameter counts in a text that are not the count of the net."""
    for said in counts_typed_otherwise(text, cost.params):
        yield Claim(
            what="parameters",
            said=said,
            found=f"{cost.params:,} by counting the layers",
            where=where,
            is_contradicted=True,
        )


def _written(recipe: Recipe, record: RunRecord, store: Store) -> tuple[_Written, ...]:
    """The description, and the last note of each kind about the recipe of a run."""
    about = [
        note
        for note in store.notebook.notes()
        if note.recipe_hash == record.recipe_hash and note.study in (None, record.study)
    ]
    last: dict[tuple[str | None, str], Note] = {(note.study, note.kind): note for note in about}
    notes = (
        _Written(where=_where(note), text=note.text, is_expectation=note.kind == "before") for note in last.values()
    )
    return (_Written(where=DESCRIPTION, text=_description(recipe)), *notes)


def _description(recipe: Recipe) -> str:
    """The description, unless it is the one that a packaged step of a document has."""
    named = step_of(recipe.name)
    return "" if named and recipe.description == named[1].recipe.description else recipe.description


def _where(note: Note) -> str:
    when = "before the run" if note.kind == "before" else "after the run"
    return f"the note written {when}" + (f" in the study {note.study}" if note.study else "")


def _typed_accuracies(written: _Written, record: RunRecord, store: Store) -> Iterator[Claim]:
    """Accuracies in a text that no run of the recipe reached; a note may be about another seed."""
    runs = store.runs(recipe_hash=record.recipe_hash, purpose="all")
    measured = {
        split: [figures.accuracy for run in runs if (figures := run.figures(split)) is not None] for split in SPLITS
    }
    own = {split: record.accuracy(split) for split in SPLITS if split != "train"}
    found = ", ".join(f"{split} {accuracy:.2%}" for split, accuracy in own.items() if accuracy is not None)
    for said in accuracies_typed_otherwise(written.text, measured):
        yield Claim(what="accuracy", said=said, found=found, where=written.where, is_contradicted=True)


def _target(recipe: Recipe, record: RunRecord, ending: Ending) -> Iterator[Claim]:
    """The target accuracy of the recipe, for an ended run."""
    wanted, reached = recipe.target.accuracy, record.validation_accuracy
    if wanted is None or ending.status not in OVER:
        return
    yield Claim(
        what="validation accuracy",
        said=f"{wanted:.2%}",
        found="the run diverged" if reached is None else f"{reached:.2%}",
        where="target.accuracy of the recipe",
        is_contradicted=reached is None or reached < wanted,
    )
