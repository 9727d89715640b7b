"""How a search ended, as a value that the database keeps whole. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A design in the finals. in_search: its validation accuracy as a trial; accuracies: on the fresh seeds."""

    trial: int
    net: str
    settings: dict[str, Any]
    params: int
    in_search: float | None
    accuracies: tuple[float, ...]
    recipe_hash: str

    @property
    def mean(self) -> float | None:
        """Mean validation accuracy on the fresh seeds; None if none finished."""
        return fmean(self.accuracies) if self.accuracies else None

    @property
    def shrinkage(self) -> float | None:
        """How much lower it is on fresh seeds than it was in the search, as a fraction."""
        return None if self.mean is None or self.in_search is None else self.in_search - self.mean


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Winner less first recipe on one split, with its 95 % interval and Welch's p; fractions."""

    part: str
    winner: tuple[float, ...]
    first: tuple[float, ...]
    difference: float
    low: float | None
    high: float | None
    p: float | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The end of a search. winner: its trial. is_front: whether the finalists are the front of two aims.

    first: the recipe that the user began with, scaled to the budget.

    differences: empty if the winner is the first design. recipe: the winner's, as TOML. n_seconds: of all trainings.
    """

    name: str
    winner: int
    finalists: tuple[Finalist, ...]
    first: Finalist
    differences: tuple[Difference, ...]
    recipe: str
    test: tuple[float, ...]
    n_trials: int
    seconds: float
    is_front: bool = False

    @property
    def best(self) -> Finalist:
        """The winner."""
        return next(one for one in (*self.finalists, self.first) if one.trial == self.winner)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def result_of(values: dict[str, Any]) -> SearchResult:
    """The result of `SearchResult.as_dict`."""
    finalists = [_finalist(one) for one in values["finalists"]]
    differences = [
        Difference(**{**one, "winner": tuple(one["winner"]), "first": tuple(one["first"])})
        for one in values["differences"]
    ]
    return SearchResult(
        **{
            **values,
            "finalists": tuple(finalists),
            "first": _finalist(values["first"]),
            "differences": tuple(differences),
            "test": tuple(values["test"]),
        }
    )


def _finalist(values: dict[str, Any]) -> Finalist:
    return Finalist(**{**values, "accuracies": tuple(values["accuracies"])})
