"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flyweight.cli.app import run

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def flyweight(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command; gives its exit code, what it printed on stdout, and on stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
