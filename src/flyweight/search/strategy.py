"""What a search tries next: regularised evolution, local search or random designs, with successive halving. No torch.

In: the trials so far. Out: a trial that is promoted to its next rung, or a new design. Pure but for the source of
chance. Halving is asynchronous (ASHA, arXiv 1810.05934): a trial is promoted when it is among the best third of those
that have ended its rung, so that no worker waits for others. Evolution is that of arXiv 1802.01548: the parent is the
best of a few of the youngest trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args

from flyweight.model.budget import Budget, Kind
from flyweight.model.count import count
from flyweight.records.search_record import NewTrial, Origin, TrialFigures
from flyweight.search.design import Design, design_of
from flyweight.search.front import cost_of, layers
from flyweight.search.space import Bounded

StrategyName: TypeAlias = Literal["evolution", "local", "random"]
STRATEGIES: Final[tuple[StrategyName, ...]] = get_args(StrategyName)

REDUCTION: Final = 3
FIRST_RANDOM: Final = 6  # random designs before the first mutation
POPULATION: Final = 24
TOURNAMENT: Final = 6
SMALLEST: Final = 0.1  # with two aims: the smallest limit, as a share of the budget
BEST_OF_LOCAL: Final = 3
SHARE_OF_RANDOM: Final = 0.1
ALWAYS_KEPT: Final = 9  # trials of a rung that are never given up


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """known: designs to try first, in order; the first of them is trained in full whatever it reaches.

    pareto: a cost that is an aim beside accuracy.

    rungs: epochs after which a trial is compared, the last one is the full length.
    """

    name: StrategyName
    bounded: Bounded
    known: tuple[Design, ...]
    rungs: tuple[int, ...]
    seed: int = 0
    max_trials: int | None = None
    pareto: Kind | None = None

    def choose(self, trials: Sequence[TrialFigures], design: Callable[[int], dict[str, Any]]) -> int | NewTrial | None:
        """A trial to promote, by its number, or a new one; None if there is no more to try."""
        promoted = promotable(trials, len(self.rungs), self.pareto)
        if promoted is None and self.max_trials is not None and len(trials) >= self.max_trials:
            return None
        return promoted if promoted is not None else self._new(trials, design)

    def _new(self, trials: Sequence[TrialFigures], design: Callable[[int], dict[str, Any]]) -> NewTrial | None:
        # A number of its own for each trial: a search that is resumed goes on as if it had not been stopped.
        random = Random(self.seed * 1_000_003 + len(trials))  # noqa: S311  # no secret
        seen = {trial.design_hash for trial in trials}
        for known in self.known:
            if known.hash not in seen:
                return self._trial(known, "known")
        parent = self._parent(trials, random)
        if parent is not None:
            child = self._bounded(random).mutate(design_of(design(parent.number)), random, seen=seen)
            if child is not None:
                return self._trial(child, "mutation", parent.number)
        drawn = self._bounded(random).draw(random, seen=seen)
        return None if drawn is None else self._trial(drawn, "random")

    def _bounded(self, random: Random) -> Bounded:
        """With two aims, designs of all sizes: a limit on the cost from a tenth of the budget on."""
        if self.pareto is None:
            return self.bounded
        limit = int(self.bounded.budget.limits()[self.pareto] * SMALLEST ** random.random())
        return replace(self.bounded, budget=self.bounded.budget.with_limits(Budget(**{self.pareto: max(1, limit)})))

    def _parent(self, trials: Sequence[TrialFigures], random: Random) -> TrialFigures | None:
        measured = [trial for trial in trials if trial.rung]
        n_random = sum(trial.origin == "random" for trial in trials)
        if self.name == "random" or n_random < FIRST_RANDOM or not measured or random.random() < SHARE_OF_RANDOM:
            return None
        if self.pareto is not None:
            largest = cost_of(random.choice(measured), self.pareto)
            measured = [trial for trial in measured if cost_of(trial, self.pareto) <= largest]
        if self.name == "local":
            return random.choice(sorted(measured, key=lambda trial: trial.rank)[-BEST_OF_LOCAL:])
        youngest = measured[-POPULATION:]
        return max(random.sample(youngest, min(TOURNAMENT, len(youngest))), key=lambda trial: trial.rank)

    def _trial(self, design: Design, origin: Origin, parent: int | None = None) -> NewTrial:
        cost = count(design.net, self.bounded.shape)
        return NewTrial(
            design=design.as_dict(),
            design_hash=design.hash,
            origin=origin,
            parent=parent,
            params=cost.params,
            macs=cost.macs,
            activation_bytes=cost.activation_bytes,
            flash_bytes=cost.flash_bytes,
        )


def rungs_of(epochs: int) -> tuple[int, ...]:
    """The epochs after which trials of this length are compared: a ninth, a third and all of them.

    >>> rungs_of(20), rungs_of(4), rungs_of(1)
    ((2, 7, 20), (1, 4), (1,))
    """
    parts = {max(1, round(epochs / REDUCTION**power)) for power in (2, 1, 0)}
    return tuple(sorted(parts))


def promotable(trials: Iterable[TrialFigures], n_rungs: int, pareto: Kind | None = None) -> int | None:
    """The number of the best trial among those that may go on, from the highest rung down; None if there is none."""
    trials = tuple(trials)
    for rung in range(n_rungs - 1, 0, -1):
        order = _ordered(trials, rung, pareto)
        allowed = order[: len(order) // REDUCTION]
        # The first trial goes on whatever it reaches: it is the first useful answer, and what others are compared with.
        waiting = [trial for trial in order if trial.status == "paused" and trial.rung == rung]
        for trial in waiting:
            if trial in allowed or trial.number == 1:
                return trial.number
    return None


def hopeless(trials: Sequence[TrialFigures], n_rungs: int, pareto: Kind | None = None) -> tuple[int, ...]:
    """The paused trials below the better half of their rung: they are given up, so that their files can go."""
    found = []
    for rung in range(1, n_rungs):
        order = _ordered(trials, rung, pareto)
        kept = max(ALWAYS_KEPT, len(order) // 2)
        found += [trial.number for trial in order[kept:] if trial.status == "paused" and trial.rung == rung]
    return tuple(found)


def _ordered(trials: Iterable[TrialFigures], rung: int, pareto: Kind | None) -> list[TrialFigures]:
    """The trials that have ended a rung, the best first, of equal ones the older; with two aims, front after front."""
    ended = [trial for trial in trials if trial.rung >= rung]
    if pareto is not None:
        fronts = layers(ended, lambda trial: cost_of(trial, pareto), lambda trial: trial.accuracies[rung - 1])
        return [trial for front in fronts for trial in front[::-1]]
    return sorted(ended, key=lambda trial: (-trial.accuracies[rung - 1], trial.number))
