"""Pages and pictures of documents: whole whatever was run, true to the verdicts, the same for the same values."""

from __future__ import annotations

import io
import re
from collections import Counter
from itertools import pairwise

import pytest
from PIL import Image

from flyweight.evidence.stats import mean_interval, wilson
from flyweight.recipe import Change, load
from flyweight.records.results import ReportedEpoch, ReportedFigures, ReportedTraining
from flyweight.report.reproduction.page import (
    DASH,
    OTHERWISE,
    Ours,
    changes_in_words,
    document_markdown,
    index_markdown,
    otherwise,
    ours,
    step_range,
)
from flyweight.report.reproduction.plots import document_picture, draw
from flyweight.report.reproduction.rows import (
    claim_rows,
    last_as_reported,
    short_claim_rows,
    step_rows,
    subject,
    terminal_rows,
)
from flyweight.reproductions.document import Claim, Document, Goal, Step, document, documents
from flyweight.reproductions.runs import Clean, Replay
from flyweight.reproductions.verdicts import StepVerdict, judge
from flyweight.tables import as_text, table_of

STEPS = {"000": 5, "001": 10 + 1, "002": 14 + 1, "003": 18 + 3, "004": 1 + 1}
N_CLAIMS_OF_003 = 115
CLASS_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
MACHINE = {"processor": "A processor", "threads": 1, "torch": "2.13.0", "precision": "float32", "flyweight": "0.1.0"}
ENDINGS = ("nothing", "one seed", "three seeds", "one of three diverged", "all diverged")
# What a reader must never see: None, nan, inf, where the runs lie.
WRONG_WORDS = re.compile(r"\bNone\b|\bnan\b|\binf\b|/home|/tmp")


def unlinked(cell: str) -> str:
    """The text of a cell that may be a link to the notebook of its step."""
    return re.sub(r"^\[(.*?)\]\(.*\)$", r"\1", cell)


def figure(correct: int) -> ReportedFigures:
    return ReportedFigures(correct=correct, count=10_000, loss=0.02, loss_error=0.001)


def replay(step: str, seed: int = 0, *, epochs: int = 1, correct: int = 9_900, diverged: bool = False) -> Replay:
    """A run that gets a little better each epoch, or that diverges before it has reported anything."""
    reported = tuple(
        ReportedEpoch(
            epoch=epoch,
            train=ReportedTraining(accuracy=0.9, loss=0.3, loss_error=0.1),
            validation=figure(correct - 40 - epochs + epoch),
            test=figure(correct - epochs + epoch),
        )
        for epoch in range(1, epochs + 1)
    )
    return Replay(
        step=step,
        seed=seed,
        recipe_hash=step,
        status="diverged" if diverged else "finished",
        message="",
        seconds=12.3 + seed,
        epochs=() if diverged else reported,
        clean=None if diverged else Clean(epoch=epochs, correct=correct + seed, count=10_000, loss=0.02),
        class_counts=CLASS_COUNTS,
        test_openings=1,
        machine=MACHINE,
    )


def replays(names: list[str], ending: str) -> list[Replay]:
    n_diverged = {"one of three diverged": 1, "all diverged": 3}.get(ending, 0)
    n_seeds = {"nothing": 0, "one seed": 1}.get(ending, 3)
    return [
        replay(name, seed, epochs=load(name).train.epochs, diverged=seed < n_diverged)
        for name in names
        for seed in range(n_seeds)
    ]


def judged(story: Document, ending: str = "three seeds") -> tuple[StepVerdict, ...]:
    names = [step.name for step in story.all_steps]
    return judge(story, replays(names, ending), hashes={name: name for name in names})


def page(story: Document, ending: str = "three seeds") -> str:
    its_own = ours(story, replays(list(story.ours), ending))
    return document_markdown(story, judged(story, ending), its_own, picture=f"{story.name}.png")


def tables(markdown: str) -> list[list[list[str]]]:
    """The cells of every table, head first, without the line of dashes."""
    found: list[list[list[str]]] = []
    before = ""
    for line in markdown.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        before = line
    for table in found:
        assert set(table.pop(1)) <= {"---", "---:"}
    return found


def under(markdown: str, heading: str) -> str:
    (section,) = [part for part in markdown.split("\n## ") if part.startswith(f"{heading}\n")]
    return section


def made(*, claims: tuple[Claim, ...] = (), label: str = "A label", notes: str = "", **changed: object) -> Document:
    """A document of two steps, whose recipes are of the catalogue."""
    first = Step(name="003-16", label=label, notes=notes, claims=claims)
    second = Step(name="003-17", label="the second", extends="003-16")
    values = {"title": "A title", "about": "What it is.", "source": "someone/else", **changed}
    return Document(name="003", goal=Goal(params=20_000, accuracy=0.994, epochs=20), steps=(first, second), **values)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", STEPS)
def test_a_page_has_every_step_and_every_claim_once(name, ending):
    """Whatever was run: a row a step and a recipe of ours, a row a claim, no cell too many, no word of a program."""
    story = document(name)

    markdown = page(story, ending)

    steps, claims = tables(markdown)
    named = [unlinked(row[0]) for row in steps[1:]]
    assert named == [step.name for step in story.all_steps] + ["ours"] * len(story.ours)
    assert len(story.all_steps) == STEPS[name]
    reported = [(step.name, subject(step, claim), claim.mark) for step in story.all_steps for claim in step.claims]
    assert [(row[0], row[1], row[3]) for row in claims[1:]] == reported
    assert len(reported) >= 6
    for table in (steps, claims):
        assert {len(row) for row in table} == {len(table[0])}
        assert all(all(row) for row in table)
    assert not WRONG_WORDS.search(markdown)


def test_all_documents_were_checked():
    """The tables of these tests hold every document there is."""
    assert [story.name for story in documents()] == list(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_the_same_values_give_the_same_bytes(name):
    """A page, its picture and the index are pure functions."""
    story = document(name)

    assert page(story) == page(story)
    assert document_picture(story, judged(story)) == document_picture(story, judged(story))
    assert index_markdown([(story, judged(story), ())]) == index_markdown([(story, judged(story), ())])


@pytest.mark.parametrize(
    ("name", "ending"),
    [*((name, "three seeds") for name in STEPS), *((name, end) for name in ("000", "004") for end in ENDINGS)],
)
def test_a_picture_is_a_png_of_a_sensible_size(name, ending):
    """As wide as a page, not taller than two of them, and not empty."""
    story = document(name)

    with Image.open(io.BytesIO(document_picture(story, judged(story, ending)))) as picture:
        picture.load()

    assert picture.format == "PNG"
    assert 1_200 < picture.width < 1_300
    assert 350 < picture.height < 2_000
    assert len(picture.convert("L").getcolors()) > 20
    assert not {key for key in picture.info if "date" in key.lower() or "time" in key.lower()}


@pytest.mark.parametrize("name", STEPS)
def test_no_parts_of_a_plot_overlap(name):
    """The legend is inside the picture and over no axes and no title; no title runs into the next panel."""
    story = document(name)
    drawn = draw(story, judged(story, "one of three diverged"))
    drawn.canvas.draw()

    legend = drawn.legends[0].get_window_extent()
    assert drawn.bbox.x0 <= legend.x0 < legend.x1 <= drawn.bbox.x1
    for axes in (axes for axes in drawn.axes if axes.axison):
        title = axes._left_title.get_window_extent()
        assert not legend.overlaps(axes.get_window_extent())
        assert not legend.overlaps(title)
        assert title.x1 < axes.get_window_extent().x1 + 12
        assert all(text.get_window_extent().x1 <= drawn.bbox.x1 for text in axes.texts)
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert "diverged" in labels
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize(("name", "n_axes"), [("000", 1), ("002", 1), ("003", 24), ("004", 2)])
def test_long_steps_are_curves_and_short_ones_dots(name, n_axes):
    """A panel for each step of 003, in rows of four; a related run of 20 epochs makes no curves of 002."""
    axes = draw(document(name), judged(document(name))).axes

    assert len(axes) == n_axes
    assert sum(one.axison for one in axes) == (STEPS[name] if name in ("003", "004") else 1)


def test_every_seed_is_a_dot():
    """What is reported once, as reported and clean three times, diverged seeds with a cross of their own."""
    story = document("000")

    axes = draw(story, judged(story, "one of three diverged")).axes[0]

    dots = {marker: [len(line.get_xdata()) for line in axes.lines if line.get_marker() == marker] for marker in "oDx"}
    assert dots == {"o": [2, 2, 2, 2, 1, 2], "D": [2] * 5, "x": [1] * 5}


def test_reported_epochs_are_drawn_beside_replayed_ones():
    """The log of 003-17 has 20 test and 20 validation figures, and so has each of three seeds."""
    story = document("003")
    place = [step.name for step in story.all_steps].index("003-17")

    axes = draw(story, judged(story)).axes[place]

    assert Counter(len(line.get_xdata()) for line in axes.lines)[20] == 2 * (1 + 3)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_terminal_of_80_columns_shows_a_row_a_step(ending):
    """With one blank or two between the columns, and without a row of None."""
    for story in documents():
        rows = terminal_rows(judged(story, ending))

        shown = as_text(table_of(rows))
        assert len(rows) == STEPS[story.name]
        assert max(map(len, shown.splitlines())) <= 80
        assert not WRONG_WORDS.search(shown)


def test_claims_as_rows():
    """A row a claim, all with the same keys; figures are numbers, and what there is not is None."""
    verdicts = judged(document("003"))

    rows, short = claim_rows(verdicts), short_claim_rows(verdicts)

    assert len(rows) == len(short) == sum(len(verdict.claims) for verdict in verdicts) == N_CLAIMS_OF_003
    assert len({tuple(row) for row in rows}) == len({tuple(row) for row in short}) == 1
    assert {type(row["replayed"]) for row in rows} == {float, type(None)}
    assert all(row["n"] == 3 for row in rows)


def test_pipes_and_tags_stay_inside_their_cells():
    """A label, a claim's reason or a note cannot open a column or a tag."""
    claim = Claim(what="accuracy", reported="99.15 %", mark="stated", on="test", epoch=20)
    story = made(label="a|b <b> \\| c", claims=(claim,))

    steps, claims = tables(page(story))

    assert {len(row) for row in steps} == {8}
    assert len(claims) == 2
    assert "a\\|b &lt;b> \\\\\\| c" in steps[1][1]


def test_figures_are_those_of_the_runs():
    """One seed has Wilson's interval, three have Student's and a spread."""
    claim = Claim(what="accuracy", reported="99.15 %", mark="stated", on="test", epoch=20)
    one, three = (tables(page(made(claims=(claim,)), ending))[0][1] for ending in ("one seed", "three seeds"))

    low, high = wilson(9_900, 10_000)
    student = mean_interval([0.9900, 0.9901, 0.9902])
    assert one[3:6] == ["99.15 %, epoch 20", "99.00 %", f"99.00 % ({100 * low:.2f}{DASH}{100 * high:.2f}, n=1)"]
    assert three[4] == "99.00 ± 0.00 % (n=3)"
    assert three[5] == f"99.01 % ({100 * student.low:.2f}{DASH}{100 * student.high:.2f}, n=3)"
    assert (one[7], three[7]) == ("12", "13")


def test_seeds_that_diverged_are_reported():
    """Beside the figure of the others, or alone."""
    some, all_of_them = (tables(page(made(), ending))[0][1] for ending in ("one of three diverged", "all diverged"))

    assert some[4] == "1 of 3 diverged, 99.00 ± 0.00 % (n=2)"
    assert (all_of_them[4], all_of_them[5]) == ("3 of 3 diverged", DASH)


def test_a_count_that_was_reported_wrongly_stands_beside_ours_and_is_bold():
    """003-10 is reported as 22,186 and has 22,410."""
    rows = {unlinked(row[0]): row for row in tables(page(document("003")))[0][1:]}

    assert rows["003-10"][2] == "22,410, reported 22,186"
    assert rows["003-9"][2] == "22,410"
    bold = [name for name, row in rows.items() if row[6].startswith("**")]
    assert bold == ["003-5", "003-10", "003-13", "003-17"]  # two counts, and what is said of two nets


def test_our_recipes_stand_in_the_same_table():
    """With their clean figure, and how many of their seeds reach the goal."""
    seeds = tuple(replay("own/20k-best", seed, epochs=20, correct=9_938) for seed in range(5))
    made_ours = Ours(name="own/20k-best", params=19_000, epochs=20, replays=(*seeds, replay("x", 5, diverged=True)))

    markdown = document_markdown(made(), judged(made()), [made_ours], picture="003.png")

    row = tables(markdown)[0][-1]
    assert made_ours.n_reaching(0.994) == 3  # 9,938 and 9,939 are fewer than 9,940
    assert row[0] == "ours"
    assert row[1:3] == ["`own/20k-best`, 20 epochs", "19,000"]
    assert row[5] == f"99.40 % (99.38{DASH}99.42, n=5)"
    assert row[6] == "3 of 6 seeds reach 99.4 %"


def test_our_recipes_get_their_own_runs():
    """By name; a recipe without runs is there and says so."""
    story = made(ours=("own/20k-best", "own/8k"))

    best, small = ours(story, [replay("own/20k-best"), replay("003-17")])

    assert [one.step for one in best.replays] == ["own/20k-best"]
    assert best.params <= 20_000
    assert (small.replays, small.clean, small.seconds) == ((), None, None)
    assert "not run" in document_markdown(story, judged(story), [small], picture="p.png").split("`own/8k`")[1]


def test_a_lesson_is_shown_if_there_is_one():
    """The section is left out until a document has been run and understood."""
    assert "## What one learns" not in page(made())
    assert "## What one learns\n\nMeasure once.\n" in page(made(lesson="Measure once."))


def test_what_no_switch_says_has_its_sentence():
    """A summed loss and images in the order of the file, each in the words of no protocol."""
    assert {key for key, _ in OTHERWISE} == {"train.loss_reduction", "train.shuffle"}
    assert otherwise(load("000-1"), has_unused=False)[-2:] == list(OTHERWISE.values())
    assert otherwise(load("003-17"), has_unused=True)[-1].startswith("the net registers layers")


def test_switches_name_the_steps_that_use_them():
    """From 003-14 on training lost its augmentation; a clean recipe does nothing otherwise."""
    lines = under(page(document("003")), "Differences from a clean evaluation").splitlines()

    (lost,) = [line for line in lines if "training images are not augmented" in line]
    assert lost.endswith("(003-14 to 003-18, 003-16b)")
    assert sum("registers layers" in line for line in lines) == 1
    assert otherwise(load("own/20k-best"), has_unused=False) == []


def test_assumptions_name_their_alternatives():
    """Every key that was assumed stands there with its value, and with what else it could be."""
    for name in STEPS:
        story = document(name)
        reported = under(page(story), "What had to be assumed or derived")
        for step in story.all_steps:
            assert all(f"`{key} = " in reported or f"`{key}` none" in reported for key in step.assumed)
            assert all(step.alternatives[key] in reported for key in step.assumed if key in step.alternatives)
    assert "Nothing:" in under(page(made()), "What had to be assumed or derived")


def test_machines_are_distinguished():
    """How many runs there are on each, the most used one first; nothing but what is known by name is reported."""
    names = ["003-16", "003-17"]
    found = [replay(name, seed) for name in names for seed in range(2)]
    other = Replay(**{**vars(found[0]), "seed": 9, "machine": {**MACHINE, "threads": 2, "host": "secret"}})
    verdicts = judge(made(), [*found, other], hashes={name: name for name in names})

    reported = under(document_markdown(made(), verdicts, [], picture="p.png"), "How the figures were made")

    assert "5 runs: 4 with A processor, 1 thread per run" in reported
    assert "1 with A processor, 2 threads per run, float32, torch 2.13.0, flyweight 0.1.0" in reported
    assert "secret" not in reported


def test_the_index_counts_every_claim():
    """A row a document, linked to its page; the verdicts add up to the claims."""
    every = [(story, judged(story), ours(story, [])) for story in documents()]

    (table,) = tables(index_markdown(every))

    head, *rows = table
    kinds = range(head.index("confirmed"), head.index("best as reported"))
    assert [row[0] for row in rows] == [f"[{name}]({name}.md)" for name in STEPS]
    assert [row[2] for row in rows] == ["5", "10 + 1", "14 + 1", "18 + 3", "1 + 1"]
    for row, (_, verdicts, _) in zip(rows, every, strict=True):
        assert sum(int(row[place]) for place in kinds) == sum(len(verdict.claims) for verdict in verdicts)


def test_the_best_step_is_one_within_the_limit():
    """A larger net is no answer to the goal, however good it is."""
    story = document("002")
    verdicts = judge(
        story,
        [replay("002-3a", correct=9_990), replay("002-4", correct=9_650)],
        hashes={step.name: step.name for step in story.all_steps},
    )

    row = tables(index_markdown([(story, verdicts, ())]))[0][1]

    assert row[-3:-1][0] == "002-4: 95.39 %"
    assert row[-2].startswith("96.50 %")


def test_training_images_are_not_called_test_images():
    """What 002 calls its test images is put in quotes, and named."""
    assert '"test" accuracy, epoch 1, on the training images' in page(document("002"))
    assert '"test"' not in page(document("003"))


def test_steps_as_rows():
    """A row a step of numbers for programs; the verdicts add up to the claims."""
    verdicts = judged(document("003"))

    rows = step_rows(verdicts)

    assert len(rows) == 21
    assert all(row["clean_low"] <= row["clean"] <= row["clean_high"] for row in rows)
    kinds = ("confirmed", "not_reproduced", "refuted", "not_derivable", "undecided", "not_run")
    assert sum(row[kind] for row in rows for kind in kinds) == N_CLAIMS_OF_003


def test_a_long_change_of_a_net_is_reported_as_the_new_net():
    """Words for what became of it are never longer than the net itself."""
    for story in documents():
        for old, new in pairwise(story.steps):
            change = Change(key="model.net", old=old.recipe.model.net, new=new.recipe.model.net)
            if change.old != change.new:
                words = changes_in_words([change])
                assert len(words) <= len(f"net → `{change.new}`")
    assert changes_in_words([]) == "nothing"


def test_ranges_of_steps():
    """Three in a row are a range, two are not, and all are all."""
    names = ["a", "b", "c", "d", "e"]

    assert step_range(["a", "b"], names) == "a, b"
    assert step_range(["e", "c", "b", "a"], names) == "a to c, e"
    assert step_range(names, names) == "all steps"
    assert step_range(["a"], ["a"]) == "a"


def test_a_run_that_diverged_has_no_last_figure():
    """Neither has one that reported nothing of any epoch."""
    assert last_as_reported(replay("x", epochs=3, correct=9_900)) == 0.99
    assert last_as_reported(replay("x", diverged=True)) is None


def test_a_journey_that_claims_nothing_has_a_page():
    """Without a table of claims, and without any run."""
    markdown = page(made(), "nothing")

    assert "no claims" in under(markdown, "Claims")
    assert "There is no run yet." in markdown
    assert len(tables(markdown)) == 1
