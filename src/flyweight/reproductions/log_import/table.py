"""Somebody else's experiment log as a value: rows of claims, and how they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flyweight.reproductions.document import Claim
from flyweight.reproductions.log_import.headers import Role


@dataclass(frozen=True, kw_only=True)
class Mean:
    """An accuracy over seeds, as fractions, with the text of its figures. n_seeds: None where it is not given.

    sd: what stands after the ±, taken for the standard deviation of the seeds; half a last digit where that is 0.
    """

    value: float
    sd: float
    reported: str
    n_seeds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment. number: from 1; line: of the file. The texts are as a reader sees them, "" where there is none.

    within: the reported parameters can stand for counts less than this from them: 1 for an exact count, 100 for
    "22.2k". mean: the accuracy once more, where it is one over seeds.
    """

    number: int
    line: int
    step: str
    change: str = ""
    net: str = ""
    parameters: Claim | None = None
    within: int = 1
    accuracy: Claim | None = None
    mean: Mean | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A log as claims. label: what it is called; line: of its headers; columns: the headers as printed, by what was
    taken from them; notes: what a reader should know of how it was read."""

    label: str
    line: int
    columns: Mapping[Role, str]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    is_transposed: bool = False
