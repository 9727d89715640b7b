"""What rules ask of a net: its layers in the order in which they run, what follows what, and nets that differ in parts.

Goes in: a subject. Comes out: steps with their rows, and changed nets that were counted and fit the images, the classes
and the budget. Of a module of the user's own only the rows are known. What is wrong with a net is not known
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final

from flyweight.doctor.subject import Subject
from flyweight.errors import NotationError
from flyweight.model.budget import Budget, overruns
from flyweight.model.cost import Cost, Row
from flyweight.model.count import count
from flyweight.model.notation import is_own_module, parse_net
from flyweight.model.spec import WEIGHTS, Net, RowKind
from flyweight.model.tree import Occurrence, Path, unrolled, without_repeats

# Repetitions are written out, so that one of them can be changed, in nets of at most so many layers.
MOST_WRITTEN_OUT: Final = 100

# Layers of changed nets that are counted for one remedy; that takes a tenth of a second or two.
MOST_COUNTED: Final = 2_000
FEWEST_TRIED: Final = 2


@dataclass(frozen=True, kw_only=True)
class Step(Occurrence):
    """A layer that runs, with its row."""

    row: Row


@dataclass(frozen=True, kw_only=True)
class Written:
    """A net in notation with its cost and its steps."""

    net: Net
    cost: Cost
    steps: tuple[Step, ...]

    @cached_property
    def weights(self) -> tuple[Step, ...]:
        """The steps that multiply by weights."""
        return tuple(step for step in self.steps if step.row.kind in WEIGHTS)

    @property
    def last_weight(self) -> Step | None:
        """The step whose outputs are the logits, but for what changes no width."""
        return self.weights[-1] if self.weights else None

    def before(self, step: Step) -> tuple[Step, ...]:
        """All that runs before a step."""
        return self.steps[: self._numbers[id(step)]]

    def after(self, step: Step) -> Iterator[Step]:
        """What follows a step as long as nothing else reads its output."""
        for number in range(self._numbers[id(step)] + 1, len(self.steps)):
            if self.steps[number].stretch != step.stretch:
                return
            yield self.steps[number]

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {id(step): number for number, step in enumerate(self.steps)}

    @cached_property
    def by_path(self) -> dict[Path, list[Step]]:
        """The steps that became of each layer as written."""
        found: dict[Path, list[Step]] = {}
        for step in self.steps:
            found.setdefault(step.path, []).append(step)
        return found


def written(subject: Subject) -> Written | None:
    """The net of a subject as it is written; None for a module of the user's own."""
    net = _net(subject)
    return None if net is None else _written(net, subject.cost)


def written_out(subject: Subject) -> Written | None:
    """The same with its repetitions written one after the other, so that each layer can be changed alone."""
    net = _net(subject)
    if net is None:
        return None
    if len(subject.cost.rows) <= MOST_WRITTEN_OUT:
        net = Net(without_repeats(net.nodes))
    return _written(net, subject.cost)


def _net(subject: Subject) -> Net | None:
    text = subject.recipe.model.net
    return None if is_own_module(text) else parse_net(text)


def _written(net: Net, cost: Cost) -> Written:
    rows = [(one, row) for one, row in zip(unrolled(net), cost.rows, strict=True) if row.is_executed]
    return Written(net=net, cost=cost, steps=tuple(Step(**vars(one), row=row) for one, row in rows))


# Rows, which every net has, a module of the user's own too.


def rows_of(subject: Subject, *kinds: RowKind) -> tuple[Row, ...]:
    """The rows that run of these kinds, in order."""
    return tuple(row for row in subject.cost.rows if row.is_executed and row.kind in kinds)


# Changed nets.


def counted(subject: Subject, nets: Iterable[Net]) -> Iterator[Written]:
    """Those of the nets that differ from the subject's, fit its images and classes, and are within all its budget.

    Of long nets fewer are counted, so that a diagnosis takes no longer.
    """
    budget = Budget(**subject.recipe.budget.model_dump())
    for net in islice(_different(nets), max(MOST_COUNTED // max(len(subject.cost.rows), 1), FEWEST_TRIED)):
        try:
            cost = count(net, subject.cost.input_shape)
        except NotationError:
            continue
        is_over = overruns(budget, cost, epochs=subject.recipe.train.epochs)
        if cost.net != subject.cost.net and cost.out_shape == subject.cost.out_shape and not is_over:
            yield _written(net, cost)


def best_change(
    subject: Subject,
    nets: Iterable[Net],
    *,
    is_better: Callable[[Written], bool],
    fault: Callable[[Written], float] = lambda _: 0.0,
) -> Written | None:
    """Of the counted nets that are better, the first with the least of a fault (0: it has none); None if none is."""
    return min(filter(is_better, counted(subject, nets)), key=fault, default=None)


def _different(nets: Iterable[Net]) -> Iterator[Net]:
    """Each once, and none without a layer."""
    seen = {Net(())}
    for net in nets:
        if net not in seen:
            seen.add(net)
            yield net


def net_change(net: Written | None) -> tuple[str, ...]:
    """The change of a recipe to this net; none without a net."""
    return () if net is None else (f"model.net={net.cost.net}",)


def first_change(subject: Subject, *nets: Net) -> tuple[str, ...]:
    """The change of a recipe to the first of the nets that `counted` lets pass; none if there is no such net."""
    return net_change(next(counted(subject, nets), None))
