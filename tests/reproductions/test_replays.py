"""What is kept of a replay comes back from its JSON, and a file that is none is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_replays import diverged, replay

from flyweight.errors import DataError
from flyweight.reproductions.runs import differences, from_json, merged, read, to_json

accuracies = st.lists(st.floats(0.01, 1.0).map(lambda value: float(f"{value:.9g}")), min_size=1, max_size=4)


@given(accuracies, st.integers(0, 99))
def test_json_brings_back_what_was_kept(values: list[float], seed: int) -> None:
    """Finished and diverged ones, in the order of step and seed, whatever the order they came in."""
    replays = (diverged(step="000-1"), replay(values, step="003-1", seed=seed))

    text = to_json(reversed(replays))

    assert from_json(text, "text") == replays
    assert to_json(from_json(text, "text")) == text
    assert len(text.splitlines()) == 4


def test_a_figure_that_is_no_number_is_left_out() -> None:
    """JSON has no word for it, and nothing is None when it comes back as it went."""
    epoch = replay([0.5]).epochs[0]
    lost = replace(epoch, test=replace(epoch.test, loss=None, loss_error=None))  # type: ignore[type-var]
    kept = replace(replay([0.5]), epochs=(lost,))

    text = to_json([kept])

    assert from_json(text, "text") == (kept,)
    assert "null" not in text


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_kept_before_is_still_read(number: int) -> None:
    """Formats 1 and 2 have an accuracy and its images, and format 1 calls the clean figure "clean"."""
    now = to_json([replay([0.5, 0.6]), diverged(seed=1)])
    figures = re.compile(r'"correct": (\d+), "count": 10000(?=[^}]*"loss_error")')
    before = figures.sub(lambda found: f'"accuracy": {int(found[1]) / 10_000:.9g}, "images": 10000', now)
    before = before.replace('{"format": 3', f'{{"format": {number}')
    before = before.replace('"clean": ', '"honest": ') if number == 1 else before

    assert before.count('"images": 10000') == 4
    assert from_json(before, "text") == from_json(now, "text")


def test_a_kept_replay_is_replaced_only_on_request() -> None:
    """One for each step, recipe and seed, the kept one by default; the difference is known either way."""
    kept, new, other = replay([0.5]), replay([0.6]), replay([0.7], seed=1)
    elsewhere = replay([0.8], recipe_hash="another")

    found = merged([kept, other, elsewhere], [new, other])
    replaced = merged([kept, other, elsewhere], [new, other], replace=True)

    assert len(found) == len(replaced) == 3
    assert all(one in found for one in (kept, other, elsewhere))
    assert all(one in replaced for one in (new, other, elsewhere))
    assert differences([kept, other, elsewhere], [new, other]) == ((kept, new),)
    (read_again,) = from_json(to_json([replay([1 / 3])]), "text")
    assert differences([read_again], [replay([1 / 3])]) == ()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": 1}', '{"format": 1, "replays": [{"step": "x"}]}', '{"format": 99}', "\x00", "1"],
)
def test_a_text_of_another_kind_is_refused_by_name(text: str) -> None:
    """One line that names the file, whatever stands in it."""
    with pytest.raises(DataError, match=r"^kept\.json: must") as caught:
        from_json(text, "kept.json")

    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_holds_none(tmp_path: Path) -> None:
    """A folder without records is where every document begins; one of other bytes is an error."""
    assert read(tmp_path / "none.json") == ()
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"bytes\.json"):
        read(tmp_path / "bytes.json")


def test_figures_that_no_run_gives_are_refused() -> None:
    """An accuracy above 1, and a seed that is there twice: named, and nothing of the file is taken."""
    impossible = to_json([replay([0.5])]).replace('"accuracy": 0.5', '"accuracy": 1.7', 1)
    twice = to_json([replay([0.5])]).replace("[\n", "[\n" + to_json([replay([0.6])]).splitlines()[1] + ",\n", 1)

    with pytest.raises(DataError, match=r"kept\.json: 003-9 seed 0: an accuracy must be .* found 1\.7"):
        from_json(impossible, "kept.json")
    with pytest.raises(DataError, match=r"kept\.json: 003-9 seed 0 must be there once, found 2 times"):
        from_json(twice, "kept.json")
