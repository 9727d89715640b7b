"""The page in a real browser: it reads drawings, computes as Python does, asks nobody, and everyone can use it."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import socket
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from drawings import drawn, strokes

from flyweight.cli.app import run as run_command
from flyweight.data.sources import load as load_images
from flyweight.errors import UsageError
from flyweight.export.format import from_json
from flyweight.export.integer import scores
from flyweight.page.assemble import SCRIPTS, page_html
from flyweight.page.content import PageContent, content_of, find_run, packed
from flyweight.page.write import write_page

SEVEN = ((0.3, 0.25), (0.7, 0.25), (0.45, 0.8))
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
MAX_BYTES = 250_000
MIN_TARGET = 44
AXE = os.environ.get("FLYWEIGHT_AXE", "node_modules/axe-core/axe.min.js")

# The scores of images that are given as base64, channels last, by the page's own code.
SCORES = """([text, size]) => {
  const bytes = bytesOf(text);
  const net = readNet(JSON.parse(document.getElementById("values").textContent).nets[0].file);
  const found = [];
  for (let at = 0; at < bytes.length; at += size) found.push(scoresOf(net, bytes.subarray(at, at + size)));
  return found;
}"""


def values_of(path: Path) -> dict:
    """What the page is given, as it stands in the file."""
    text = path.read_text(encoding="utf-8")
    found = text.partition('id="values">')[2].partition("</script>")[0]
    return json.loads(found)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_test_images_get_the_scores_of_python(trained, opened, count):
    """By the code of the page in the browser, to the bit."""
    images = load_images("mnist").test_images[:count]
    file = from_json(json.dumps(values_of(trained.path)["nets"][0]["file"]))
    page = opened(trained.path).page

    found = []
    for part in np.array_split(images.transpose(0, 2, 3, 1), max(1, count // 1000)):
        found += page.evaluate(SCORES, [base64.b64encode(part.tobytes()).decode(), 784])

    assert found == scores(file.net, images).tolist()
    assert len(found) == count


def test_a_stroke_is_read_and_nothing_is_asked_of_the_network(trained, opened):
    """The answer, the runner-up and the maps appear; the only request is the file; the console is empty."""
    found = opened(trained.path)

    assert found.said() == "Nothing drawn."
    found.stroke(*SEVEN)

    said = found.said()
    assert " sure. Second " in said
    assert found.page.locator("#result .read strong").inner_text() in said
    assert found.requests == [trained.path.as_uri()]
    assert found.errors == []
    assert found.page.locator(".layer").count() == 6


def test_undo_and_clear_and_the_keys(trained, opened):
    """Space puts the pen down, arrows draw, Backspace undoes, Escape clears."""
    found = opened(trained.path)

    found.stroke(*SEVEN)
    found.page.get_by_role("button", name="Undo").click()
    assert found.said() == "Nothing drawn."
    found.page.locator("#pad").focus()
    for key in (" ", *["ArrowDown"] * 6, " "):
        found.page.keyboard.press(key)
    assert "sure" in found.said()
    found.page.keyboard.press("Backspace")
    assert found.said() == "Nothing drawn."
    found.stroke((0.2, 0.2), (0.2, 0.8))
    found.page.locator("#pad").focus()
    found.page.keyboard.press("Escape")
    assert found.said() == "Nothing drawn."


def test_two_things_are_not_read_as_one(trained, opened):
    """Two strokes side by side are told apart from two parts of one digit."""
    found = opened(trained.path)

    found.stroke((0.2, 0.2), (0.2, 0.8))
    assert "separate things" not in found.said()
    found.stroke((0.8, 0.2), (0.8, 0.8))
    assert "2 separate things" in found.said()


def test_a_fast_stroke_has_no_gaps_and_a_second_pointer_does_not_break_it(trained, opened):
    """From one place to another in one jump there is ink all the way."""
    found = opened(trained.path)
    box = found.page.locator("#pad").bounding_box()

    found.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    found.page.mouse.down()
    found.page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"], steps=1)
    found.page.evaluate(
        "document.getElementById('pad').dispatchEvent(new PointerEvent('pointerdown', {pointerId: 99, button: 0}))"
    )
    found.page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"], steps=1)
    found.page.mouse.up()

    ink = found.page.evaluate(
        "() => { const pen = document.getElementById('pad').getContext('2d');"
        " return [0.2, 0.35, 0.5, 0.65, 0.8].map((x) => pen.getImageData(x * 504, 252, 1, 1).data[0])"
        ".concat(pen.getImageData(0.8 * 504, 0.75 * 504, 1, 1).data[0]); }"
    )
    assert ink == [255] * 6
    assert found.page.evaluate("getComputedStyle(document.getElementById('pad')).touchAction") == "none"


def test_a_picture_that_is_dropped_is_read(trained, opened, tmp_path):
    """A file is opened, made ready like a drawing, and read; one that is no picture says so."""
    from PIL import Image

    rng = np.random.default_rng(0)
    digit = load_images("mnist").test_images[0, 0]
    Image.fromarray(255 - drawn(strokes(digit, rng), 16)).save(tmp_path / "seven.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    found = opened(trained.path)

    found.page.locator("#picture").set_input_files(tmp_path / "broken.png")
    found.page.get_by_text("This file is no picture").first.wait_for()
    found.page.locator("#picture").set_input_files(tmp_path / "seven.png")
    found.page.get_by_text("Second choice").wait_for()
    assert "sure" in found.said()
    assert found.errors == []


def test_a_number_of_a_map_is_explained_and_channels_can_be_switched_off(trained, opened):
    """The sum that is shown gives the number; with every channel of a step off, every picture gets one answer."""
    found = opened(trained.path)
    found.stroke(*SEVEN)
    before = found.said()

    steps = found.page.locator(".layer")
    steps.nth(1).get_by_text("Choose a number by its place").click()
    steps.nth(1).get_by_label("row").fill("4")
    steps.nth(1).get_by_role("button", name="Show this number").click()
    assert "conv2, channel 1, row 4, column 1: the number" in steps.nth(1).inner_text()
    assert "180 weights times 180 values" in steps.nth(1).inner_text()
    steps.nth(4).get_by_text("Break it").click()
    for number in range(1, 29):
        steps.nth(4).get_by_role("button", name=f"Switch off channel {number} of step 5", exact=True).click()
    broken = found.said()
    found.page.get_by_role("button", name="Clear").click()
    found.stroke((0.5, 0.2), (0.5, 0.8))
    assert found.said() == broken
    found.page.get_by_role("button", name="Switch everything on again").click()
    found.page.get_by_role("button", name="Clear").click()
    found.stroke(*SEVEN)
    assert found.said() == before


@pytest.mark.parametrize("kind", ["name", "class", "note"])
def test_hostile_texts_do_nothing(trained, opened, tmp_path, kind):
    """A name, a class or a layer with markup is shown as text."""
    content = content_of(trained.record, trained.store)
    values = json.loads(json.dumps(content.values))
    if kind == "name":
        values["name"] = HOSTILE
    elif kind == "class":
        values["file"]["classes"] = [HOSTILE] * 10
    else:
        values["layers"][0]["layer"] = values["licence"] = values["story"]["net"] = HOSTILE
    path = tmp_path / "page.html"
    path.write_text(page_html([PageContent(title=HOSTILE, values=values)] * 2), encoding="utf-8")

    found = opened(path)
    found.stroke(*SEVEN)

    assert found.said()
    assert found.page.evaluate("window.hacked") is None
    assert found.errors == []
    assert found.requests == [path.as_uri()]
    assert HOSTILE in found.page.locator("body").inner_text()


def test_the_policy_of_the_page_refuses_what_is_not_its_own(trained, opened):
    """An inline handler, a foreign script and a request are blocked; there is no eval."""
    found = opened(trained.path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        found.page.evaluate(
            "(address) => { const one = document.createElement('div');"
            " one.innerHTML = `<img src=data:x onerror='window.hacked=1'><img src='${address}x.png'>`;"
            " document.body.append(one); }",
            address,
        )
        assert found.page.evaluate("(to) => fetch(to).then(() => 'sent', () => 'blocked')", address) == "blocked"
        with pytest.raises(TimeoutError):
            server.accept()

    assert found.page.evaluate("window.hacked") is None
    assert sum("Content Security Policy" in text for text in found.errors) >= 3
    sources = [(files("flyweight.page") / name).read_text(encoding="utf-8") for name in SCRIPTS]
    assert not any(word in source for source in sources for word in ("eval(", "innerHTML", "new Function"))
    assert len(sources) == 10


def test_a_page_is_small_and_says_what_to_do_without_javascript(trained, opened):
    """Under 250 kB for 20,000 parameters."""
    assert trained.path.stat().st_size < MAX_BYTES
    found = opened(trained.path, java_script_enabled=False)
    assert "browser with JavaScript on" in " ".join(found.page.locator("noscript").inner_text().split())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1440])
def test_everyone_can_use_it(trained, opened, width, scheme):
    """Nothing scrolls sideways, targets are 44 pixels, and axe-core finds no violation."""
    found = opened(trained.path, width=width, color_scheme=scheme, reduced_motion="reduce")
    found.stroke(*SEVEN)
    found.said()
    for summary in found.page.locator("summary").all():
        summary.click()

    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [one.bounding_box() for one in found.page.locator("button:visible, .file, select:visible").all()]
    assert len(boxes) > 100
    assert min(min(box["width"], box["height"]) for box in boxes) >= MIN_TARGET
    if not Path(AXE).is_file():
        pytest.skip("axe-core is not installed: npm install axe-core, or set FLYWEIGHT_AXE to axe.min.js")
    found.page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    violations = found.page.evaluate("axe.run().then((result) => result.violations)")
    assert [(one["id"], [node["html"][:90] for node in one["nodes"][:3]]) for one in violations] == []


def test_two_nets_read_the_same_drawing(trained, opened, tmp_path, capsys):
    """`--compare` puts the answers beside each other."""
    store, first = trained.store, trained.record
    path = tmp_path / "two.html"
    location = ["--home", str(store.home), "--database", store.url]

    assert run_command(["page", first.id, "--compare", first.name, "--out", str(path), *location]) == 0
    found = opened(path)
    found.stroke(*SEVEN)

    assert found.said().count("Second") == 2
    assert found.page.locator("#answers .read").count() == 2
    assert str(path) in capsys.readouterr().out


def test_images_of_ones_own_are_left_out_unless_asked_for(trained, opened, tmp_path):
    """A set that is not of the catalogue is named as one of your own and has no image in the file; the page reads."""
    own = dataclasses.replace(trained.record, data_name="/home/someone/secret.npz")

    left_out = content_of(own, trained.store).values
    embedded = content_of(own, trained.store, with_images=True).values

    assert left_out["samples"] == left_out["misread"] == []
    assert "secret" not in json.dumps(left_out)
    assert len(embedded["samples"]) == 20
    assert len(embedded["misread"]) > 0
    path = tmp_path / "own.html"
    path.write_text(page_html([PageContent(title="own", values=left_out)]), encoding="utf-8")
    found = opened(path)
    found.stroke(*SEVEN)
    assert "sure. Second" in found.said()
    assert not found.page.locator("#tries").is_visible()
    assert found.errors == []


def test_a_recipe_means_its_best_run_and_one_without_says_how_to_train(trained):
    """By validation accuracy; an unknown name is refused by the store."""
    assert find_run("own/20k-fast", trained.store).id == trained.record.id
    with pytest.raises(UsageError, match="flyweight train own/8k"):
        find_run("own/8k", trained.store)
    with pytest.raises(UsageError):
        write_page(["nosuchrun"], trained.store)


def test_lessons_say_what_is_on_record(trained, opened, capsys):
    """Every figure of an answer stands in its source, or in what its command prints; a guess opens the answer."""
    page = opened(trained.path).page
    lessons = page.evaluate("LESSONS")
    root = Path(__file__).parents[2]

    for lesson in lessons:
        source = (root / lesson["source"]).read_text(encoding="utf-8")
        if lesson["source"] == "docs/counting.md":
            assert run_command(lesson["command"].replace('"', "").split(" ", 2)[1:]) == 0
            source = capsys.readouterr().out
        figures = re.findall(
            r"[0-9]{2}\.[0-9]{2} %|[0-9]{2}\.[0-9]{2} ±|\([^()]*n=[0-9]+\)|[0-9]{2,3},[0-9]{3}", lesson["answer"]
        )
        assert [figure for figure in figures if figure not in source] == []
        assert 0 <= lesson["right"] < len(lesson["choices"])
    page.locator("#lessons summary").first.click()
    page.get_by_role("button", name="It broke").click()

    assert "Yes. " in page.locator("#lessons").inner_text()
    assert len(lessons) == 12


def test_packed_images_come_back(trained, opened):
    """Long and short runs of zeros, none, and nothing but zeros."""
    rng = np.random.default_rng(0)
    images = [np.zeros((1, 28, 28), np.uint8), rng.integers(0, 2, (3, 9, 7)).astype(np.uint8) * 200]
    images.append(np.full((1, 5, 5), 255, np.uint8))
    page = opened(trained.path).page

    for image in images:
        found = page.evaluate(f"Array.from(unpacked({packed(image)!r}, {image.size}))")
        assert found == image.transpose(1, 2, 0).ravel().tolist()
