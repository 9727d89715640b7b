"""The log that writes itself, from rows on record."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from recorded import N_TEST, hash_of, record_seeds
from scipy import stats

from flyweight.errors import UsageError
from flyweight.evidence.journal import journal
from flyweight.evidence.sequential import holm
from flyweight.evidence.verdict import KINDS
from flyweight.records.store import Store

SEEDS = [980, 982, 981]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(home=tmp_path)


def test_a_step_is_a_row_with_what_changed_and_what_came_out(store):
    """Count, result, interval, effect and p are those of the records, by scipy."""
    record_seeds(store, SEEDS, study="rates")
    record_seeds(store, [990, 992, 991], "train.lr=0.2", study="rates", parent_hash=hash_of())

    first, second = journal(store, "rates").rows

    assert (first.number, first.parent, first.changed, first.effect, first.verdict) == (1, None, "start", None, None)
    assert (second.number, second.parent, second.changed) == (2, 1, "lr 0.1 → 0.2")
    assert (second.params, second.n, second.seconds) == (1_554, 3, 11.0)
    values = [0.990, 0.992, 0.991]
    student = stats.t.interval(0.95, 2, loc=0.991, scale=stats.sem(values))
    assert (second.low, second.high) == pytest.approx(student)
    welch = stats.ttest_ind(values, [n / N_TEST for n in SEEDS], equal_var=False)
    assert (second.effect.p, second.p_adjusted) == pytest.approx((welch.pvalue, welch.pvalue))
    assert second.verdict.kind == "better"
    assert second.run == store.runs(study="rates")[0].id


def test_a_journal_shows_what_people_asked_for(store):
    """Of all runs only those; of a study its reproductions too. Trials are no results unless they are asked for."""
    record_seeds(store, SEEDS, study="mine")
    record_seeds(store, SEEDS, "train.lr=0.2", study="mine", purpose="reproduction")
    record_seeds(store, SEEDS, "train.lr=0.3", study="mine", purpose="trial")

    learning_rates = {
        (study, purpose): [
            store.get(row.run).recipe["train"]["lr"] for row in journal(store, study, purpose=purpose).rows
        ]
        for study in (None, "mine")
        for purpose in (None, "all", "trial")
    }

    assert learning_rates == {
        (None, None): [0.1],
        (None, "all"): [0.1, 0.2, 0.3],
        (None, "trial"): [0.3],
        ("mine", None): [0.1, 0.2],
        ("mine", "all"): [0.1, 0.2, 0.3],
        ("mine", "trial"): [0.3],
    }


def test_a_step_without_a_parent_on_record_is_held_against_the_nearest_before(store):
    """In a study, the earlier step that differs in the fewest things, the first of equals; elsewhere there is none."""
    lost = {"study": "siblings", "parent_hash": "0" * 64}
    record_seeds(store, SEEDS, "train.batch_size=32", **lost)
    record_seeds(store, SEEDS, "train.batch_size=32", "train.lr=0.2", **lost)
    record_seeds(store, [0, 0], "train.batch_size=32", "train.lr=50.0", status="diverged", **lost)
    record_seeds(store, SEEDS, "train.batch_size=32", "augment.rotate=5.0", **lost)
    record_seeds(store, SEEDS, "train.batch_size=32", "augment.rotate=5.0", "train.momentum=0.8", **lost)
    record_seeds(store, SEEDS, "train.batch_size=32", "train.eval_batch_size=100", **lost)

    assert [row.parent for row in journal(store, "siblings").rows] == [None, 1, 1, 1, 4, 1]
    assert {row.parent for row in journal(store).rows} == {None}


def test_a_lost_parent_does_not_hide_those_on_record(store):
    """One step knows its parent, the other takes the nearest."""
    record_seeds(store, SEEDS, study="rates")
    record_seeds(store, SEEDS, "train.lr=0.2", study="rates", parent_hash="0" * 64)
    record_seeds(store, SEEDS, "train.lr=0.3", study="rates", parent_hash=hash_of())

    assert [row.parent for row in journal(store, "rates").rows] == [None, 1, 1]
    assert [row.parent for row in journal(store).rows] == [None, None, 1]


def test_parents_outside_the_study_are_followed_to_the_root(store):
    """What the first step of a study was changed from is shown, and what that was changed from."""
    record_seeds(store, SEEDS)
    record_seeds(store, SEEDS, "train.lr=0.2", parent_hash=hash_of())
    record_seeds(store, SEEDS, "train.lr=0.3", study="rates", parent_hash=hash_of("train.lr=0.2"))
    record_seeds(store, SEEDS, "train.lr=0.4", data_hash="e" * 64)

    found = journal(store, "rates")

    assert [(row.parent, row.changed) for row in found.rows] == [
        (None, "start"),
        (1, "lr 0.1 → 0.2"),
        (2, "lr 0.2 → 0.3"),
    ]


def test_the_baseline_of_a_study_is_of_the_study(store):
    """What all its steps have otherwise than a run outside is told once, and that run is no step of it."""
    record_seeds(store, [995, 996])
    limited, outside = "data.train_limit=3000", {"parent_hash": hash_of(), "study": "few"}
    record_seeds(store, [950, 951], limited, **outside)
    record_seeds(store, [960, 961], limited, "train.lr=0.2", **outside)
    record_seeds(store, [940, 941], limited, "augment.rotate=5.0", **outside)

    found = journal(store, "few")

    assert [(row.parent, row.changed) for row in found.rows] == [
        (None, "start"),
        (1, "lr 0.1 → 0.2"),
        (1, "rotate off → 5 degrees"),
    ]
    assert found.flags[0] == "all steps have train_limit 3,000 images"


def test_a_recipe_of_the_study_on_another_split_is_no_step_of_it(store):
    """It was trained before, outside, when the split was another; seeds on the same split still count."""
    record_seeds(store, [900], split_hash="6" * 64)
    record_seeds(store, [980])
    record_seeds(store, [982], first_seed=1, study="mine")

    (row,) = journal(store, "mine").rows

    assert (row.seeds, row.n) == ((0, 1), 2)


def test_a_baseline_outside_that_only_some_steps_differ_from_alike_stays(store):
    """Two rates, held against the run that both were changed from."""
    record_seeds(store, SEEDS)
    for rate in (0.2, 0.3):
        record_seeds(store, SEEDS, f"train.lr={rate}", study="rates", parent_hash=hash_of())

    assert [row.changed for row in journal(store, "rates").rows] == ["start", "lr 0.1 → 0.2", "lr 0.1 → 0.3"]


def test_a_circle_of_parents_ends(store):
    """Whatever the records claim, every step is shown once, held against earlier ones only."""
    record_seeds(store, SEEDS, study="rates", parent_hash=hash_of("train.lr=0.2"))
    record_seeds(store, SEEDS, "train.lr=0.2", study="rates", parent_hash=hash_of())
    record_seeds(store, SEEDS, "train.lr=0.3", study="rates", parent_hash=hash_of("train.lr=0.3"))

    rows = journal(store, "rates").rows

    assert len({row.recipe_hash for row in rows}) == 3
    assert [row.parent for row in rows] == [None, 1, 1]


def test_a_step_that_began_before_its_parent_stands_after_it(store):
    """Seeds of both sides of a question start side by side; the one that was asked about comes from the other."""
    record_seeds(store, SEEDS, "train.lr=0.2", study="rates", parent_hash=hash_of())
    record_seeds(store, SEEDS, study="rates")

    assert [(row.parent, row.changed) for row in journal(store, "rates").rows] == [
        (None, "start"),
        (1, "lr 0.1 → 0.2"),
    ]


def test_verdicts_allow_for_how_many_steps_there_are(store):
    """p is adjusted by Holm over all steps; a p that is small alone is no evidence among many."""
    record_seeds(store, SEEDS, study="rates")
    for number in range(1, 11):
        lifted = [correct + (4 if number == 1 else 0) for correct in SEEDS]
        record_seeds(store, lifted, f"train.lr={0.1 + number / 100}", study="rates", parent_hash=hash_of())

    rows = journal(store, "rates").rows

    assert [row.p_adjusted for row in rows] == holm([None if row.effect is None else row.effect.p for row in rows])
    assert rows[1].effect.p < 0.05 < rows[1].p_adjusted
    assert {row.verdict.kind for row in rows[1:]} == {"no evidence"}


def test_every_verdict_is_one_that_is_documented(store):
    """Better, worse, no evidence, confounded, one seed, diverged: each arises from records as it should."""
    record_seeds(store, SEEDS, study="all")
    base = {"study": "all", "parent_hash": hash_of()}
    record_seeds(store, [990, 991, 992], "train.lr=0.2", **base)
    record_seeds(store, [970, 971, 972], "train.lr=0.3", **base)
    record_seeds(store, [981, 980, 982], "train.lr=0.4", **base)
    record_seeds(store, [990, 991, 992], "train.lr=0.5", "augment.rotate=5.0", **base)
    record_seeds(store, [900], "train.lr=0.6", **base)
    record_seeds(store, [0, 0], "train.lr=0.7", status="diverged", **base)

    rows = journal(store, "all").rows

    kinds = [row.verdict.kind for row in rows[1:]]
    assert kinds == ["better", "worse", "no evidence", "confounded", "one seed", "diverged"]
    assert set(kinds) == set(KINDS)
    assert "lr" in rows[4].verdict.sentence
    assert "rotate" in rows[4].verdict.sentence


def test_one_seed_has_the_interval_of_its_images(store):
    """Wilson's, since nothing is known of other seeds."""
    record_seeds(store, [990])

    (row,) = journal(store).rows

    wilson = stats.binomtest(990, N_TEST).proportion_ci(method="wilson")
    assert (row.low, row.high) == pytest.approx((wilson.low, wilson.high))
    assert row.n == 1


def test_the_latest_words_of_a_person_stand_in_their_row(store):
    """Of this study and this recipe only, with author; what was written after the run began is told as that."""
    (run, *_) = record_seeds(store, SEEDS, study="rates")
    store.notebook.write_note(run.recipe_hash, "before", "better", author="Ada", study="rates")
    store.notebook.write_note(run.recipe_hash, "before", "better by a point", author="Ada", study="rates")
    store.notebook.write_note(run.recipe_hash, "after", "as I said", author="Grace", study="rates")
    store.notebook.write_note(run.recipe_hash, "after", "elsewhere", author="Ada")

    (row,) = journal(store, "rates").rows

    assert (row.before.text, row.after.text, row.after.author) == ("better by a point", "as I said", "Grace")
    assert "what was expected was written after the first run began" in row.flags


def test_what_was_expected_before_the_run_is_not_flagged(store):
    """The order of the moments decides, not that of the rows."""
    store.notebook.write_note(hash_of(), "before", "better", author="Ada", study="rates")
    record_seeds(store, SEEDS, study="rates")

    (row,) = journal(store, "rates").rows

    assert row.before.written_at < store.runs()[0].started_at + timedelta(seconds=60)
    assert row.flags == ()


def test_what_was_expected_in_time_is_not_replaced_by_what_came_later(store):
    """A prediction stands, whatever is thought of it when the figures are there."""
    store.notebook.write_note(hash_of(), "before", "worse", author="Ada", study="rates")
    store.notebook.write_note(hash_of(), "before", "better", author="Ada", study="rates")
    record_seeds(store, SEEDS, study="rates")
    store.notebook.write_note(hash_of(), "before", "just so", author="Ada", study="rates")

    (row,) = journal(store, "rates").rows

    assert row.before.text == "better"
    assert row.flags == ()


def test_the_journal_of_everything_has_the_notes_of_every_study(store):
    """They are on record too."""
    record_seeds(store, SEEDS, study="rates")
    store.notebook.write_note(hash_of(), "after", "fine", author="Ada", study="rates")

    assert journal(store).rows[0].after.text == "fine"


def test_every_opening_of_the_test_set_counts(store):
    """That of a seed that ran again too, which has no other place in the journal than to be told."""
    record_seeds(store, SEEDS, study="rates")
    record_seeds(store, [985], study="rates")

    found = journal(store, "rates")

    assert found.test_openings == 4
    assert found.rows[0].flags == ("1 run of seeds that ran again; the newest of a seed counts, once",)


def test_later_runs_do_not_rewrite_what_a_step_was(store):
    """Name, place and parent are those of its first run, in the study or of all."""
    record_seeds(store, SEEDS, study="rates")
    record_seeds(store, SEEDS, "train.lr=0.2", study="rates", parent_hash=hash_of())
    before = [(row.name, row.parent, row.changed) for row in journal(store).rows]

    record_seeds(store, [984], "train.lr=0.2", first_seed=3, name="other name")
    record_seeds(store, [984], first_seed=3, study="more", parent_hash=hash_of("train.lr=0.2"))

    assert [(row.name, row.parent, row.changed) for row in journal(store).rows] == before
    assert [(row.name, row.parent, row.changed) for row in journal(store, "rates").rows] == before


def test_a_result_has_all_its_seeds_whichever_study_they_were_for(store):
    """A study with one run of its own baseline knows no less than one with none."""
    record_seeds(store, SEEDS)
    record_seeds(store, [983], first_seed=3, study="rates")
    record_seeds(store, SEEDS, "train.lr=0.2", study="rates", parent_hash=hash_of())

    found = journal(store, "rates")

    assert [row.n for row in found.rows] == [4, 3]
    assert found.test_openings == 4


def test_a_plan_is_held_to_by_the_journal_too(store):
    """What the comparison does not call shown, the journal does not either; and it says why."""
    record_seeds(store, [980, 982, 984], study="rates")
    record_seeds(store, [985, 987, 989], "train.lr=0.2", study="rates", parent_hash=hash_of())
    effect = journal(store, "rates").rows[1].effect
    assert journal(store, "rates").rows[1].verdict.kind == "better"
    pair = (hash_of("train.lr=0.2"), hash_of())
    store.notebook.make_plan(*pair, data_hash="d" * 64, part="test", looks=[(3, 3), (4, 4)], level=effect.p / 2)

    row = journal(store, "rates").rows[1]

    assert row.verdict.kind == "no evidence"
    assert any("2 planned tests" in flag for flag in row.flags)


def test_flags_tell_a_reader_what_to_know(store):
    """Openings of the test set, other epochs, single seeds, wrong counts, validation images that are the test ones."""
    record_seeds(store, SEEDS, "description='1,500 parameters'", study="rates")
    record_seeds(store, [990], "train.epochs=6", "train.lr=0.2", study="rates", parent_hash=hash_of())
    record_seeds(store, [0], "train.epochs=6", "train.lr=0.2", study="rates", first_seed=1, status="diverged")
    leaky = record_seeds(store, [990], "train.lr=0.9", study="rates", status="running")
    store.finish(
        leaky[0].id,
        "finished",
        **{f"{part}_{name}": value for part in ("test", "validation") for name, value in FIGURES.items()},
    )

    found = journal(store, "rates")

    told = "\n".join(found.flags)
    assert "the test set was opened 4 times for 3 steps" in told
    assert "steps of 5 to 6 epochs" in told
    assert "2 of 3 steps have one seed" in told
    assert "its description says 1,500 parameters, counted are 1,554" in found.rows[0].flags
    assert "epochs 5 → 6: the effect includes the other length of training" in found.rows[1].flags
    assert "1 of 2 seeds diverged" in found.rows[1].flags
    assert "validation and test are the same images: nothing was held out to choose by" in found.rows[2].flags


FIGURES = {"correct": 990, "count": N_TEST, "loss": 0.0312}


def test_on_validation_the_test_figures_are_not_looked_at(store):
    """Results and effects are those of the validation images; the flag about choosing by test is not raised."""
    record_seeds(store, SEEDS, study="rates")
    record_seeds(store, [990, 992, 991], "train.lr=0.2", study="rates")

    found = journal(store, "rates", part="validation")

    assert found.rows[1].result.mean == pytest.approx((198 + 198 + 198) / 600)
    assert not any("test set was opened" in flag for flag in found.flags)


def test_an_unknown_study_names_those_there_are(store):
    """The nearest is suggested."""
    record_seeds(store, SEEDS, study="rates")

    with pytest.raises(UsageError, match="Did you mean 'rates'"):
        journal(store, "rate")


def test_of_no_runs_there_is_an_empty_journal(store):
    """Nothing is on record: no rows and nothing to flag."""
    found = journal(store)

    assert (found.rows, found.flags, found.test_openings) == ((), (), 0)


def test_the_same_records_give_the_same_journal(store):
    """As JSON, twice, to the last digit."""
    record_seeds(store, SEEDS, study="rates")
    record_seeds(store, [990, 992, 991], "train.lr=0.2", study="rates")
    store.notebook.write_note(hash_of(), "after", "fine", author="Ada", study="rates")

    one, two = (json.dumps(journal(store, "rates").as_dict(), default=str) for _ in range(2))

    assert one == two
    assert json.loads(one)["rows"][0]["after"]["author"] == "Ada"


def test_a_recipe_of_a_later_version_is_still_a_step(store):
    """Keys that this version does not know are told as changes and break nothing."""
    record_seeds(store, SEEDS, study="rates")
    later = {"name": "base", "train": {"lr": 0.1, "sharpness": 0.3}}
    record_seeds(store, SEEDS, study="rates", recipe=later, recipe_hash="f" * 64)

    rows = journal(store, "rates").rows

    assert "sharpness off → 0.3" in rows[1].changed


def test_it_is_written_without_torch(store):
    """Nor matplotlib: a journal is read on any machine that has the records."""
    record_seeds(store, SEEDS, study="rates")
    record_seeds(store, SEEDS, "train.lr=0.2", study="rates")
    script = (
        "import sys; from pathlib import Path; from flyweight.records.store import Store\n"
        "from flyweight.evidence.journal import journal\n"
        f"rows = journal(Store.open(home=Path({str(store.home)!r})), 'rates').rows\n"
        "print(len(rows), {'torch', 'matplotlib'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "2 set()"
