"""Errors that a user can correct: each says what must hold, what was found, and what to do next.

The exit codes of the command line are here, too, so that Python and the shell agree.
"""

from __future__ import annotations

import difflib
import errno
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")

EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "usage: an option, a name or a recipe is wrong",
    3: "over budget",
    4: "target missed",
    5: "diverged",
    6: "bad data or file",
    7: "environment: something needed is missing on this machine",
    8: "export differs from its net",
    129: "the terminal was closed (SIGHUP), resumable",
    130: "interrupted (Ctrl-C), resumable",
    143: "terminated (SIGTERM), resumable",
}


MAX_LINE: Final = 300
MAX_QUOTED: Final = 100
_LONG_QUOTE: Final = re.compile(rf"""(['"])((?:(?!\1)[^\n]){{{MAX_QUOTED}}})(?:(?!\1)[^\n]){{20,}}\1""")
_LONG_WORD: Final = re.compile(rf"([^\s'\"]{{{MAX_LINE}}})[^\s'\"]+")


class FlyweightError(Exception):
    """Base of all errors that a user can correct; `exit_code` is that of the command line.

    What it quotes of the input is cut: a file of a megabyte must not give an error of a megabyte.
    """

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= MAX_LINE:
            return text
        return _LONG_WORD.sub(r"\1...", _LONG_QUOTE.sub(r"\1\2...\1", text))


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


# Errors of the operating system that are about the path that was given, and not about this machine.
_OF_PATHS: Final = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.ESPIPE,
    errno.ENXIO,
)
# ValueErrors that Python itself raises for a path with NUL and for an integer of thousands of digits.
_OF_VALUES: Final = ("embedded null", "Exceeds the limit", "source code string cannot contain null")


def plain_error(error: BaseException) -> FlyweightError | None:
    """What a user can mend of an error of Python: files, memory, encodings, nesting; None if the error is ours.

    >>> plain_error(FileNotFoundError(2, "No such file or directory", "digits.npz"))
    DataError('digits.npz: No such file or directory.')
    >>> plain_error(ZeroDivisionError())
    """
    if isinstance(error, FlyweightError):
        return error
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{_short(str(error.filename))}: "
        sentence = f"{where}{error.strerror or _short(str(error)) or type(error).__name__}."
        return DataError(sentence) if error.errno in _OF_PATHS else MissingError(sentence)
    if isinstance(error, UnicodeError):
        return DataError("text must be UTF-8, found other bytes; save the file as UTF-8, or type other characters.")
    if isinstance(error, RecursionError):
        return DataError("the input is nested too deeply; make it flatter.")
    if isinstance(error, MemoryError):
        return MissingError("the memory of this machine is too small; use fewer or smaller images, or fewer at once.")
    if isinstance(error, ValueError | SyntaxError) and str(error).startswith(_OF_VALUES):
        return UsageError(f"a value cannot be used: {_short(str(error))}.")
    return None


def in_one_line(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """A public function whose errors of files, memory, encodings and nesting are a `FlyweightError` of one line."""

    @functools.wraps(function)
    def plain(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        try:
            return function(*args, **kwargs)
        except FlyweightError:
            raise
        except Exception as error:
            known = plain_error(error)
            if known is None:
                raise
            raise known from error

    return plain


def _short(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}..."


class GateError(FlyweightError):
    """An export that does not compute what its net computes; nothing was written."""

    exit_code = 8


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


_PASSWORD: Final = re.compile(r"(\w://[^\s:/@]*:)[^\s/]*(?=@)|([?&](?:ssl)?password=)[^\s&'\"]*", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """A text without the passwords of addresses in it.

    >>> without_passwords("no server at postgresql://me:secret@host/runs?sslpassword=other&a=1")
    'no server at postgresql://me:***@host/runs?sslpassword=***&a=1'
    """
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", text)


MAX_HINTS: Final = 3
# Words of others for names that we have.
SAME_MEANING: Final = {
    "gpu": ("cuda", "mps"),
    "nvidia": ("cuda",),
    "apple": ("mps",),
    "metal": ("mps",),
    "bf16": ("bfloat16",),
    "fp32": ("float32",),
    "fashionmnist": ("fashion-mnist",),
    "fashion": ("fashion-mnist",),
    "list": ("runs", "recipes"),
    "delete": ("rm",),
    "remove": ("rm",),
    "summary": ("show",),
    "evaluate": ("report",),
    "test": ("report",),
    "fit": ("train",),
    "infer": ("predict",),
}


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint to append to an unknown-name message: " Did you mean 'x'?", or an empty string.

    A word of the same meaning comes first, then all that begin with the word, then one that is spelt alike.

    >>> nearest("cosin", ["cosine", "step"]), nearest("gpu", ["cpu", "cuda"])
    (" Did you mean 'cosine'?", " Did you mean 'cuda'?")
    >>> nearest("own/20k", ["own/20k-best", "own/8k", "own/20k-fast"])
    " Did you mean 'own/20k-best' or 'own/20k-fast'?"
    """
    names = {name.lower(): name for name in known}
    word = word.lower()
    found = [name for name in SAME_MEANING.get(word, ()) if name in names]
    found = found or [name for name in names if word and name.startswith(word)][:MAX_HINTS]
    found = found or difflib.get_close_matches(word, names, n=1)
    return f" Did you mean {' or '.join(repr(names[name]) for name in found)}?" if found else ""


def require_counts(**counts: int | None) -> None:
    """Check that seeds are 0 or more (and fit a database's integers), and other counts 1 or more.

    Raises:
        UsageError: the first that is out of range, by its name.
    """
    for name, value in counts.items():
        low, high = (0, 2**31 - 1) if name == "seed" else (1, 10_000)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name.replace('_', '-')} must be {low} to {high:,}, found {value:,}.")
