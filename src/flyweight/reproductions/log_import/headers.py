"""What a column header says that the column holds. The words are those of logs that people publish; the cells are not
known here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from flyweight.records.results import Split

Role: TypeAlias = Literal["step", "change", "net", "parameters", "accuracy"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
FIGURES: Final[tuple[Role, ...]] = ("parameters", "accuracy")

# Headers as `words` writes them. Of the patterns of a role the first is the surest.
_PATTERNS: Final[Mapping[Role, tuple[str, ...]]] = {
    "step": (
        r"^#$",
        r"^(?:s|sr|serial|exp|ex|experiment|iteration|iter|run|step|trial)? ?(?:no|nr|num|number|id|index)$",
        r"^(?:exp|ex|experiments?|iterations?|iter|it|step|run|trial|attempt|stage|version|v)$",
        r"^(?:model|name|variant|config|notebook|file)(?: name)?$",
    ),
    "change": (
        r"\b(?:chang\w*|modif\w*|tweak\w*)\b",
        r"\b(?:description|what|idea|technique|improvements?)\b",
        r"\b(?:experiment|setup|details|summary|notes?|configuration|config|method|approach|model|architecture)\b",
    ),
    "net": (
        r"\b(?:net|notation)\b",
        r"\b(?:architecture|network|layers|structure|topology|model)\b",
    ),
    "parameters": (r"\b(?:params?|parameters?)\b",),
    "accuracy": (
        r"\b(?:test|val|train)?(?:acc|accuracy|accuracies)\b|\btop 1\b",
        r"\b(?:test|val\w*)\b.*%",
    ),
}
# Headers that speak of parameters or of an accuracy, and hold neither.
_OTHERS: Final = re.compile(
    r"\b(?:hyper\w*|config\w*|settings?|limit|budget|target|goal|expected|required|loss|error|drop|gain|gap|delta"
    r"|diff\w*|chang\w*|improvement|reduction|saved|time|seconds|per)\b|δ"
)
_PARTS: Final[Mapping[Split, re.Pattern[str]]] = {
    "test": re.compile(r"\btest\w*"),
    "validation": re.compile(r"\b(?:val|valid|validation|dev)(?:acc\w*)?\b"),
    "train": re.compile(r"\btrain\w*"),
}
# Of several accuracies the one on images that nothing was learnt or chosen by comes first.
PREFERRED: Final[tuple[Split | None, ...]] = ("test", "validation", None, "train")
_PICKED: Final = re.compile(r"\b(?:best|peak|max|maximum|highest|top)\b(?! 1)")
_UNIT: Final = re.compile(r"[(\[]\s*(?:in )?(k|m|thousands?|millions?)\s*[)\]]", re.IGNORECASE)
_PERCENT: Final = re.compile(r"%|\bpercent\b|\bpct\b", re.IGNORECASE)
# The first header of a table of layers, epochs or classes.
_NO_EXPERIMENTS: Final = re.compile(r"^(?:layers?|layer type|layer name|epochs?|digit|class|label)$")


def words(header: str) -> str:
    """A header in small letters, with blanks for signs and between the words of CamelCase.

    >>> words("TestAcc_(%)"), words("# Params")
    ('test acc %', '# params')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header)
    return " ".join(re.sub(r"[^\w%#δΔ]|_", " ", spaced).lower().split())


def fit(header: str, role: Role) -> int | None:
    """How surely a header is that of a role, 0 being surest; None if it is not.

    >>> fit("Total Params", "parameters"), fit("Hyper-parameters", "parameters"), fit("Train/Test acc", "accuracy")
    (0, None, None)
    """
    said = words(header)
    if role in FIGURES and _OTHERS.search(said):
        return None
    if role == "accuracy" and len(_parts(said)) > 1:
        return None
    return next((place for place, pattern in enumerate(_PATTERNS[role]) if re.search(pattern, said)), None)


def names_figure(header: str) -> bool:
    """Whether parameters or an accuracy may stand under a header."""
    return any(fit(header, role) is not None for role in FIGURES)


def part(header: str) -> Split | None:
    """The images that a header names, if it names those of one part.

    >>> part("Val. Accuracy"), part("Accuracy")
    ('validation', None)
    """
    found = _parts(words(header))
    return found[0] if len(found) == 1 else None


def is_picked(header: str) -> bool:
    """Whether a header says that the epoch was picked for the figure: best, peak."""
    return _PICKED.search(words(header)) is not None


def is_percent(header: str) -> bool:
    return _PERCENT.search(header) is not None


def unit(header: str) -> int:
    """What a header says that its numbers are given in.

    >>> unit("Params (k)"), unit("Params")
    (1000, 1)
    """
    match = _UNIT.search(header)
    return 1 if match is None else 1_000 if match[1][0].lower() in "kt" else 1_000_000


def is_of_experiments(header: str) -> bool:
    """Whether a table with this first header may be a log of experiments, and not of layers, epochs or classes."""
    return _NO_EXPERIMENTS.search(words(header)) is None


def _parts(said: str) -> list[Split]:
    return [part for part, pattern in _PARTS.items() if pattern.search(said)]
