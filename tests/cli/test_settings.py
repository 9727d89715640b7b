"""Options that change a recipe, nets instead of recipes, and what is said of a word that is not known."""

from __future__ import annotations

import importlib
import json
import re
import webbrowser
from dataclasses import replace
from pathlib import Path

import pytest

from flyweight.cli.settings import KEYS, Settings
from flyweight.cli.train import _all_over
from flyweight.model.notation import EXAMPLES, MEANINGS, parse_net
from flyweight.recipe import keys
from flyweight.records.store import Store
from tiny import write_images, write_recipe


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a home of its own, a recipe and its images."""
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FLYWEIGHT_DATABASE", raising=False)
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path)
    return tmp_path


def test_every_option_is_a_key_of_the_recipe():
    """By the name of the option, and with the value as it was typed."""
    known = {key.key for key in keys()}

    assert set(KEYS.values()) <= known
    given = Settings(**dict.fromkeys(KEYS, "1"))
    assert set(given.overrides()) == {f"{key}=1" for key in KEYS.values()}


def test_an_option_trains_as_the_key_does(flyweight):
    """The same recipe is recorded, and the summary is called by the change."""
    _, by_option, _ = flyweight("train", "tiny.toml", "--epochs", "1", "--batch-size", "20", "--lr", "2e-2", "--json")
    changes = ("train.epochs=1", "train.batch_size=20", "train.lr=0.02")
    _, by_key, _ = flyweight("train", "tiny.toml", *(f"--set={change}" for change in changes))
    _, listed, _ = flyweight("runs", "--json")

    assert len({run["recipe_hash"] for run in json.loads(listed)}) == 1
    assert json.loads(by_option)[0]["epochs"] == 1
    assert "same as" in by_key


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("tiny.toml", "--epochs", "0"), 2, "train.epochs must be a whole number of at least 1, found 0"),
        (("tiny.toml", "--lr", "fast"), 2, "found 'fast'"),
        (("tiny.toml", "--epochs", "2", "--set", "train.epochs=3"), 2, "given twice, as --epochs and as --set"),
        (("tiny.toml", "--data", "MNIST"), 2, "Did you mean 'mnist'?"),
        (("c8 r gap flat fc10", "--budget", "100"), 3, "170"),
        (("own/20k",), 2, "Did you mean 'own/20k-best' or 'own/20k-fast'"),
        (("tiny.tml",), 6, "there is no file tiny.tml; a recipe file ends in .toml. Did you mean 'tiny.toml'?"),
        (("tiny.toml", "--device", "gpu"), 2, "Did you mean 'cuda'"),
        (("c8,r,gap,flat,fc10",), 2, "'c8 r gap flat fc10'"),
        (("c8 m1x2 r gap flat fc10",), 2, "pools are square"),
        (("c8 r a2p1x0 gap flat fc10",), 2, "only kernel and padding of convolutions may be HxW"),
        (("c8s1x2 r gap flat fc10",), 2, "stride is one number, found 's1x2'"),
        (("c8 attn4 gap flat fc10",), 2, "no attention but squeeze-and-excitation, se4"),
        (("c8 r gap flat fc10 softmax",), 2, "the loss applies the softmax"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_trained(flyweight, arguments, code, expected):
    """By `train` and, where it has the option, by `check`."""
    for verb in ("train", "check"):
        if verb == "check" and "--device" in arguments:
            continue
        found, out, err = flyweight(verb, *arguments)
        assert (found, expected in " ".join((out + err).split())) == (code, True), (verb, out, err)
    assert flyweight("runs")[1] == ""


@pytest.mark.parametrize("net", ["c4 r m2 gap flat fc10", "nets.py:Tiny", "nets:Tiny", "folder/nets.py:Tiny"])
def test_a_net_alone_is_trained_with_default_settings(flyweight, folder, net):
    """In notation or as an own module, with the options of a recipe."""
    text = (
        "from torch import nn\n\n\nclass Tiny(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    (folder / "folder").mkdir()
    for path in ("nets.py", "folder/nets.py"):
        (folder / path).write_text(text)
    options = ("--data", str(write_images(folder)), "--set", "data.validation=40")

    checked, _, _ = flyweight("check", net, *options)
    code, out, _ = flyweight("train", net, *options, "--epochs", "1", "--batch-size", "20", "--json")

    assert (checked, code) == (0, 0)
    (result,) = json.loads(out)
    assert result["net"] == net
    assert result["name"] == ("Tiny" if ":" in net else "net")


def test_the_layers_of_the_notation_are_listed(flyweight):
    """Every one with its meaning, and each can be read as it stands."""
    code, out, _ = flyweight("show", "--layers", "--json")

    listed = {row["layer"] for row in json.loads(out)}
    assert code == 0
    assert set(EXAMPLES) <= listed
    assert all(str(parse_net(layer)) for layer in MEANINGS)
    assert re.search("NET is missing", flyweight("show")[2])


def test_the_report_opens_in_the_browser(flyweight, monkeypatch, tmp_path):
    """By the program that BROWSER names; without one the page is named."""
    opened = tmp_path / "opened"
    program = tmp_path / "browser"
    program.write_text(f"#!/bin/sh\necho $1 > {opened}\n")
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    importlib.reload(webbrowser)  # it reads BROWSER once in a process, and another test may have been first
    flyweight("train", "tiny.toml", "--epochs", "1")

    code, out, _ = flyweight("report", "@latest", "--open", "--json")

    assert code == 0
    assert opened.read_text().strip() == Path(json.loads(out)["report"]).as_uri()


def test_a_shell_completes_commands(flyweight, monkeypatch, tmp_path):
    """The script of the shell is written, and it knows the verbs."""
    monkeypatch.setenv("HOME", str(tmp_path))

    code, _, _ = flyweight("--install-completion", "--shell", "bash")

    (script,) = (tmp_path / ".local").rglob("flyweight")
    assert code == 0
    assert "journal" in script.read_text()


def test_a_training_starts_from_the_weights_of_a_run(flyweight):
    """The first loss is that of the kept net, not of a new one; the run is no seed of the recipe that it came from."""
    flyweight("train", "tiny.toml", "--epochs", "8")
    again = ("--lr", "1e-9", "--epochs", "1", "--set", "augment.rotate=0.0", "--set", "augment.translate=0.0")

    code, out, err = flyweight(
        "train", "--from", "@latest", *again, "--set", "model.net=c6nb bn r m2 c8nb bn r gmp flat fc10"
    )

    assert (code, "do not fit" in err) == (0, False), err
    _, listed, _ = flyweight("runs", "--json")
    later, first = json.loads(listed)
    assert later["validation_accuracy"] == pytest.approx(first["validation_accuracy"], abs=0.1)
    assert later["recipe_hash"] != first["recipe_hash"]
    assert f"from {first['id'][:12]}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--from", "@latest", "--set", "model.net=c4 r gap flat fc10"), 2, "do not fit this net"),
        (("--from", "nothing"), 2, "no run 'nothing'"),
        (("--set", "model.start=missing.safetensors", "tiny.toml"), 6, "cannot read missing.safetensors"),
        (("--set", "model.start=tiny.toml", "tiny.toml"), 6, "must hold the weights of a run"),
        (("--resume", "@latest"), 2, "flyweight train --from"),
        (("--resume", "@latest", "--epochs", "9"), 2, "flyweight train --from"),
    ],
)
def test_what_cannot_be_started_or_resumed_says_what_to_do(flyweight, arguments, code, expected):
    """Nothing is recorded."""
    flyweight("train", "tiny.toml", "--epochs", "1")

    found, _, err = flyweight("train", *arguments)

    assert (found, expected in " ".join(err.split())) == (code, True), err
    assert len(json.loads(flyweight("runs", "--json")[1])) == 1


def test_runs_are_removed_restored_and_deleted(flyweight):
    """Into the trash first, and for good only with --yes."""
    flyweight("train", "tiny.toml", "--epochs", "1")
    (run,) = json.loads(flyweight("runs", "--json")[1])

    code, out, err = flyweight("rm", "@latest")

    assert (code, run["id"] in out, f"--restore {run['id']}" in err) == (0, True, True)
    assert flyweight("runs", "--json")[1].strip() == "[]"
    assert flyweight("rm", "--restore", run["id"])[0] == 0
    assert json.loads(flyweight("runs", "--json", "--seed", "0", "--data", run["data_name"])[1]) == [run]
    assert json.loads(flyweight("runs", "--json", "--seed", "1")[1]) == []
    flyweight("rm", run["id"])
    code, _, err = flyweight("rm", "--empty")
    assert (code, "1 run for good; add --yes" in err) == (2, True)
    assert flyweight("rm", "--empty", "--yes")[1] == "deleted: 1 run\n"
    assert flyweight("rm", "--restore", run["id"])[0] == 2


def test_a_stop_that_comes_too_late_is_no_stop(flyweight):
    """A run that is finished, or all seeds of a group, exits with 0; a missing seed does not."""
    flyweight("train", "tiny.toml", "--epochs", "1", "--seeds", "2")
    records = Store.open().group(Store.open().get("@latest").group_id)

    assert _all_over(records)
    assert not _all_over(records[:1])
    assert not _all_over([replace(records[0], status="interrupted"), records[1]])
    assert not _all_over([])
