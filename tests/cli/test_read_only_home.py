"""A home that cannot be written, such as a mounted archive: what reads works, what writes is refused in one line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flyweight.cli.app import run
from flyweight.experiment.run import run as train
from flyweight.records.store import Store
from tiny import tiny_recipe


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that cannot be written: for root, who may write anything, a mount; for others, rights."""
    if os.geteuid():
        paths = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in paths:
            path.chmod(0o555)
        yield
        for path in paths:
            path.chmod(0o755)
        return
    options = (("--bind", folder), ("-o", "remount,ro,bind"))
    try:
        if any(subprocess.run(["mount", *given, folder], capture_output=True).returncode for given in options):
            pytest.skip("root may write anything, and nothing can be mounted here")
        yield
    finally:
        subprocess.run(["umount", folder], capture_output=True)


def test_runs_in_a_folder_that_cannot_be_written_are_listed_and_reported(tmp_path, capsys):
    """What is only in the write-ahead log is read, too; nothing is written there, and training is refused."""
    home = tmp_path / "home"
    store = Store.open(home=home)
    record = train(tiny_recipe(tmp_path), store=store, device="cpu", threads=1)
    options = ("--home", str(home))
    with read_only(home):
        before = sorted(path.name for path in home.rglob("*"))
        codes = [run((*command, *options)) for command in (("runs",), ("report", record.id), ("runs", "--verify"))]
        told = capsys.readouterr()
        refused = run(("train", "own/8k", *options))
        after = sorted(path.name for path in home.rglob("*"))

    assert codes == [0, 0, 0], told.err
    assert f"{record.test_accuracy:.2%}" in told.out
    assert "the page was not written" in told.err
    assert "1 run checked, 0 not as recorded" in told.err
    assert refused == 7
    assert "is not writable" in capsys.readouterr().err
    assert before == after
