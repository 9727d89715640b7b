"""Compare recipes by their runs on record.

In: names, files or runs. Out: comparisons. The statistics are in `evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flyweight.errors import DataError, UsageError, in_one_line
from flyweight.evidence.compare import Comparison
from flyweight.evidence.compare import compare as compare_groups
from flyweight.evidence.groups import Group, groups
from flyweight.experiment.resolved import canonical
from flyweight.recipe import Recipe, all_in_words, diff_stored, has_effect, is_recipe, load, names, recipe_hash
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RESULTS, HeldOut, PurposeFilter, RunRecord
from flyweight.tables import counted

if TYPE_CHECKING:
    from flyweight.records.store import Store


@in_one_line
def compare(
    baseline: str,
    *changed: str,
    store: Store,
    part: HeldOut = "test",
    study: str | None = None,
) -> tuple[Comparison, ...]:
    """Compare each of the results `changed` with `baseline`; `study`: look only for results with runs in this study.

    A result is named by any of its runs, by the name of its recipe, or by a recipe file.

    Raises:
        UsageError: a name that means no result or several, or results that cannot be compared.
    """
    if not changed:
        raise UsageError("a comparison needs two results, found one; name the other too.")
    first, *others = _find_all((baseline, *changed), store, study)
    return tuple(compare_groups(store, first, other, part=part) for other in others)


def _find_all(selectors: Sequence[str], store: Store, study: str | None) -> list[Group[RunRecord]]:
    """The results of all names; the error lists each name that means no result, or several."""
    found, faults = [], []
    for selector in selectors:
        try:
            found.append(find(selector, store=store, study=study))
        except (UsageError, DataError) as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise type(faults[0])("\n".join(map(str, faults)))
    return found


def find(selector: str, *, store: Store, study: str | None = None) -> Group[RunRecord]:
    """The seeds on record of the result that a name, file or run means.

    Raises:
        UsageError: it means none or several; the message lists them.
    """
    if study is not None:
        store.figures(study=study, purpose=RESULTS)  # an unknown study is an error of its own
    recipe = named_recipe(selector)
    return _by_name(selector, store, study) if recipe is None else _by_recipe(selector, recipe, store, study)


def runs_of_step(selector: str, *, store: Store, study: str | None = None) -> tuple[RunRecord, ...]:
    """The run of an id or a shortcut, with any status, or all runs of a recipe by name or file.

    Raises:
        UsageError: it means none or runs of several recipes; the message lists them.
    """
    recipe = named_recipe(selector)
    if recipe is None and not store.runs(name=selector, purpose=RESULTS, limit=1):
        return (_run(selector, store),)
    found = _by_name(selector, store, study) if recipe is None else _by_recipe(selector, recipe, store, study)
    return _same_result(found.first, store)


def named_recipe(selector: str) -> Recipe | None:
    """The recipe of a file or of the catalogue, in canonical form; None for other names."""
    return canonical(load(selector)) if selector.endswith(".toml") or selector in names() else None


def _run(selector: str, store: Store) -> RunRecord:
    if is_recipe(selector):
        load(selector)  # it is in no record and not in the catalogue: the error lists the recipes
    return store.get(selector)


def _by_recipe(selector: str, recipe: Recipe, store: Store, study: str | None) -> Group[RunRecord]:
    exact = groups(store.runs(recipe_hash=recipe_hash(recipe), study=study, purpose=RESULTS))
    if exact:
        return _with_all_seeds(exact[-1], store)
    named = groups(store.runs(name=recipe.name, study=study, purpose=RESULTS))
    values = recipe.model_dump(mode="json")
    # A limit that was not reached has no effect: such runs are those of this recipe.
    same = [group for group in named if not any(map(has_effect, diff_stored(values, group.first.recipe)))]
    if same:
        return _with_all_seeds(same[-1], store)
    others = f" Results of other recipes with the same name:{_listed(named, values)}" if named else ""
    place, option = (f" in the study {study!r}", f" --study {study}") if study else ("", "")
    raise UsageError(
        f"{selector} has no ended run{place}; train it with `flyweight train {selector} --seeds 3{option}`, or give a "
        f"run.{others}"
    )


def _by_name(selector: str, store: Store, study: str | None) -> Group[RunRecord]:
    """By the recorded name of a recipe, or by any run."""
    named = groups(store.runs(name=selector, study=study, purpose=RESULTS))
    if len(named) > 1:
        listed = _listed(named, named[0].first.recipe)
        raise UsageError(f"{selector!r} names {len(named)} results; give one of these runs instead:{listed}")
    if named:
        return _with_all_seeds(named[0], store)
    run = _run(selector, store)
    alike = groups(_same_result(run, store))
    if not alike:
        raise UsageError(
            f"run {run.id[:SHORT_ID]} is {run.status} and no seed of its recipe has a result; give an ended run."
        )
    if study is not None and all(one.study != study for one in _same_result(run, store)):
        raise UsageError(
            f"run {run.id[:SHORT_ID]} is of a recipe that has no run in the study {study!r}; leave --study out."
        )
    return alike[0]


def _with_all_seeds(group: Group[RunRecord], store: Store) -> Group[RunRecord]:
    """The result with its seeds from all studies."""
    return groups(_same_result(group.first, store))[0]


def _same_result(run: RunRecord, store: Store) -> tuple[RunRecord, ...]:
    """The seeds of its result; for a trial only trials, since a trial is no result of its recipe."""
    purpose: PurposeFilter = RESULTS if run.purpose in RESULTS else run.purpose
    return store.runs(recipe_hash=run.recipe_hash, data_hash=run.data_hash, split_hash=run.split_hash, purpose=purpose)


def _listed(named: Sequence[Group[RunRecord]], reference: Mapping[str, Any]) -> str:
    """A line per result: a run, the number of seeds, and its differences from the reference."""
    lines = []
    for group in named:
        changes = diff_stored(reference, group.first.recipe)
        changed = all_in_words(changes) if changes else f"{group.first.data_name}, {group.first.data_hash[:SHORT_ID]}"
        lines.append(f"\n  {group.first.id[:SHORT_ID]}  {counted(group.n, 'seed')}  {changed}")
    return "".join(lines)
