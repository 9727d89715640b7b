"""Which of two recipes is better, from what is on record about them.

Goes in: names, files or runs. Comes out: comparisons. What a figure means is decided in `evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flyweight.errors import UsageError
from flyweight.evidence.compare import Comparison
from flyweight.evidence.compare import compare as compare_groups
from flyweight.evidence.groups import Group, groups
from flyweight.experiment.resolved import canonical
from flyweight.recipe import Recipe, all_in_words, diff_stored, has_effect, load, names, recipe_hash
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RESULTS, Part, PurposeFilter, RunRecord

if TYPE_CHECKING:
    from flyweight.records.store import Store


def compare(
    baseline: str,
    *changed: str,
    store: Store,
    part: Part = "test",
    study: str | None = None,
) -> tuple[Comparison, ...]:
    """Each of the results `changed` against `baseline`; `study` looks for the results among those that it has runs of.

    A result is named by any of its runs, by the name of its recipe, or by a recipe file.

    Raises:
        UsageError: a name that means no result or several, or results that no figure can compare.
    """
    if not changed:
        raise UsageError("a comparison needs two results, found one; name the other too.")
    first = find(baseline, store=store, study=study)
    return tuple(compare_groups(store, first, find(other, store=store, study=study), part=part) for other in changed)


def find(selector: str, *, store: Store, study: str | None = None) -> Group[RunRecord]:
    """The seeds on record of the result that is meant.

    Raises:
        UsageError: none or several could be meant; the message lists them.
    """
    if study is not None:
        store.figures(study=study, purpose=RESULTS)  # an unknown study is an error of its own
    recipe = named_recipe(selector)
    return _by_name(selector, store, study) if recipe is None else _by_recipe(selector, recipe, store, study)


def runs_of_step(selector: str, *, store: Store, study: str | None = None) -> tuple[RunRecord, ...]:
    """The run that is meant by an id or a shortcut, whatever became of it, or all runs of a recipe by name or file.

    Raises:
        UsageError: none, or runs of several recipes, could be meant; the message lists them.
    """
    recipe = named_recipe(selector)
    if recipe is None and not store.runs(name=selector, purpose=RESULTS, limit=1):
        return (store.get(selector),)
    found = _by_name(selector, store, study) if recipe is None else _by_recipe(selector, recipe, store, study)
    return _alike(found.first, store)


def named_recipe(selector: str) -> Recipe | None:
    """The recipe that a word means, in canonical form, if it is a file or in the catalogue."""
    return canonical(load(selector)) if selector.endswith(".toml") or selector in names() else None


def _by_recipe(selector: str, recipe: Recipe, store: Store, study: str | None) -> Group[RunRecord]:
    exact = groups(store.runs(recipe_hash=recipe_hash(recipe), study=study, purpose=RESULTS))
    if exact:
        return _whole(exact[-1], store)
    named = groups(store.runs(name=recipe.name, study=study, purpose=RESULTS))
    asked = recipe.model_dump(mode="json")
    # A limit that was not reached changed nothing: those runs are what was asked for.
    same = [group for group in named if not any(map(has_effect, diff_stored(asked, group.first.recipe)))]
    if same:
        return _whole(same[-1], store)
    others = f" Results of the same name, by a run of each:{_listed(named, asked)}" if named else ""
    place, option = (f" in the study {study!r}", f" --study {study}") if study else ("", "")
    raise UsageError(
        f"{selector} as it stands has no run on record{place} that is over; `flyweight train {selector} --seeds 3"
        f"{option}` makes some.{others}"
    )


def _by_name(selector: str, store: Store, study: str | None) -> Group[RunRecord]:
    """By the name of a recipe that is no longer at hand, or by any run."""
    named = groups(store.runs(name=selector, study=study, purpose=RESULTS))
    if len(named) > 1:
        listed = _listed(named, named[0].first.recipe)
        raise UsageError(f"{selector!r} names {len(named)} results; give a run of the one that is meant:{listed}")
    if named:
        return _whole(named[0], store)
    run = store.get(selector)
    alike = groups(_alike(run, store))
    if not alike:
        raise UsageError(f"run {run.id} is {run.status} and no seed of its recipe has a result; name one that is over.")
    if study is not None and all(one.study != study for one in _alike(run, store)):
        raise UsageError(f"run {run.id} is of a recipe that has no run in the study {study!r}; leave --study out.")
    return alike[0]


def _whole(group: Group[RunRecord], store: Store) -> Group[RunRecord]:
    """The result with all its seeds, whichever study they were trained for."""
    return groups(_alike(group.first, store))[0]


def _alike(run: RunRecord, store: Store) -> tuple[RunRecord, ...]:
    """The seeds of its result: a trial stands beside trials only, since it is no result of its recipe."""
    purpose: PurposeFilter = RESULTS if run.purpose in RESULTS else run.purpose
    return store.runs(recipe_hash=run.recipe_hash, data_hash=run.data_hash, split_hash=run.split_hash, purpose=purpose)


def _listed(named: Sequence[Group[RunRecord]], reference: Mapping[str, Any]) -> str:
    """A line for each result: a run, its seeds, and what it does otherwise than the reference."""
    lines = []
    for group in named:
        changes = diff_stored(reference, group.first.recipe)
        changed = all_in_words(changes) if changes else f"{group.first.data_name}, {group.first.data_hash[:SHORT_ID]}"
        lines.append(f"\n  {group.first.id[:SHORT_ID]}  {group.n} seed{'' if group.n == 1 else 's'}  {changed}")
    return "".join(lines)
