"""`flyweight export`: what it writes, what it refuses, and what stays behind when a net is not the same: nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import flyweight.export.write as writing
from flyweight.cli.app import run as run_command
from flyweight.errors import EXIT_CODES
from flyweight.experiment.run import run
from flyweight.export.format import from_json
from flyweight.records.store import Store
from tests.tiny import tiny_recipe, write_recipe


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home with one finished run of a tiny recipe; its images are where they were when it trained."""
    recipe = tiny_recipe(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))
    run(recipe, seed=0, store=Store.open(home=tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(*arguments: str) -> int:
    return run_command(["export", *arguments])


needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed")


@needs_compiler
def test_c_is_written_compiled_and_compared(home, capsys) -> None:
    """The files compile, the card has the int8 accuracy, and the opening of the test images is counted, once."""
    assert export("@latest", "--to", "c", "--out", "net", "--json") == 0

    card = json.loads(capsys.readouterr().out)["card"]
    tested = subprocess.run(["make", "-C", "net", "test"], capture_output=True, text=True, check=True)
    record = Store.open().get("@latest")
    assert "20 of 20 images as expected" in tested.stdout
    assert sorted(path.name for path in (home / "net").glob("*.[ch]")) == ["main.c", "tiny.c", "tiny.h"]
    assert [one["images"] for one in card["compared"]] == [40, 240]
    assert card["int8"]["test"]["count"] == 60
    assert record.test_openings == 2
    assert Store.open().folder(record.id).result().test_openings == 2
    assert str(home) not in "".join(path.read_text() for path in (home / "net").glob("*.[ch]"))


def test_int8_is_a_net_that_can_be_read_again(home, capsys) -> None:
    """The JSON file has the same card, and its script stands beside it."""
    assert export("@latest", "--to", "int8", "--out", "net", "--json") == 0

    card = json.loads(capsys.readouterr().out)["card"]
    file = from_json((home / "net" / "tiny.json").read_text())
    assert file.card == card
    assert file.class_names == tuple("0123456789")
    assert (home / "net" / "int8.js").exists()


@needs_compiler
@pytest.mark.parametrize(("target", "file"), [("arduino", "src/tiny.c"), ("micropython", "tiny.py")])
def test_targets_of_small_boards_have_the_card(home, capsys, target, file) -> None:
    """In a comment, with what was compared; the paths of this machine are in nothing."""
    assert export("@latest", "--to", target, "--out", "net", "--json") == 0

    card = json.loads(capsys.readouterr().out)["card"]
    written = [path for path in (home / "net").rglob("*") if path.is_file()]
    assert "test, int8" in (home / "net" / file).read_text()
    assert [one["images"] for one in card["compared"]] == [40, {"arduino": 240, "micropython": 20}[target]]
    assert not [path for path in written if str(home).encode() in path.read_bytes()]


def test_a_card_and_weights_need_no_comparison(home, capsys) -> None:
    """README.md has the recipe and the licence of the data; the weights are those of the run."""
    assert export("@latest", "--to", "card", "--out", "net") == 0
    assert export("@latest", "--to", "safetensors", "--out", "net") == 0

    store = Store.open()
    record = store.get("@latest")
    readme = (home / "net" / "README.md").read_text()
    assert (home / "net" / "tiny.safetensors").read_bytes() == store.folder(record.id).file("weights").read_bytes()
    assert record.recipe["model"]["net"] in readme
    assert "that of your own images" in readme
    assert str(home) not in readme
    assert record.test_openings == 1


def test_onnx_is_compared_in_onnxruntime(home, capsys) -> None:
    """Both files have the card as metadata, and the paths of this machine in nothing."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    assert export("@latest", "--to", "onnx", "--out", "net", "--json") == 0

    card = json.loads(capsys.readouterr().out)["card"]
    for name in ("tiny.onnx", "tiny_int8.onnx"):
        found = {one.key: one.value for one in onnx.load(home / "net" / name).metadata_props}
        assert {"name", "opset", "parameters", "run", "data", "classes", "test, float32"} <= set(found)
        assert str(home).encode() not in (home / "net" / name).read_bytes()
    assert [one["images"] for one in card["compared"]] == [40, 240, 240]


@pytest.mark.parametrize("changed", ["tiny.c", "weights"])
@needs_compiler
def test_nothing_is_written_if_the_net_is_not_the_same(home, capsys, monkeypatch, changed) -> None:
    """Exit code 8, and the message names images that differ. Here one weight of C, or of the fold, is changed."""
    if changed == "tiny.c":
        real = writing.c_files

        def spoiled(file, **more):
            texts = real(file, **more)
            first = texts["tiny.c"].index("static const int32_t bias0")
            return texts | {"tiny.c": texts["tiny.c"][:first] + texts["tiny.c"][first:].replace("    ", "    99", 1)}

        monkeypatch.setattr(writing, "c_files", spoiled)
    else:
        store = Store.open()
        folder = store.folder(store.get("@latest").id)
        weights = folder.weights()
        tensors = {name: np.roll(tensor, 1) for name, tensor in weights.tensors.items()}
        import dataclasses

        folder.write_weights(dataclasses.replace(weights, tensors=tensors))
        folder.write_checksums()

    assert export("@latest", "--to", "c", "--out", "net") == 8

    said = capsys.readouterr().err
    assert "Nothing was written" in said
    assert "validation image" in said
    assert not (home / "net").exists()
    assert Store.open().get("@latest").test_openings == 1
    assert EXIT_CODES[8] == "export differs from its net"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["@latest", "--to", "tflite"], 2, "unknown target 'tflite'; known: onnx, int8, c, arduino"),
        (["@latest", "--to", "c", "--gate-images", "20"], 2, "--gate-images must be at least 500, found 20"),
        (
            ["own/8k", "--to", "c"],
            2,
            "there is no finished run of own/8k to export; train one with: flyweight train own/8k",
        ),
        (["zzz", "--to", "c"], 2, "no run 'zzz'"),
    ],
)
def test_what_cannot_be_exported_is_refused(home, capsys, arguments, code, message) -> None:
    """In one line, with what to do."""
    assert export(*arguments) == code

    assert message in capsys.readouterr().err.replace("\n  ", " ")


def test_missing_or_changed_images_are_exit_code_7(home, capsys) -> None:
    """With the place where they were."""
    (home / "digits.npz").unlink()

    assert export("@latest", "--to", "int8") == 7
    assert "digits.npz" in capsys.readouterr().err


def test_without_a_compiler_only_unchecked_is_written(home, capsys, monkeypatch) -> None:
    """Exit code 7 says what to install; --unchecked writes it, and the files say so."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)

    assert export("@latest", "--to", "c", "--out", "net") == 7
    said = capsys.readouterr().err
    assert not (home / "net").exists()
    assert export("@latest", "--to", "c", "--out", "net", "--unchecked") == 0

    assert "install one (Debian: apt install gcc), or add --unchecked" in said
    assert "compared: not checked" in (home / "net" / "tiny.c").read_text()


def test_files_of_before_are_kept(home, capsys) -> None:
    """They are replaced only with --overwrite."""
    assert export("@latest", "--to", "card", "--out", "net") == 0

    assert export("@latest", "--to", "card", "--out", "net") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert export("@latest", "--to", "card", "--out", "net", "--overwrite") == 0


def test_a_recipe_means_its_best_run(home, capsys) -> None:
    """By validation accuracy."""
    recipe = write_recipe(home)
    store = Store.open()
    run(tiny_recipe(home), seed=1, store=store)
    best = max(store.runs(), key=lambda one: (one.validation_accuracy, one.id))

    assert export(str(recipe), "--to", "card", "--out", "net", "--json") == 0

    assert json.loads(capsys.readouterr().out)["card"]["run"] == best.id
