"""Run folders: whole files or none, and no change unnoticed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flyweight.errors import DataError
from flyweight.records.folder import (
    read_result,
    replacing,
    verify,
    write_bytes,
    write_checksums,
    write_json,
    write_text,
)

kept_folder = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with three files and their sums."""
    write_json(tmp_path / "result.json", {"run": "x"})
    write_bytes(tmp_path / "weights.safetensors", bytes(range(256)))
    write_text(tmp_path / "metrics.csv", "epoch,lr\n1,0.1\n")
    write_checksums(tmp_path)
    return tmp_path


@kept_folder
@given(st.binary())
def test_bytes_come_back_as_written(tmp_path: Path, data: bytes) -> None:
    write_bytes(tmp_path / "weights", data)

    assert (tmp_path / "weights").read_bytes() == data


@kept_folder
@given(values)
def test_json_comes_back_as_written(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "value.json", value)

    assert json.loads((tmp_path / "value.json").read_text("utf-8")) == value


def test_json_has_sorted_keys_and_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    """A diverged run's result.json can be read by every JSON reader, and compared line by line."""
    write_json(tmp_path / "result.json", {"loss": math.nan, "best": (math.inf, 0.5), "Ä": "ö"})

    assert (tmp_path / "result.json").read_text("utf-8") == (
        '{\n  "best": [\n    null,\n    0.5\n  ],\n  "loss": null,\n  "Ä": "ö"\n}\n'
    )


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.toml", "old")

    with pytest.raises(KeyboardInterrupt):
        write_half_and_stop(tmp_path / "recipe.toml")

    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]
    assert (tmp_path / "recipe.toml").read_text() == "old"


def test_a_value_that_is_not_json_replaces_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"run": 1})

    with pytest.raises(TypeError):
        write_json(tmp_path / "result.json", {"run": object()})

    assert json.loads((tmp_path / "result.json").read_text()) == {"run": 1}


def test_the_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    """Writers that choose the format by suffix can be given it."""
    with replacing(tmp_path / "plots" / "curves.png") as unfinished:
        unfinished.write_bytes(b"png")
        suffix, folder = unfinished.suffix, unfinished.parent

    assert (suffix, folder) == (".png", tmp_path / "plots")
    assert (tmp_path / "plots" / "curves.png").read_bytes() == b"png"


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    """Permissions follow the user's umask: a colleague may read what the user's other files let them."""
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()

    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_untouched_folder_passes(folder: Path) -> None:
    """Files added later, as the report's pictures are, do no harm."""
    write_bytes(folder / "curves.png", b"later")

    verify(folder)

    assert set(json.loads((folder / "checksums.json").read_text())) == {
        "result.json",
        "weights.safetensors",
        "metrics.csv",
    }


def test_named_files_only_are_covered_when_they_are_named(folder: Path) -> None:
    write_checksums(folder, ["metrics.csv"])

    assert set(json.loads((folder / "checksums.json").read_text())) == {"metrics.csv"}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0, max_value=8 * 256 - 1))
def test_one_changed_bit_is_noticed_and_the_file_named(folder: Path, bit: int) -> None:
    whole = bytearray(range(256))
    whole[bit // 8] ^= 1 << bit % 8
    (folder / "weights.safetensors").write_bytes(whole)

    with pytest.raises(DataError, match=r"weights\.safetensors has changed"):
        verify(folder)


def test_all_faults_are_told_at_once(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    (folder / "metrics.csv").write_text("epoch,lr\n1,0.2\n")

    with pytest.raises(DataError) as caught:
        verify(folder)

    assert "weights.safetensors is missing" in str(caught.value)
    assert "metrics.csv has changed" in str(caught.value)
    assert "result.json" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(None, "is missing"), ("{", "cannot be read"), ("[]", "must map"), ('{"a": 1}', "must map"), ("\udc80", "read")],
)
def test_sums_that_are_no_sums_are_refused(tmp_path: Path, text: str | None, complaint: str) -> None:
    if text is not None:
        (tmp_path / "checksums.json").write_text(text, errors="surrogateescape")

    with pytest.raises(DataError, match=complaint):
        verify(tmp_path)


def write_half_and_stop(path: Path) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt


@pytest.mark.parametrize("content", ["[]", "3", '"words"', "not JSON"])
def test_figures_that_are_none_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    """JSON of another kind is no more a run's figures than text that is no JSON."""
    (tmp_path / "result.json").write_text(content)

    with pytest.raises(DataError, match=r"result\.json: must hold"):
        read_result(tmp_path)
