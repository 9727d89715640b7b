"""What others have written commands no terminal, and no password of a database is shown."""

from __future__ import annotations

import json

import pytest

from flyweight.cli.output import say, say_json, talk
from flyweight.errors import without_passwords
from flyweight.records.database import storable
from flyweight.records.store import Store
from tiny import write_recipe

HOSTILE = "evil\x1b]0;title\x07\x1b[2J\u202etxt.\u2066\x9b31m\u2028name\rgone\x7f\u200f"
UNSEEN = set("\x1b\x07\u202e\u2066\x9b\u2028\r\x7f\u200f")


def test_texts_are_printed_escaped(capsys):
    """On both streams; JSON still gives the text itself."""
    say(HOSTILE)
    talk(HOSTILE)
    say_json({HOSTILE: HOSTILE})

    out, err = capsys.readouterr()
    assert not UNSEEN & set(out + err)
    assert "evil\\u001b]0;title" in err
    assert json.loads(out[out.index("{") :]) == {HOSTILE: HOSTILE}


def test_a_hostile_recipe_and_run_are_shown_escaped(flyweight, tmp_path, monkeypatch):
    """By every command that shows a name, a note, a class or a path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home\x1b[2J"))
    text = write_recipe(tmp_path).read_text().replace('"tiny"', json.dumps(HOSTILE + "\nsecond line"))
    path = tmp_path / "theirs\u202e.toml"
    path.write_text(text)
    data = ("--set", "train.epochs=1")
    commands = [
        ("check", str(path)),
        ("show", str(path)),
        ("train", str(path), *data, "--study", HOSTILE, "--expect", HOSTILE),
        ("runs",),
        ("runs", "--md"),
        ("runs", "--csv"),
        ("runs", "--json"),
        ("report", "@latest"),
        ("doctor", str(path)),
        ("doctor", "@latest", "--no-probes"),
        ("journal", HOSTILE),
        ("compare", "@latest", "@latest"),
        ("predict", "@latest", HOSTILE),
        ("rm", "@latest", "--yes"),
        (HOSTILE,),
        ("train", HOSTILE),
        ("train", "own/8k", "--set", HOSTILE),
        ("show", HOSTILE + ":Net"),
    ]

    printed = {words: flyweight(*words) for words in commands}

    assert len(printed) == 18
    assert [printed[words][0] for words in commands[:8]] == [0] * 8
    for words, (code, out, err) in printed.items():
        assert not UNSEEN & set(out + err), words
        assert code in (0, 2, 6), (words, err)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:se:cr@et@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg://me:secret@host", "postgresql+psycopg://me:***@host"),
        ("postgresql://host/db?user=me&password=secret&a=1", "postgresql://host/db?user=me&password=***&a=1"),
        ("no address: a@b, 3:4", "no address: a@b, 3:4"),
        ("https://example.org/a:b", "https://example.org/a:b"),
    ],
)
def test_an_address_is_shown_without_its_password(text, shown, capsys):
    """In what is printed and in what is stored with a run."""
    say(text)

    assert (without_passwords(text), storable(text), capsys.readouterr().out) == (shown, shown, f"{shown}\n")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hush@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=hush",
        "oracle://me:hush@h/d",
    ],
)
def test_no_error_of_a_database_has_its_password(address, flyweight, tmp_path):
    """Neither the command line nor Python."""
    code, out, err = flyweight("runs", "--database", address, "--home", str(tmp_path))

    assert code in (2, 7)
    assert "hush" not in out + err
    with pytest.raises(Exception, match=r".") as caught:
        Store.open(address, home=tmp_path)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("epochs", [3 * 10**9, 10**19, 10**300])
def test_more_epochs_than_a_database_counts_are_a_fault(epochs, flyweight):
    """Before anything is trained."""
    code, out, _ = flyweight("check", "own/8k", "--epochs", str(epochs))

    assert (code, "train.epochs: must be at most 2,147,483,647" in out) == (2, True)


def test_a_run_of_a_very_long_name_is_quoted_short(flyweight, tmp_path):
    """An id of 100,000 characters."""
    code, _, err = flyweight("report", "1" * 100_000, "--home", str(tmp_path))

    assert (code, len(err) < 300) == (2, True)


@pytest.mark.parametrize("option", ["--study", "--expect"])
def test_bytes_that_are_no_text_are_refused_before_training(option, flyweight):
    """As a shell gives them to Python."""
    code, out, err = flyweight("train", "own/8k", option, "a\udcff")

    assert (code, out) == (2, "")
    assert f"{option} must be text in UTF-8" in err
