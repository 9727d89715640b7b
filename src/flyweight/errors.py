"""Errors that a user can correct: each says what must hold, what was found, and what to do next.

The exit codes of the command line are here, too, so that Python and the shell agree.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "usage: an option, a name or a recipe is wrong",
    3: "over budget",
    4: "target missed",
    5: "diverged",
    6: "bad data or file",
    7: "environment: something needed is missing on this machine",
    130: "interrupted (Ctrl-C), resumable",
    143: "terminated (SIGTERM), resumable",
}


class FlyweightError(Exception):
    """Base of all errors that a user can correct; `exit_code` is that of the command line."""

    exit_code: ClassVar[int] = 1


class UsageError(FlyweightError):
    """A name, an option or a recipe that is not valid."""

    exit_code = 2


class NotationError(UsageError):
    """The text of a net that does not parse, or whose layers do not fit together."""


class RecipeError(UsageError):
    """A recipe with faults; the message lists all of them."""


class OverBudgetError(FlyweightError):
    """A recipe that needs more than its budget allows; nothing was spent."""

    exit_code = 3


class TargetMissedError(FlyweightError):
    """A finished run that did not reach its target."""

    exit_code = 4


class DivergedError(FlyweightError):
    """A run whose loss or weights stopped being numbers."""

    exit_code = 5


class DataError(FlyweightError):
    """A data set, image, record or run file that is damaged or has the wrong format."""

    exit_code = 6


class MissingError(FlyweightError):
    """Something on this machine is not installed, not reachable or not writable."""

    exit_code = 7


@contextmanager
def needs_torch(what: str) -> Iterator[None]:
    """A context in which missing torch is an error of one line that names `what` and the install command.

    Raises:
        MissingError: there is no torch.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise MissingError(f"{what} needs torch, which is not installed: pip install 'flyweight[train]'") from None


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint to append to an unknown-name message: " Did you mean 'x'?", or an empty string.

    >>> nearest("cosin", ["cosine", "step"])
    " Did you mean 'cosine'?"
    """
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def require_counts(**counts: int | None) -> None:
    """Check that seeds are 0 or more (and fit a database's integers), and other counts 1 or more.

    Raises:
        UsageError: the first that is out of range, by its name.
    """
    for name, value in counts.items():
        low, high = (0, 2**31 - 1) if name == "seed" else (1, 10_000)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name.replace('_', '-')} must be {low} to {high:,}, found {value:,}.")
