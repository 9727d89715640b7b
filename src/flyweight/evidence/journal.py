"""The log that writes itself: a row for each recipe of a study, what changed, what came out, and how sure that is.

Goes in: figures of runs, recipes and notes on record. Comes out: values, the same for the same records. Effects are
tested against the parent of each step and adjusted for how many steps were asked about (Holm 1979).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from flyweight.errors import in_one_line
from flyweight.evidence.caveats import other_length, planned
from flyweight.evidence.effect import Effect, difference
from flyweight.evidence.groups import Group, Key, groups, key
from flyweight.evidence.sequential import holm
from flyweight.evidence.stats import Summary, wilson
from flyweight.evidence.typed import typed_otherwise
from flyweight.evidence.verdict import LEVEL, Verdict, judge
from flyweight.recipe import Change, all_in_words, diff_flat, factor, flat, has_effect, new_in_words
from flyweight.records.record import RESULTS, HeldOut, Note, PurposeFilter, RunFigures, SeedPlan
from flyweight.tables import counted

if TYPE_CHECKING:
    from flyweight.records.store import Store

Figures = Group[RunFigures]
Recipes = Mapping[str, Mapping[str, Any]]

START: Final = "start"
MOST_LOOKED_BACK: Final = 200  # steps; further back no person looks either


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
    part: HeldOut
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


@in_one_line
def journal(
    store: Store, study: str | None = None, *, part: HeldOut = "test", purpose: PurposeFilter | None = None
) -> Journal:
    """The journal of a study, with the steps outside it that its recipes were changed from; or of all runs.

    An outside step that all steps of the study differ from in the same way is no baseline of theirs, and is left out.

    purpose: that of the runs that count; by default those that people asked for, in a study its results
    (reproductions too), never trials.

    Raises:
        UsageError: a study that has no runs; the message names those that have.
    """
    counted = purpose or ("run" if study is None else RESULTS)
    looked_at = store.figures(study=study, purpose=counted)
    runs = looked_at if study is None else _with_ancestors(store, looked_at, counted)
    recipes = store.recipes(run.recipe_hash for run in runs)
    runs, shared = (runs, ()) if study is None else _without_other_baselines(runs, looked_at, recipes)
    # The words of the study itself stand last, so that they are the ones shown.
    heard = [note for note in store.notebook.notes() if study is None or note.study in (None, study)]
    notes = sorted(heard, key=lambda note: (study is not None and note.study == study, note.id))
    return written(
        runs,
        recipes,
        notes,
        shared=shared,
        plans=store.notebook.plans(),
        study=study,
        part=part,
        test_openings=sum(run.test_openings for run in looked_at),
    )


def written(
    runs: Sequence[RunFigures],
    recipes: Recipes,
    notes: Sequence[Note],
    *,
    plans: Sequence[SeedPlan] = (),
    study: str | None,
    part: HeldOut,
    test_openings: int,
    shared: Sequence[Change] = (),
) -> Journal:
    """The journal of these runs: a pure function of what is on record.

    shared: what all steps of the study have otherwise than the outside steps that were left out.
    """
    origins = _origins(runs, study)
    steps = _in_order(groups(runs), origins, study)
    settings = [flat(recipes.get(step.first.recipe_hash, {})) for step in steps]
    parents = _parents(steps, origins, settings, in_study=study is not None)
    effects = [
        None if parent is None else _effect(steps[parent], step, part)
        for step, parent in zip(steps, parents, strict=True)
    ]
    adjusted = holm([None if effect is None else effect.p for effect in effects])
    plan_of = {
        (frozenset((one.baseline_hash, one.changed_hash)), one.data_hash): one for one in plans if one.part == part
    }
    by_step = _notes_by_step(notes)
    rows = []
    for place, (step, parent) in enumerate(zip(steps, parents, strict=True)):
        above = None if parent is None else steps[parent]
        rows.append(
            _row(
                step,
                number=place + 1,
                name=origins[key(step.first)].name,
                parent=None if parent is None else parent + 1,
                plan=plan_of.get(_pair(above, step)) if above else None,
                recipe=settings[place],
                changes=() if parent is None else diff_flat(settings[parent], settings[place]),
                effect=effects[place],
                p_adjusted=adjusted[place],
                notes=by_step.get(_hash(step), {}),
                part=part,
            )
        )
    flags = _flags(steps, rows, test_openings, part)
    if shared:
        flags = (f"all steps have {', '.join(map(new_in_words, shared))}", *flags)
    return Journal(study=study, part=part, rows=tuple(rows), test_openings=test_openings, flags=flags)


def _with_ancestors(store: Store, runs: Sequence[RunFigures], purpose: PurposeFilter) -> tuple[RunFigures, ...]:
    """All runs of a study's recipes, and of the recipes that those were changed from, and so on, on the same images."""
    found: dict[str, tuple[RunFigures, ...]] = {}
    images = {run.data_hash for run in runs}
    missing = {run.recipe_hash for run in runs} | {run.parent_hash for run in runs}
    while wanted := missing - found.keys() - {None}:
        for recipe_hash in wanted:
            assert recipe_hash is not None
            known = store.figures(recipe_hash=recipe_hash, purpose=purpose)
            found[recipe_hash] = tuple(run for run in known if run.data_hash in images)
            missing |= {run.parent_hash for run in found[recipe_hash][:1]}
    return tuple(run for some in found.values() for run in some)


def _without_other_baselines(
    runs: Sequence[RunFigures], in_study: Sequence[RunFigures], recipes: Recipes
) -> tuple[tuple[RunFigures, ...], tuple[Change, ...]]:
    """The runs without those of outside steps from which all steps of the study differ in the same way; and how.

    A full training is not the baseline of a study on 3,000 images, whatever its recipes were changed from.
    """
    settings = {name: flat(recipe) for name, recipe in recipes.items()}
    own = {run.recipe_hash for run in in_study}
    shared = {
        outside: [
            change
            for change in diff_flat(settings.get(outside, {}), settings.get(next(iter(own)), {}))
            if has_effect(change) and all(settings.get(one, {}).get(change.key) == change.new for one in own)
        ]
        for outside in ({run.recipe_hash for run in runs} - own if len(own) > 1 else ())
    }
    # A recipe of the study on another split, outside it, is another result.
    keys = {key(run) for run in in_study}
    kept = tuple(
        run for run in runs if not shared.get(run.recipe_hash) and (run.recipe_hash not in own or key(run) in keys)
    )
    return kept, tuple(dict.fromkeys(change for changes in shared.values() for change in changes))


def _origins(runs: Sequence[RunFigures], study: str | None) -> dict[Key, RunFigures]:
    """The run that each result began with, in the study if it was run there: it says name and parent for good."""
    found: dict[Key, RunFigures] = {}
    for run in sorted(runs, key=lambda run: (study is not None and run.study != study, run.id)):
        found.setdefault(key(run), run)
    return found


def _in_order(steps: Sequence[Figures], origins: Mapping[Key, RunFigures], study: str | None) -> list[Figures]:
    """As they were begun, but none before what it was changed from; a study's ancestors from elsewhere come first."""

    def moment(step: Figures) -> tuple[bool, str]:
        begun = origins[key(step.first)]
        return study is not None and begun.study == study, begun.id

    by_hash = {(_hash(step), step.first.data_hash): step for step in steps}
    found: dict[Key, Figures] = {}
    for step in sorted(steps, key=moment):
        way: dict[Key, Figures] = {}
        above: Figures | None = step
        while above is not None and key(above.first) not in way and key(above.first) not in found:
            way[key(above.first)] = above
            above = by_hash.get(_declared(above, origins))
        found |= reversed(way.items())
    return list(found.values())


def _declared(step: Figures, origins: Mapping[Key, RunFigures]) -> tuple[str, str]:
    """The recipe that a step was changed from, and the images."""
    return origins[key(step.first)].parent_hash or "", step.first.data_hash


def _parents(
    steps: Sequence[Figures],
    origins: Mapping[Key, RunFigures],
    settings: Sequence[Mapping[str, Any]],
    *,
    in_study: bool,
) -> list[int | None]:
    """The place of the step that each is held against: its recipe's parent, else, in a study, the earlier step that
    differs from it in the fewest things, the first of equals."""
    places = {(_hash(step), step.first.data_hash): place for place, step in enumerate(steps)}
    found: list[int | None] = []
    for place, step in enumerate(steps):
        declared = places.get(_declared(step, origins))
        # A later one can only be a parent where the records claim a circle.
        if declared is not None and declared < place:
            found.append(declared)
        else:
            found.append(_nearest(steps, place, settings) if in_study else None)
    return found


def _nearest(steps: Sequence[Figures], place: int, settings: Sequence[Mapping[str, Any]]) -> int | None:
    """The earlier step with a result that differs in the fewest things from the one at `place`."""
    images = steps[place].first.data_hash
    earlier = [
        one
        for one in range(max(0, place - MOST_LOOKED_BACK), place)
        if steps[one].runs and steps[one].first.data_hash == images
    ]
    return min(earlier, key=lambda one: len(_factors(diff_flat(settings[one], settings[place]))), default=None)


def _factors(changes: Sequence[Change]) -> tuple[str, ...]:
    """The things that were changed, each once."""
    return tuple(dict.fromkeys(factor(change.key) for change in changes if has_effect(change)))


def _hash(step: Figures) -> str:
    return step.first.recipe_hash


def _pair(one: Figures, other: Figures) -> tuple[frozenset[str], str]:
    """What a plan is about, whichever side was called the baseline."""
    return frozenset((_hash(one), _hash(other))), other.first.data_hash


def _notes_by_step(notes: Sequence[Note]) -> dict[str, dict[str, list[Note]]]:
    found: dict[str, dict[str, list[Note]]] = {}
    for note in notes:
        found.setdefault(note.recipe_hash, {}).setdefault(note.kind, []).append(note)
    return found


def _effect(parent: Figures, step: Figures, part: HeldOut) -> Effect | None:
    before, after = parent.accuracies(part), step.accuracies(part)
    if not before or not after or (part == "validation" and parent.first.split_hash != step.first.split_hash):
        return None
    return difference(before, after, resolution=1 / step.count(part))


def _row(
    step: Figures,
    *,
    number: int,
    name: str,
    parent: int | None,
    plan: SeedPlan | None,
    recipe: Mapping[str, Any],
    changes: tuple[Change, ...],
    effect: Effect | None,
    p_adjusted: float | None,
    notes: Mapping[str, Sequence[Note]],
    part: HeldOut,
) -> Row:
    before, after = _expected(notes.get("before", ()), step), next(iter(reversed(notes.get("after", ()))), None)
    result = step.summary(part)
    low, high = _bounds(result, step.count(part))
    runs = (*step.runs, *step.diverged)
    return Row(
        number=number,
        parent=parent,
        name=name,
        recipe_hash=step.first.recipe_hash,
        run=max(run.id for run in runs),
        runs=tuple(run.id for run in runs),
        seeds=tuple(run.seed for run in runs),
        changed=START if parent is None else all_in_words(changes),
        changes=changes,
        params=step.first.params,
        epochs=max(run.epochs_done for run in runs),
        n=step.n,
        n_diverged=len(step.diverged),
        result=result,
        low=low,
        high=high,
        effect=effect,
        p_adjusted=p_adjusted,
        verdict=_verdict(step, effect, p_adjusted, changes, LEVEL if plan is None else plan.level),
        seconds=_seconds(step),
        before=before,
        after=after,
        flags=(*_row_flags(step, recipe, changes, before, after), *planned(plan, effect)),
    )


def _verdict(
    step: Figures, effect: Effect | None, p_adjusted: float | None, changes: Sequence[Change], level: float
) -> Verdict | None:
    if not step.runs:
        return Verdict(kind="diverged", sentence=f"diverged: none of {len(step.diverged)} seeds has a figure")
    if effect is None:
        return None
    return judge(effect, p=p_adjusted, level=level, factors=_factors(changes))


def _expected(notes: Sequence[Note], step: Figures) -> Note | None:
    """What was written last before the first run began; what was written later does not take its place."""
    in_time = [note for note in notes if note.written_at <= step.oldest.started_at]
    return next(reversed(in_time or list(notes)), None)


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
    if step.n_repeats:
        found.append(f"{counted(step.n_repeats, 'run')} of seeds that ran again; the newest of a seed counts, once")
    if step.diverged and step.runs:
        found.append(f"{len(step.diverged)} of {step.n + len(step.diverged)} seeds diverged")
    if any(_is_validated_on_test(run) for run in step.runs):
        found.append("validation and test are the same images: nothing was held out to choose by")
    if before is not None and before.written_at > step.oldest.started_at:
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


def _flags(steps: Sequence[Figures], rows: Sequence[Row], openings: int, part: HeldOut) -> tuple[str, ...]:
    found = []
    if part == "test" and len(rows) > 1 and openings > 1:
        found.append(
            f"the test set was opened {openings} times for {len(rows)} steps: choose by --on validation, since the "
            "best of many test figures is partly chance"
        )
    lengths = {row.epochs for row in rows if row.n}
    if len(lengths) > 1:
        found.append(f"steps of {min(lengths)} to {max(lengths)} epochs stand beside each other")
    single = sum(row.n == 1 for row in rows)
    if single:
        found.append(f"{single} of {len(rows)} steps have one seed, so their spread over seeds is unknown")
    n_open = sum(step.n_open for step in steps)
    if n_open:
        found.append(f"{n_open} runs are not over or without a result, and are left out")
    return tuple(found)


def note_as_dict(note: Note) -> dict[str, Any]:
    """A note as plain values."""
    return {"text": note.text, "author": note.author, "written_at": note.written_at.isoformat(timespec="seconds")}
