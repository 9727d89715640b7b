"""Files are written whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flyweight.files import replacing, write_bytes, write_json, write_text

kept_folder = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


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


def write_half_and_stop(path: Path) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
