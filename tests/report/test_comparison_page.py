"""A comparison in words and on a page: true to the value, safe whatever runs are called, whole whatever is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from made_runs import OFTEN, SELDOM, recipe, train
from PIL import Image
from rich.cells import cell_len

from flyweight.evidence.compare import Comparison, compare
from flyweight.recipe import diff, factor, has_effect, load
from flyweight.records.results import Misread
from flyweight.records.store import Store
from flyweight.report.comparison.page import write_comparison
from flyweight.report.comparison.text import comparison_text
from flyweight.report.rendering import file_name
from flyweight.report.run.plots import captioned, learning
from flyweight.report.wording import hanging
from flyweight.tables import plain

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = '<script>alert(1)</script>"|=cmd()\n\x1b[31m$x$ 数字/../..'
CHANGES = {
    "better": ("train.lr=0.05",),
    "no evidence": ("train.lr=0.05",),
    "one seed": ("train.lr=0.05",),
    "confounded": ("train.lr=0.05", "train.batch_size=32", 'model.net="c12nb bn r m2 c8nb bn r gap flat fc10"'),
    "diverged": ("train.lr=0.5",),
}
MISREAD = {"better": (OFTEN, SELDOM), "confounded": (OFTEN, SELDOM), "one seed": (OFTEN[:1], SELDOM[:1])}


class Page(HTMLParser):
    """The tags, links and words of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.words = f"{self.words} {' '.join(data.split())}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path / 'records.db'}", tmp_path / "home")


def made(store: Store, kind: str, *, name: str = "own/base", **more: object) -> Comparison:
    """A comparison whose verdict is of that kind."""
    ours, theirs = MISREAD.get(kind, (OFTEN, OFTEN[::-1]))
    status = "diverged" if kind == "diverged" else "finished"
    baseline = train(store, recipe(name=name), ours, **more)
    changed = train(store, recipe(*CHANGES[kind], name=name), theirs, status=status, **more)
    found = compare(store, baseline, changed)
    assert found.verdict.kind == kind
    return found


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Store, Comparison]]:
    """A comparison of each kind with its store, for the tests that leave the runs as they are."""
    found = {}
    for kind in CHANGES:
        home = tmp_path_factory.mktemp("home")
        store = Store.open(f"sqlite:///{home / 'records.db'}", home)
        found[kind] = store, made(store, kind)
    return found


def too_wide(text: str) -> list[str]:
    """Lines beyond 80 columns that could have been broken: those with paths and commands cannot."""
    return [
        line
        for line in text.splitlines()
        if cell_len(line) > 80 and "flyweight " not in line and len(line[13:].split()) > 1
    ]


def rendered_width(page: Path, width: int) -> int:
    """How wide a browser lays the page out in a frame of that width; a window cannot be as narrow as a phone."""
    measured, frame = page.with_name("measured.html"), page.with_name("frame.html")
    tell = "<script>onload = () => parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>"
    measured.write_text(page.read_text(encoding="utf-8").replace("</body>", tell), encoding="utf-8")
    frame.write_text(
        f'<iframe src="measured.html" style="width: {width}px; border: 0"></iframe>'
        "<script>onmessage = event => { document.title = `width ${event.data}` }</script>"
    )
    browser = [BROWSER, "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={page.parent / 'profile'}"]
    asked = [*browser, "--window-size=1400,900", "--virtual-time-budget=3000", "--dump-dom", frame.as_uri()]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    return int(re.search(r"<title>width (\d+)", done.stdout)[1])


@pytest.mark.parametrize("kind", CHANGES)
def test_every_verdict_is_reported_in_80_columns(known, kind):
    """Both sides, what changed, the verdict and each caveat, whatever came out; pipes get the same."""
    _, comparison = known[kind]

    text = comparison_text(comparison)
    assert not too_wide(text)
    shown = " ".join(text.split())
    for expected in ("baseline own/base", "changed own/base with", "what", comparison.verdict.sentence):
        assert " ".join(expected.split()) in shown
    assert all(" ".join(caveat.split()) in shown for caveat in comparison.caveats)


@pytest.mark.parametrize("kind", CHANGES)
def test_both_sides_fit_a_terminal_of_60_columns(known, kind, monkeypatch):
    """The lines of names and figures are broken sooner; commands and paths are not."""
    monkeypatch.setenv("COLUMNS", "60")

    sides = comparison_text(known[kind][1]).split("  what ")[0]

    assert max(map(len, sides.splitlines())) <= 60


def test_figures_are_those_of_the_comparison(known):
    """The effect with interval and p, the images, and only the costs that differ, with unit and per cent."""
    text = " ".join(comparison_text(known["better"][1]).split())

    for expected in (
        "97.86 ± 0.11% (n=5) [test]",
        "99.12 ± 0.08% (n=5)",
        "lr 0.1 → 0.05",
        "+1.26 points on the 1,000 test images, 95% interval +1.11 to +1.41, p < 0.001 (Welch's t test over seeds)",
        "p = 0.008; the smallest possible with 5 and 5 seeds is 0.0079",
        "13 newly correct in most seeds, 1 newly wrong",
        "cost the same parameters and MACs verdict better",
    ):
        assert expected in text
    assert "training a seed" not in text


def test_costs_that_differ_are_reported_from_old_to_new(known):
    """A larger net costs more parameters, MACs and bytes, each with its unit."""
    text = " ".join(comparison_text(known["confounded"][1]).split())

    assert "parameters 3,600 → 3,700 (+2.8%)" in text
    assert "weights 14.4 kB → 14.8 kB (+2.8%)" in text


def test_an_undecided_comparison_shows_the_command_that_adds_seeds(known):
    """One seed, or too few: the command that adds seeds by a plan; an answer needs none."""
    texts = {kind: comparison_text(comparison, options=" --home x") for kind, (_, comparison) in known.items()}

    asks_on = {kind for kind, text in texts.items() if re.search(r"compare \w+ \w+ --until-sure --home x", text)}
    assert asks_on == {"one seed", "no evidence"}
    assert "these two nets" in texts["one seed"]


def test_long_names_stand_above_their_figures():
    """What does not fit beside the label is wrapped below it; a long word stays whole."""
    text = hanging("baseline", f"{'word ' * 30}{'x' * 90}")

    first, *others = text.splitlines()
    assert first.startswith("  baseline   word")
    assert all(line.startswith(" " * 13) for line in others)
    assert max(map(len, (first, *others[:-1]))) <= 80
    assert others[-1].strip() == "x" * 90


@pytest.mark.parametrize("kind", CHANGES)
def test_a_page_loads_nothing_and_reports_the_verdict(known, kind):
    """One file with all pictures in it; every figure of the text is on it."""
    store, comparison = known[kind]

    page = write_comparison(store, comparison)

    found = Page(page)
    assert page.parent.parent == store.home / "comparisons"
    assert comparison.verdict.sentence in found.words
    assert "script" not in found.tags
    outside = [target for target in found.targets if not target.startswith(("data:image/png;base64,", "#", "recipes/"))]
    assert outside == []
    pictures = ["curves"] if kind in ("diverged", "no evidence") else ["curves", "images"]
    assert sorted(path.stem for path in page.parent.glob("*.png")) == pictures
    assert json.loads((page.parent / "comparison.json").read_text())["verdict"]["kind"] == kind
    for picture in page.parent.glob("*.png"):
        with Image.open(picture) as image:
            image.load()
            assert image.width > 500
            assert np.asarray(image.convert("L")).std() > 5


def test_the_way_between_two_recipes_is_written(known):
    """Each recipe loads again, and differs from the one before it in one thing, up to both ends."""
    store, comparison = known["confounded"]

    page = write_comparison(store, comparison)

    files = sorted((page.parent / "recipes").iterdir())
    way = [recipe(), *map(load, files), recipe(*CHANGES["confounded"])]
    steps = [{factor(change.key) for change in diff(old, new) if has_effect(change)} for old, new in pairwise(way)]
    assert steps == [{"net"}, {"batch_size"}, {"lr"}]
    text, words = comparison_text(comparison, page=page), Page(page).words
    for path in files:
        assert f"flyweight train {path} --seeds 5" in text
        assert str(path) in words
    assert str(page) in text


def test_runs_are_linked_to_their_reports(store):
    """A run that has a report has a link that leads to it from the page's own folder; others are reported how."""
    comparison = made(store, "better")
    reported = comparison.changed.runs[2]
    (store.folder(reported.id).path / "report.html").write_text("the report")

    page = write_comparison(store, comparison)

    (link,) = [target for target in Page(page).targets if target.endswith("report.html")]
    assert (page.parent / unquote(link)).read_text() == "the report"


def test_a_comparison_can_be_written_again_elsewhere(store, tmp_path):
    """The same records give the same page; a picture that no longer can be made does not stay behind."""
    comparison, place = made(store, "better"), tmp_path / "a place"
    first = write_comparison(store, comparison, place).read_bytes()

    again = write_comparison(store, comparison, place).read_bytes()

    assert first == again
    for run in comparison.baseline.runs:
        shutil.rmtree(store.folder(run.id).path)
    write_comparison(store, compare(store, comparison.baseline, comparison.changed), place)
    assert sorted(path.name for path in place.iterdir()) == ["comparison.html", "comparison.json", "curves.png"]


@pytest.mark.parametrize("damage", ["gone", "empty", "other", "cut"])
def test_missing_and_damaged_folders_are_reported(store, damage):
    """The page is written all the same and says what it cannot show."""
    comparison = made(store, "better", class_names=["zero"] * 10)
    for run in comparison.baseline.runs:
        path = store.folder(run.id).path / "misread.npz"
        kept = path.read_bytes()
        match damage:
            case "gone":
                shutil.rmtree(store.folder(run.id).path)
            case "empty":
                path.write_bytes(b"")
            case "other":
                np.savez(path, images=np.zeros((3, 5)), indices=np.arange(2))
            case _:
                path.write_bytes(kept[: len(kept) // 2])
    if damage == "gone":
        comparison = compare(store, comparison.baseline, comparison.changed)

    page = write_comparison(store, comparison)

    missing = "Unknown; the notes say why" if damage == "gone" else "13 of 14 cannot be shown"
    assert missing in Page(page).words
    assert (page.parent / "images.png").exists() == (damage != "gone")
    assert (page.parent / "curves.png").exists()


def test_images_that_no_run_kept_are_counted(store):
    """What the baseline misread is shown from its folders; what is not among those is said to be missing."""
    comparison = made(store, "better")
    for run in comparison.baseline.runs:
        folder = store.folder(run.id)
        kept = folder.misread()
        folder.write_misread(Misread(**{name: value[:13] for name, value in vars(kept).items()}))

    page = write_comparison(store, comparison)

    assert "8 of 14 cannot be shown" in Page(page).words
    assert (page.parent / "images.png").exists()


def test_the_validation_images_are_not_in_run_folders(known):
    """A comparison on them says so, and its commands ask for them again."""
    store, comparison = known["better"]
    comparison = compare(store, comparison.baseline, comparison.changed, part="validation")

    page = write_comparison(store, comparison)

    words = Page(page).words
    assert "run folders only have images of the test set" in words
    assert "--on validation" in words


def test_hostile_names_stay_text(store):
    """A recipe and classes called like scripts, formulas, escapes and paths break neither page, text nor file."""
    comparison = made(store, "confounded", name=HOSTILE, class_names=[HOSTILE] * 10)

    page = write_comparison(store, comparison)

    found = Page(page)
    assert "script" not in found.tags
    assert "<script>alert(1)" in found.words
    text = comparison_text(comparison, page=page)
    assert "\x1b" not in text + page.read_text(encoding="utf-8")
    assert not too_wide(text)
    files = sorted((page.parent / "recipes").iterdir())
    assert [path.name[:9] for path in files] == ["1-script-", "2-script-"]
    assert [load(path).name.startswith(HOSTILE) for path in files] == [True, True]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../../etc/passwd", "-rf", "a\0b", "con" * 100, "数字", "a b?*:|"], ids=repr
)
def test_file_names_are_safe(name):
    """Whatever a recipe is called, its file lies where it should and can be typed."""
    found = file_name(name)

    assert found == Path(found).name
    assert 0 < len(found) <= 60
    assert found[0] not in "-."
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_widths_are_those_of_a_terminal():
    """Chinese characters fill two columns, accents none, and nothing that moves the cursor is left."""
    assert [cell_len(text) for text in ("lr → 0.1", "数字", "e\u0301")] == [8, 4, 1]
    assert plain("a\x1b[2Jb\u202ec\rd") == "a\ufffd[2Jb\ufffdc d"


@pytest.mark.parametrize(
    "sides",
    [
        [("one epoch", [{1: 0.98}, {1: 0.99}]), ("twenty", [{n: 1 - 0.1 / n for n in range(1, 21)}])],
        [("one epoch", [{1: 0.98}]), ("as well", [{1: 0.99}])],
        [("without a mistake", [{1: 1.0, 2: 1.0}])],
        [("$\\frac{", [{1: 0.98, 2: 1.0}, {1: 0.99}]), ("_hidden\n数字", [{1: 0.9, 2: 0.95}])],
    ],
    ids=lambda sides: " and ".join(name for name, _ in sides),
)
def test_every_kind_of_learning_has_a_picture(tmp_path, sides):
    """One epoch or many, no mistakes, seeds of different length, names with formulas: warnings are errors."""
    path = tmp_path / "curves.png"
    path.write_bytes(learning(sides))

    with Image.open(path) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert (0x00, 0x72, 0xB2) in colours
    assert ((0xD5, 0x5E, 0x00) in colours) == (len(sides) > 1)


def test_blocks_of_images_show_grey_and_colour(tmp_path):
    """More than a row, one image alone, colour; a block without images takes no room."""
    grey, colour = np.full((1, 28, 28), 90, np.uint8), np.zeros((3, 32, 32), np.uint8)
    colour[0] = 200
    path = tmp_path / "images.png"

    path.write_bytes(
        captioned([("gained", [grey] * 9, ["7\n0/5 → 5/5"] * 9), ("lost", [colour], ["a\nb"]), ("", [], [])])
    )

    with Image.open(path) as image:
        seen = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert (seen == (165, 165, 165)).all(1).sum() > 9 * 5000
    assert (seen[:, 0] > seen[:, 1] + 150).sum() > 5000


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("name", ["own/base", "a-name-without-a-blank-" * 8])
def test_nothing_is_wider_than_the_window(store, name, width):
    """On a desk and on a phone the page fits; what is wider scrolls in its own place."""
    page = write_comparison(store, made(store, "confounded", name=name))

    assert rendered_width(page, width) == width


def test_a_page_needs_no_torch(known):
    """Comparisons are read where nothing was installed to train."""
    store, _ = known["better"]
    script = (
        "import sys; from pathlib import Path; from flyweight.records.store import Store;"
        "import flyweight.report.comparison.page, flyweight.report.journal.page;"
        "assert 'matplotlib' not in sys.modules;"
        "from flyweight.evidence.compare import compare; from flyweight.evidence.groups import groups;"
        "store = Store.open(sys.argv[1], Path(sys.argv[2])); found = compare(store, *groups(store.runs()));"
        "flyweight.report.comparison.page.write_comparison(store, found); print('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, store.url, str(store.home)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"
