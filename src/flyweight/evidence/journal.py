"""The log that writes itself: a row for each recipe of a study, what changed, what came out, and how sure that is.

Goes in: figures of runs, recipes and notes on record. Comes out: values, the same for the same records. Effects are
tested against the parent of each step and adjusted for how many steps were asked about (Holm 1979).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from flyweight.evidence.compare import other_length
from flyweight.evidence.effect import Effect, difference
from flyweight.evidence.groups import Group, groups
from flyweight.evidence.sequential import holm
from flyweight.evidence.stats import Summary, wilson
from flyweight.evidence.typed import typed_otherwise
from flyweight.evidence.verdict import LEVEL, Verdict, judge
from flyweight.recipe import Change, all_in_words, diff_flat, factor, flat, has_effect
from flyweight.records.record import Note, Part, RunFigures

if TYPE_CHECKING:
    from flyweight.records.store import Store

Figures = Group[RunFigures]
Recipes = Mapping[str, Mapping[str, Any]]

START: Final = "start"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One step: a recipe with all its seeds, held against the step it came from.

    number: from 1, in the order in which the steps were begun. parent: the number of the step it is held against.
    changes: against the parent's recipe. result: over the seeds; low and high: its 95 % interval, Student's over
    several seeds, Wilson's for one. p: of the effect alone. p_adjusted: among all steps of the journal.
    run: the newest run. runs: all that count, each of the seed at its place in `seeds`, the diverged ones last.
    flags: what a reader should know of this step.
    """

    number: int
    parent: int | None
    name: str
    recipe_hash: str
    run: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    changed: str
    changes: tuple[Change, ...]
    params: int
    epochs: int
    n: int
    n_diverged: int
    result: Summary | None
    low: float | None
    high: float | None
    effect: Effect | None
    p_adjusted: float | None
    verdict: Verdict | None
    seconds: float | None
    before: Note | None
    after: Note | None
    flags: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        notes = {kind: None if note is None else note_as_dict(note) for kind, note in self.notes().items()}
        return {**asdict(self), **notes}

    def notes(self) -> dict[str, Note | None]:
        """The person's own words, by kind."""
        return {"before": self.before, "after": self.after}


@dataclass(frozen=True, kw_only=True)
class Journal:
    """All steps of a study, or of everything on record if `study` is None.

    test_openings: how often the test set was opened in it. flags: what a reader should know of the whole.
    """

    study: str | None
    part: Part
    rows: tuple[Row, ...]
    test_openings: int
    flags: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "study": self.study,
            "part": self.part,
            "test_openings": self.test_openings,
            "flags": list(self.flags),
            "rows": [row.as_dict() for row in self.rows],
        }


def journal(store: Store, study: str | None = None, *, part: Part = "test") -> Journal:
    """The journal of a study, with the steps outside it that its recipes were changed from; or of all runs.

    Raises:
        UsageError: a study that has no runs; the message names those that have.
    """
    runs = store.figures(study=study)
    ancestors = _ancestors(store, runs) if study is not None else ()
    recipes = store.recipes(run.recipe_hash for run in (*ancestors, *runs))
    return written(groups((*ancestors, *runs)), recipes, store.notes(study=study), study=study, part=part)


def written(
    steps: Sequence[Figures], recipes: Recipes, notes: Sequence[Note], *, study: str | None, part: Part
) -> Journal:
    """The journal of these steps: a pure function of what is on record."""
    parents = _parents(steps, in_order=study is not None)
    asked = [flat(recipes.get(step.first.recipe_hash, {})) for step in steps]
    differences = [
        () if parent is None else diff_flat(asked[parent], asked[place]) for place, parent in enumerate(parents)
    ]
    effects = [
        None if parent is None else _effect(steps[parent], step, part)
        for step, parent in zip(steps, parents, strict=True)
    ]
    numbers = [None if parent is None else parent + 1 for parent in parents]
    adjusted = holm([None if effect is None else effect.p for effect in effects])
    latest: dict[tuple[str, str], Note] = {(note.recipe_hash, note.kind): note for note in notes}
    rows = tuple(
        _row(
            step,
            number=place + 1,
            parent=numbers[place],
            recipe=asked[place],
            changes=differences[place],
            effect=effects[place],
            p_adjusted=adjusted[place],
            notes=latest,
            part=part,
        )
        for place, step in enumerate(steps)
    )
    openings = sum(run.test_openings for step in steps for run in step.runs)
    return Journal(study=study, part=part, rows=rows, test_openings=openings, flags=_flags(steps, rows, openings, part))


def _ancestors(store: Store, runs: Sequence[RunFigures]) -> tuple[RunFigures, ...]:
    """The runs of the recipes that a study's own were changed from, and of what those were changed from."""
    found: dict[str, tuple[RunFigures, ...]] = {}
    known = {run.recipe_hash for run in runs}
    images = {run.data_hash for run in runs}
    missing = {run.parent_hash for run in runs} - known - {None}
    while missing:
        wanted = missing.pop()
        assert wanted is not None
        found[wanted] = tuple(run for run in store.figures(recipe_hash=wanted) if run.data_hash in images)
        missing |= {run.parent_hash for run in found[wanted]} - known - found.keys() - {None}
    return tuple(run for some in found.values() for run in some)


def _parents(steps: Sequence[Figures], *, in_order: bool) -> list[int | None]:
    """The place of the step that each is held against: its recipe's parent, else, in a study, the step before."""
    places = {(step.first.recipe_hash, step.first.data_hash): place for place, step in enumerate(steps)}
    found: list[int | None] = []
    for place, step in enumerate(steps):
        declared = {(run.parent_hash or "", run.data_hash) for run in (*step.runs, *step.diverged)}
        named = [places[one] for one in declared if one in places]
        before = [place - 1] if in_order and place and _same_images(steps[place - 1], step) else []
        found.append(next((one for one in (*named, *before) if one != place), None))
    return found


def _same_images(one: Figures, other: Figures) -> bool:
    return one.first.data_hash == other.first.data_hash


def _effect(parent: Figures, step: Figures, part: Part) -> Effect | None:
    before, after = parent.accuracies(part), step.accuracies(part)
    if not before or not after or (part == "validation" and parent.first.split_hash != step.first.split_hash):
        return None
    return difference(before, after, resolution=1 / step.count(part))


def _row(
    step: Figures,
    *,
    number: int,
    parent: int | None,
    recipe: Mapping[str, Any],
    changes: tuple[Change, ...],
    effect: Effect | None,
    p_adjusted: float | None,
    notes: Mapping[tuple[str, str], Note],
    part: Part,
) -> Row:
    before, after = (notes.get((step.first.recipe_hash, kind)) for kind in ("before", "after"))
    result = step.summary(part)
    low, high = _bounds(result, step.count(part))
    return Row(
        number=number,
        parent=parent,
        name=step.name,
        recipe_hash=step.first.recipe_hash,
        run=max(run.id for run in (*step.runs, *step.diverged)),
        runs=tuple(run.id for run in (*step.runs, *step.diverged)),
        seeds=tuple(run.seed for run in (*step.runs, *step.diverged)),
        changed=START if parent is None else all_in_words(changes),
        changes=changes,
        params=step.first.params,
        epochs=max(run.epochs_done for run in (*step.runs, *step.diverged)),
        n=step.n,
        n_diverged=len(step.diverged),
        result=result,
        low=low,
        high=high,
        effect=effect,
        p_adjusted=p_adjusted,
        verdict=_verdict(step, effect, p_adjusted, changes),
        seconds=_seconds(step),
        before=before,
        after=after,
        flags=_row_flags(step, recipe, changes, before, after),
    )


def _verdict(
    step: Figures, effect: Effect | None, p_adjusted: float | None, changes: Sequence[Change]
) -> Verdict | None:
    if not step.runs:
        return Verdict(kind="diverged", sentence=f"diverged: none of {len(step.diverged)} seeds has a figure")
    if effect is None:
        return None
    factors = tuple(dict.fromkeys(factor(change.key) for change in changes if has_effect(change)))
    return judge(effect, p=p_adjusted, level=LEVEL, factors=factors)


def _bounds(result: Summary | None, count: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a result; a single run's is that of its `count` images."""
    if result is None:
        return None, None
    return (result.low, result.high) if result.n > 1 else wilson(round(result.mean * count), count)


def _seconds(step: Figures) -> float | None:
    found = [run.train_seconds for run in step.runs if run.train_seconds is not None]
    return statistics.median(found) if found else None


def _row_flags(
    step: Figures,
    recipe: Mapping[str, Any],
    changes: Sequence[Change],
    before: Note | None,
    after: Note | None,
) -> tuple[str, ...]:
    found = other_length(changes)
    if step.diverged and step.runs:
        found.append(f"{len(step.diverged)} of {step.n + len(step.diverged)} seeds diverged")
    if any(_is_validated_on_test(run) for run in step.runs):
        found.append("validation and test are the same images: the epoch was chosen on the test set")
    if before is not None and before.written_at > min(run.started_at for run in (*step.runs, *step.diverged)):
        found.append("what was expected was written after the first run began")
    words = {"its description": str(recipe.get("description", ""))}
    words |= {f"the note {kind}": note.text for kind, note in (("before", before), ("after", after)) if note}
    for place, text in words.items():
        found += [
            f"{place} says {typed}, counted are {step.first.params:,}"
            for typed in typed_otherwise(text, step.first.params)
        ]
    return tuple(found)


def _is_validated_on_test(run: RunFigures) -> bool:
    """Equal counts and a loss equal to the last bit come from equal images."""
    return run.test_count is not None and (run.test_count, run.test_correct, run.test_loss) == (
        run.validation_count,
        run.validation_correct,
        run.validation_loss,
    )


def _flags(steps: Sequence[Figures], rows: Sequence[Row], openings: int, part: Part) -> tuple[str, ...]:
    found = []
    if part == "test" and len(rows) > 1 and openings > 1:
        found.append(
            f"the test set was opened {openings} times for {len(rows)} steps: choose by --on validation, since the "
            "best of many test figures is partly luck"
        )
    lengths = {row.epochs for row in rows}
    if len(lengths) > 1:
        found.append(f"steps of {min(lengths)} to {max(lengths)} epochs stand beside each other")
    single = sum(row.n == 1 for row in rows)
    if single:
        found.append(f"{single} of {len(rows)} steps have one seed, and so no verdict")
    n_open = sum(step.n_open for step in steps)
    if n_open:
        found.append(f"{n_open} runs are not over or without a result, and are left out")
    return tuple(found)


def note_as_dict(note: Note) -> dict[str, Any]:
    """A note as plain values."""
    return {"text": note.text, "author": note.author, "written_at": note.written_at.isoformat(timespec="seconds")}
