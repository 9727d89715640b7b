"""Which result is meant, and seeds added until the answer is clear: with real trainings of a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyweight.errors import UsageError
from flyweight.evidence.sequential import sequential_level
from flyweight.execute.execution import execute
from flyweight.execute.process_executor import Processes
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.resolved import canonical
from flyweight.experiment.run import run
from flyweight.recipe import load, override, recipe_hash
from flyweight.records.record import PURPOSES
from flyweight.records.store import Store
from flyweight.studies.results import compare, find
from flyweight.studies.until_sure import Look, until_sure
from tiny import write_recipe


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path / "home")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Two recipes on the same images: a linear net that learns them, and the same one learning next to nothing."""
    text = write_recipe(tmp_path).read_text()
    good, bad = tmp_path / "good.toml", tmp_path / "slow.toml"
    text = text.replace("c6nb bn r m2 do.1 c8nb bn r gmp flat fc10", "flat fc10").replace("params = 2000", "")
    good.write_text(text.replace('"tiny"', '"good"').replace("rotate = 5.0\ntranslate = 0.05", ""))
    bad.write_text('extends = "good.toml"\n[train]\nlr = 1e-6\n')
    return str(good), str(bad)


def same_as(good: str) -> str:
    """A recipe that does what the other does and is another all the same."""
    same = Path(good).with_name("same.toml")
    same.write_text('extends = "good.toml"\n[train]\neval_batch_size = 20\n')
    return str(same)


def run_seeds_here(store: Store, *recipes: str) -> None:
    """Three seeds of each, in this process: spawning one takes longer than to train."""
    for recipe in recipes:
        for seed in range(3):
            run(load(recipe), seed=seed, store=store)


def test_a_trial_is_no_seed_of_a_result(store, files):
    """A comparison counts runs, reproductions and certifications; a trial that is named stands beside trials only."""
    recipe = load(files[0])
    made = {purpose: run(recipe, seed=seed, store=store, purpose=purpose) for seed, purpose in enumerate(PURPOSES)}

    found, tried = find(files[0], store=store), find(made["trial"].id, store=store)

    assert [one.purpose for one in found.runs] == ["run", "reproduction", "certification"]
    assert [one.id for one in tried.runs] == [made["trial"].id]


def test_a_recorded_recipe_is_found_by_its_file(store, files):
    """The hash of the file, settled as a run settles it, is that of the record: from any folder, defaults filled in."""
    record = run(load(files[0], overrides=["data.validation=none"]), seed=0, store=store)

    settled = canonical(load(files[0], overrides=["data.validation=none"]))

    assert recipe_hash(settled) == record.recipe_hash
    assert settled.data.validation == 40
    assert Path(settled.data.name).is_absolute()


def test_a_result_is_named_by_a_run_a_recipe_or_a_file(store, files):
    """All of them mean the same seeds."""
    records = [run(load(files[0]), seed=seed, store=store, study="one") for seed in (0, 1)]

    named = [find(name, store=store) for name in (files[0], "good", records[0].id, records[1].id[:15], "@latest")]

    assert {group.seeds for group in named} == {(0, 1)}
    assert find("good", store=store, study="one").seeds == (0, 1)


def test_a_limit_that_was_not_reached_makes_no_other_result(store, files):
    """Runs of the same recipe under another budget are found by it; those with another lr are listed as that."""
    run(load(files[0], overrides=["budget.macs=1M"]), seed=3, store=store)

    assert find(files[0], store=store).seeds == (3,)
    Path(files[0]).write_text(Path(files[0]).read_text().replace("lr = 0.05", "lr = 0.04"))
    with pytest.raises(UsageError, match=r"(?s)no ended run.*1 seed  lr 0.04 → 0.05"):
        find(files[0], store=store)


def test_an_ambiguous_or_unknown_name_lists_the_candidates(store, files):
    """A run of each is listed with what it does otherwise; a study that is not there is reported as that."""
    good = load(files[0])
    first = run(good, seed=0, store=store)
    other = run(override(good, ["train.lr=0.02"]), seed=0, store=store)

    with pytest.raises(
        UsageError, match=r"(?s)names 2 results.*1 seed  .*digits.npz, .*1 seed  lr 0.05 → 0.02"
    ) as reported:
        find("good", store=store)
    assert first.id[:12] in str(reported.value)
    assert other.id[:12] in str(reported.value)
    with pytest.raises(UsageError, match=r"slow\.toml has no ended run.*train .*--seeds 3"):
        find(files[1], store=store)
    with pytest.raises(UsageError, match="no study 'one'"):
        find(files[0], store=store, study="one")
    with pytest.raises(UsageError, match="no run 'unheard-of'"):
        find("unheard-of", store=store)
    with pytest.raises(UsageError, match="needs two results, found one"):
        compare(files[0], store=store)


def test_a_run_that_has_no_result_is_not_compared(store, files):
    """It says how the run stands."""
    stopped = run(load(files[0], overrides=["train.epochs=50"]), seed=0, store=store, should_stop=lambda: True)

    with pytest.raises(UsageError, match=f"run {stopped.id[:12]} is interrupted and no seed"):
        find(stopped.id, store=store)


def test_all_names_without_a_result_are_listed_at_once(store):
    """Each with its reason, in one error; an unknown recipe is not called a run."""
    with pytest.raises(UsageError) as caught:
        compare("own/8k", "own/99", "own/20k-best", store=store)

    first, second, third = str(caught.value).splitlines()
    assert first.startswith("own/8k has no ended run")
    assert second.startswith("there is no recipe 'own/99'")
    assert third.startswith("own/20k-best has no ended run")


def test_recipes_side_by_side_are_the_runs_they_would_be_alone(store, files):
    """Their seeds take turns; each group has its study and parent, and each run the figures of a run of its own."""
    requests = [
        TrainingRequest(recipe=load(files[0]), seeds=(0, 1), study="two"),
        TrainingRequest(recipe=load(files[1]), seeds=(5,), study="two", parent_hash="ab"),
    ]

    good, bad = (one.records for one in execute(requests, store=store, executor=Processes(at_once=2)))

    assert [record.seed for record in good] == [0, 1]
    assert [(record.seed, record.study, record.parent_hash) for record in bad] == [(5, "two", "ab")]
    assert good[0].group_id == good[1].group_id != bad[0].group_id
    alone = run(load(files[0]), seed=1, store=store)
    assert (alone.test_correct, alone.validation_loss) == (good[1].test_correct, good[1].validation_loss)


def test_seeds_are_added_until_a_clear_answer_by_a_plan_that_is_kept(store, files):
    """Three a side are looked at first; the plan stands before, its level is that of its looks, and it stops early."""
    run(load(files[0]), seed=7, store=store)
    looks: list[Look] = []

    found = until_sure(*files, store=store, max_seeds=5, study="sure", on_look=looks.append)

    planned = [(3, 3), (4, 4), (5, 5)]
    assert found.plan.looks == [list(look) for look in planned]
    assert found.level == found.plan.level == sequential_level(planned)
    assert (found.baseline.seeds, found.changed.seeds) == ((0, 1, 7), (0, 1, 2))
    assert found.is_settled
    assert found.verdict.kind == "worse"
    assert [(look.number, look.of) for look in looks] == [(1, 3)]
    assert found.plan.made_at < max(record.started_at for record in store.runs(study="sure"))
    assert {record.study for record in store.runs()} == {None, "sure"}


def test_a_comparison_without_a_clear_result_ends_at_its_limit(store, files):
    """Two recipes that do the same are looked at as often as planned; asked again nothing is trained, or refused."""
    same = same_as(files[0])
    run_seeds_here(store, files[0], same)
    looks: list[Look] = []

    found = until_sure(files[0], same, store=store, max_seeds=4, on_look=looks.append)

    assert [(look.comparison.baseline.n, look.comparison.changed.n) for look in looks] == [(3, 3), (4, 4)]
    assert found.verdict.kind == "no evidence"
    assert found.effect.effect == 0
    n_runs = len(store.runs())
    again = until_sure(same, files[0], store=store)
    assert again.verdict.kind == "no evidence"
    assert len(store.runs()) == n_runs
    with pytest.raises(UsageError, match="at most 4, the plan"):
        until_sure(files[0], same, store=store, max_seeds=9)
    assert len(store.runs()) == n_runs


def test_a_stopped_comparison_continues_with_its_plan(store, files):
    """Whoever stops it keeps what is done; asked again it trains only what is missing."""
    same = same_as(files[0])
    run_seeds_here(store, files[0], same)
    looks: list[Look] = []

    first = until_sure(files[0], same, store=store, max_seeds=5, on_look=looks.append, should_stop=lambda: bool(looks))
    assert (first.baseline.n, first.changed.n) == (3, 3)
    looks.clear()
    until_sure(files[0], same, store=store, max_seeds=4, on_look=looks.append)

    assert [(look.comparison.baseline.n, look.comparison.changed.n) for look in looks] == [(3, 3), (4, 4)]
    assert len(store.runs()) == 8


def test_both_sides_are_alike_from_the_first_look_on(store, files):
    """The side that has more seeds on record says at how many; runs that were stopped are gone on with first."""
    run_seeds_here(store, files[0])
    run(load(files[0]), seed=3, store=store)
    stopped = run(load(files[1]), seed=0, store=store, should_stop=lambda: True)
    with pytest.raises(UsageError, match="must be 4 or more, since 4 of one side are on record, found 3"):
        until_sure(*files, store=store, max_seeds=3)

    found = until_sure(*files, store=store, max_seeds=4)

    assert (found.baseline.n, found.changed.n) == (4, 4)
    assert store.get(stopped.id).status == "finished"
    assert found.changed.n_open == 0
    assert {run.parent_hash for run in found.changed.runs if run.id != stopped.id} == {found.baseline.first.recipe_hash}


def test_a_diverged_recipe_is_a_result(store, files):
    """After the first look: more seeds would have no figures either."""
    run_seeds_here(store, files[0])
    Path(files[1]).write_text('extends = "good.toml"\n[train]\nlr = 1e30\n')
    looks: list[Look] = []

    found = until_sure(*files, store=store, max_seeds=6, on_look=looks.append)

    assert found.verdict.sentence == "diverged: no seed of the changed side has a figure to compare"
    assert (len(looks), len(found.changed.diverged)) == (1, 3)


def test_a_comparison_stopped_before_its_first_seed_has_no_result(store, files):
    """Nothing is compared, the plan is kept, and nothing is lost."""
    assert until_sure(*files, store=store, max_seeds=3, should_stop=lambda: True) is None

    assert len(store.notebook.plans()) == 1
    assert store.runs() == ()


@pytest.mark.parametrize("most", [1, 2])
def test_too_few_seeds_to_be_sure_are_refused_before_anything_is_trained(store, files, most):
    """Three are the least that tell a spread."""
    with pytest.raises(UsageError, match=f"--max-seeds must be 3 or more, found {most}"):
        until_sure(*files, store=store, max_seeds=most)

    assert store.runs() == ()


def test_the_same_recipe_twice_is_no_question(store, files):
    """Nor are recipes on other images."""
    with pytest.raises(UsageError, match="needs two recipes, found the same one twice"):
        until_sure(files[0], files[0], store=store)
    with pytest.raises(UsageError, match="same images"):
        until_sure(files[0], "own/8k", store=store)
    Path(files[1]).write_text('extends = "good.toml"\n[data]\nsplit_seed = 1\n')
    with pytest.raises(UsageError, match="validated on the same images"):
        until_sure(*files, store=store, part="validation")

    assert store.runs() == ()
