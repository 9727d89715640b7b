"""What rules ask of a net: its layers in the order in which they run, what follows what, and nets that differ in parts.

Goes in: a subject. Comes out: steps with their rows, and changed nets that were counted and fit the images, the classes
and the budget. Of a net that is somebody's own module only the rows are known. What is wrong with a net is not known
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Final, TypeAlias

from flyweight.doctor.finding import Evidence, Gain, Judgement, Remedy, Severity
from flyweight.doctor.subject import Subject
from flyweight.errors import NotationError
from flyweight.model.budget import Budget, overruns
from flyweight.model.cost import Cost, Row
from flyweight.model.count import count
from flyweight.model.notation import is_own_module, parse_net
from flyweight.model.spec import WEIGHTS, Dropout, Layer, Net, Node, Repeat, Residual, RowKind, Shared, Unused

# Where a node is written: its place, then in turn the branch (0: body, 1: shortcut) and the place in it.
Path: TypeAlias = tuple[int, ...]

# Repetitions are written out, so that one of them can be changed, in nets of at most so many layers.
MOST_WRITTEN_OUT: Final = 100

# Layers of changed nets that are counted for one remedy; that takes a tenth of a second or two.
MOST_COUNTED: Final = 2_000
FEWEST_TRIED: Final = 2


@dataclass(frozen=True, kw_only=True)
class Step:
    """A layer that runs, with its row and where it is written.

    stretch: steps with one number follow each other with nothing beside them; a residual begins and ends stretches.
    """

    layer: Layer
    row: Row
    path: Path
    stretch: int
    is_in_residual: bool


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
        """The step whose answers are the logits, but for what changes no width."""
        return self.weights[-1] if self.weights else None

    def before(self, step: Step) -> tuple[Step, ...]:
        """All that runs before a step."""
        return self.steps[: self._numbers[id(step)]]

    def after(self, step: Step) -> Iterator[Step]:
        """What follows a step as long as nothing else reads its answer."""
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
    """The net of a subject as it is written; None for somebody's own module."""
    net = _net(subject)
    return None if net is None else _written(net, subject.cost)


def written_out(subject: Subject) -> Written | None:
    """The same with its repetitions written one after the other, so that each layer can be changed alone."""
    net = _net(subject)
    if net is None:
        return None
    if len(subject.cost.rows) <= MOST_WRITTEN_OUT:
        net = Net(tuple(_without_repeats(net.nodes)))
    return _written(net, subject.cost)


def _net(subject: Subject) -> Net | None:
    text = subject.recipe.model.net
    return None if is_own_module(text) else parse_net(text)


def _without_repeats(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        match node:
            case Repeat():
                yield from tuple(_without_repeats(node.body)) * node.times
            case Shared() | Unused():
                yield replace(node, body=tuple(_without_repeats(node.body)))
            case Residual():
                body, shortcut = tuple(_without_repeats(node.body)), tuple(_without_repeats(node.shortcut))
                yield Residual(body, shortcut)
            case _:
                yield node


def _written(net: Net, cost: Cost) -> Written:
    return Written(net=net, cost=cost, steps=tuple(_Order(cost.rows).steps(net.nodes, (), is_in_residual=False)))


class _Order:
    """Takes a row for each layer on the way through a net, and counts the stretches."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows, self.stretch = iter(rows), 0

    def steps(self, nodes: Sequence[Node], above: Path, *, is_in_residual: bool) -> Iterator[Step]:
        for place, node in enumerate(nodes):
            path = (*above, place)
            match node:
                case Repeat() | Shared():
                    for _ in range(node.times):
                        yield from self.steps(node.body, (*path, 0), is_in_residual=is_in_residual)
                case Residual():
                    yield from self._residual(node, path)
                case Unused():
                    stretch = self.stretch
                    for _ in self.steps(node.body, (*path, 0), is_in_residual=is_in_residual):
                        pass  # its rows are passed over: nothing of it runs
                    self.stretch = stretch
                case _:
                    yield Step(
                        layer=node,
                        row=next(self.rows),
                        path=path,
                        stretch=self.stretch,
                        is_in_residual=is_in_residual,
                    )

    def _residual(self, node: Residual, path: Path) -> Iterator[Step]:
        for side, nodes in enumerate((node.body, node.shortcut)):
            self.stretch += 1
            yield from self.steps(nodes, (*path, side), is_in_residual=True)
        self.stretch += 1


# Rows, which every net has, somebody's own too.


def rows_of(subject: Subject, *kinds: RowKind) -> tuple[Row, ...]:
    """The rows that run of these kinds, in order."""
    return tuple(row for row in subject.cost.rows if row.is_executed and row.kind in kinds)


# Changed nets.


def nodes_with_paths(nodes: Sequence[Node], above: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node, blocks before what is in them."""
    for place, node in enumerate(nodes):
        path = (*above, place)
        yield path, node
        match node:
            case Repeat() | Shared() | Unused():
                yield from nodes_with_paths(node.body, (*path, 0))
            case Residual():
                yield from nodes_with_paths(node.body, (*path, 0))
                yield from nodes_with_paths(node.shortcut, (*path, 1))
            case _:
                pass


def rewritten(net: Net, changes: Mapping[Path, tuple[Node, ...]]) -> Net:
    """The net with other nodes in place of those at the paths; blocks in which nothing is left are left out."""
    return Net(_rewritten(net.nodes, (), changes))


def _rewritten(nodes: Sequence[Node], above: Path, changes: Mapping[Path, tuple[Node, ...]]) -> tuple[Node, ...]:
    found: list[Node] = []
    for place, node in enumerate(nodes):
        path = (*above, place)
        if path in changes:
            found += changes[path]
            continue
        match node:
            case Repeat() | Shared() | Unused():
                body = _rewritten(node.body, (*path, 0), changes)
                found += (replace(node, body=body),) if body else ()
            case Residual():
                body = _rewritten(node.body, (*path, 0), changes)
                # A body of nothing is the identity, which is written as a dropout of nothing.
                found.append(Residual(body or (Dropout(0.0),), _rewritten(node.shortcut, (*path, 1), changes)))
            case _:
                found.append(node)
    return tuple(found)


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


def _different(nets: Iterable[Net]) -> Iterator[Net]:
    """Each once, and none without a layer."""
    seen = {Net(())}
    for net in nets:
        if net not in seen:
            seen.add(net)
            yield net


def remedy(net: Written, *, gain: Gain, expected: str) -> Remedy:
    """The remedy that is a changed net."""
    return Remedy(changes=(f"model.net={net.cost.net}",), gain=gain, expected=expected)


def judgement(
    severity: Severity, *evidence: Evidence, better: Written | None, gain: Gain, expected: str, advice: str
) -> Judgement:
    """What a rule says that has a changed net as remedy; advice where there is no such net."""
    return Judgement(
        severity=severity,
        evidence=evidence,
        remedy=None if better is None else remedy(better, gain=gain, expected=expected),
        advice="" if better else advice,
    )
