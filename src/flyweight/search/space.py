"""The space of a search: only designs that are within every limit are ever made. No torch.

A shape and the proportions of its widths are drawn, and the widths are scaled until they fill the budget
(`widths.py`). A user narrows the space in TOML, in a table [search].
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Final

from flyweight.errors import DataError, NotationError, UsageError, nearest
from flyweight.model.arithmetic import Shape
from flyweight.model.budget import KINDS, Budget
from flyweight.model.notation import parse_net
from flyweight.model.spec import BatchNorm, Conv, Flatten, GlobalPool, Linear, Net, Node
from flyweight.recipe import keys
from flyweight.search.design import Design
from flyweight.search.mutation import Choices, block, depthwise_block, mutated, node, residual_block
from flyweight.search.widths import COUNTED, WidthModel, filled, read_widths

BLOCKS: Final = ("conv", "depthwise", "residual")
HEADS: Final = ("gap", "flat")
MAX_TRIES: Final = 400
MIN_WIDTH: Final = 2
BASE_WIDTH: Final = 16


@dataclass(frozen=True, kw_only=True)
class Space:
    """What may be drawn. depth: the least and the largest number of convolutions.

    rates: the highest learning rates by optimizer, and decays: the weight decays by optimizer, since neither means the
    same for two optimizers. keys: the values of other keys of a recipe.
    """

    blocks: tuple[str, ...] = BLOCKS
    depth: tuple[int, int] = (3, 8)
    kernels: tuple[int, ...] = (3, 5)
    activations: tuple[str, ...] = ("r", "silu")
    pools: tuple[str, ...] = ("m2", "a2")
    heads: tuple[str, ...] = HEADS
    rates: Mapping[str, tuple[float, ...]] = field(
        default_factory=lambda: {"sgd": (0.05, 0.1, 0.2), "adamw": (0.005, 0.01, 0.02)}
    )
    decays: Mapping[str, tuple[float, ...]] = field(
        default_factory=lambda: {"sgd": (0.0, 1e-4, 2e-4, 5e-4), "adamw": (0.0, 0.01, 0.05)}
    )
    keys: Mapping[str, tuple[Any, ...]] = field(
        default_factory=lambda: {
            "train.batch_size": (32, 64, 128),
            "augment.rotate": (0.0, 5.0, 8.0, 12.0),
            "augment.translate": (0.0, 0.04, 0.06, 0.1),
            "augment.scale": (0.0, 0.1),
            "augment.shear": (0.0, 8.0),
        }
    )

    @property
    def choices(self) -> Choices:
        """What edits of a net may use."""
        return Choices(**{one.name: getattr(self, one.name) for one in fields(Choices)})

    def as_dict(self) -> dict[str, Any]:
        """Plain values: the table [search] of TOML."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}


def space_of(values: Mapping[str, Any]) -> Space:
    """The space of a table [search]; what it leaves out has its default.

    Raises:
        UsageError: an unknown key or value; the message lists what is known.
    """
    known = [one.name for one in fields(Space)]
    for name in values:
        if name not in known:
            raise UsageError(f"[search] has no key {name!r}; known: {', '.join(known)}.{nearest(name, known)}")
    given = {name: _read(name, value) for name, value in values.items()}
    space = replace(Space(), **given)
    _require_known("blocks", space.blocks, BLOCKS)
    _require_known("heads", space.heads, HEADS)
    if len(space.depth) != 2 or not 1 <= space.depth[0] <= space.depth[1]:
        raise UsageError(f"[search] depth must be [least, largest] from 1 on, found {list(space.depth)}.")
    for name in ("activations", "pools"):
        for text in getattr(space, name):
            _layer(name, text)
    if any(not isinstance(kernel, int) or kernel < 1 for kernel in space.kernels):
        raise UsageError(f"[search] kernels must be whole numbers from 1 on, found {list(space.kernels)}.")
    _require_known("rates", space.rates, ("sgd", "adam", "adamw"))
    if set(space.rates) - set(space.decays):
        missing = ", ".join(sorted(set(space.rates) - set(space.decays)))
        raise UsageError(f"[search.decays] must have each optimizer of [search.rates], {missing} is missing.")
    _require_known("keys", space.keys, [key.key for key in keys() if not key.key.startswith("model.")])
    return space


def read_space(path: Path | None) -> Space:
    """The space of a TOML file with a table [search]; without a file, the default."""
    if path is None:
        return Space()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} must be TOML: {error}.") from None
    table = values.get("search")
    if not isinstance(table, dict) or values.keys() != {"search"}:
        raise UsageError(f"{path} must have the one table [search], found {', '.join(values) or 'nothing'}.")
    return space_of(table)


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """A space with what bounds it: the images and the limits. Every design of its methods is within the limits."""

    space: Space
    shape: Shape
    n_classes: int
    budget: Budget

    def __post_init__(self) -> None:
        if not any(kind in COUNTED for kind in self.budget.limits()):
            raise UsageError(
                f"a search needs a limit on one of {', '.join(COUNTED)}; give --budget, such as --budget 5k."
            )

    def draws(self, random: Random) -> Iterator[Design]:
        """Random designs without end, none twice."""
        seen = set[str]()
        while (design := self.draw(random, seen=seen)) is not None:
            seen.add(design.hash)
            yield design

    def draw(self, random: Random, *, seen: set[str] | frozenset[str] = frozenset()) -> Design | None:
        """A random design that is not among `seen` (hashes); None if there seems to be no other."""
        for attempt in range(MAX_TRIES):
            net = self._filled(_drawn(self.space, self.n_classes, self.shape, random), random)
            if net is None or (attempt < MAX_TRIES // 2 and _narrowest(net) < MIN_WIDTH):
                continue
            design = Design(net=str(net), settings=self._settings(random))
            if design.hash not in seen:
                return design
        return None

    def mutate(self, parent: Design, random: Random, *, seen: set[str] | frozenset[str] = frozenset()) -> Design | None:
        """The parent with one edit of its net or one other setting, not among `seen`; None if there seems to be no
        other."""
        net, choices = parse_net(parent.net), self.space.choices
        for _ in range(MAX_TRIES):
            if random.random() < 0.3:
                design = replace(parent, settings=self._other_setting(parent, random))
            else:
                changed = mutated(net, choices, random)
                whole = None if changed is None or not _has_layers(changed) else self._filled(changed, random)
                if whole is None:
                    continue
                design = replace(parent, net=str(whole))
            if design.hash not in seen:
                return design
        return None

    def scaled(self, net: Net | str, settings: Mapping[str, Any] | None = None) -> Design | None:
        """A known net scaled to the limits; None if it cannot be."""
        given = parse_net(net) if isinstance(net, str) else net
        classes = given.nodes[-1] if given.nodes else None
        if isinstance(classes, Linear) and classes.features != self.n_classes:
            given = Net((*given.nodes[:-1], Linear(self.n_classes, classes.bias)))
        found = self._filled(given, None)
        return None if found is None else Design(net=str(found), settings=tuple((settings or {}).items()))

    def require_feasible(self) -> None:
        """Refuse limits that nothing fits.

        Raises:
            UsageError: with the limit that even the smallest net of many exceeds.
        """
        random = Random(0)  # noqa: S311  # no secret
        lowest, example = dict.fromkeys(COUNTED, inf), dict[str, str]()
        limits = self.budget.limits()
        for _ in range(MAX_TRIES):
            model = self._model(_drawn(self.space, self.n_classes, self.shape, random))
            if model is None:
                continue
            widths = [1 if number in model.free else width for number, width in enumerate(model.base)]
            if model.fits(self.budget, widths):
                return
            for kind in COUNTED:
                if (need := model.need(kind, widths)) < lowest[kind]:
                    lowest[kind], example[kind] = need, str(model.with_widths(widths))
        if lowest["params"] == inf:
            side = "x".join(map(str, self.shape[1:]))
            raise UsageError(f"no net of the space fits images of {side} pixels; allow less depth or other pools.")
        over = [kind for kind in COUNTED if kind in limits and lowest[kind] > limits[kind]]
        if not over:
            raise UsageError(f"no net of the space is within {self.budget} at once; raise one of the limits.")
        reasons = [
            f"{KINDS[kind].noun}: the smallest needs {lowest[kind]:,}, the budget is {limits[kind]:,} ({example[kind]})"
            for kind in over
        ]
        raise UsageError(f"no net of the space fits the budget; {'; '.join(reasons)}. Raise the budget.")

    def _filled(self, net: Net, random: Random | None) -> Net | None:
        model = self._model(net)
        return None if model is None else filled(model, self.budget, random)

    def _model(self, net: Net) -> WidthModel | None:
        try:
            return read_widths(net, self.shape)
        except NotationError:
            return None

    def _settings(self, random: Random) -> tuple[tuple[str, Any], ...]:
        space = self.space
        optimizer = random.choice(sorted(space.rates))
        chosen = {name: random.choice(values) for name, values in sorted(space.keys.items())}
        return tuple((self._of_optimizer(optimizer, random) | chosen).items())

    def _of_optimizer(self, optimizer: str, random: Random) -> dict[str, Any]:
        return {
            "train.optimizer": optimizer,
            "train.lr": random.choice(self.space.rates[optimizer]),
            "train.weight_decay": random.choice(self.space.decays[optimizer]),
        }

    def _other_setting(self, parent: Design, random: Random) -> tuple[tuple[str, Any], ...]:
        found = dict(parent.settings)
        optimizer = found.get("train.optimizer", "sgd")
        choices = {name: values for name, values in self.space.keys.items() if set(values) - {found.get(name)}}
        choices |= {
            "train.lr": self.space.rates.get(optimizer, ()),
            "train.weight_decay": self.space.decays.get(optimizer, ()),
        }
        if set(self.space.rates) - {optimizer}:
            choices["train.optimizer"] = tuple(sorted(self.space.rates))
        name = random.choice(sorted(choices))
        others = [value for value in choices[name] if value != found.get(name)]
        if name == "train.optimizer":
            return tuple((found | self._of_optimizer(random.choice(others), random)).items())
        return tuple((found | {name: random.choice(others)}).items()) if others else parent.settings


def _drawn(space: Space, n_classes: int, shape: Shape, random: Random) -> Net:
    """A shape with proportions of its widths; its layers may not fit the image."""
    depth = random.randint(*space.depth)
    n_pools = random.randint(1, max(1, min(3, min(shape[1:]).bit_length() - 2)))
    pooled = set(random.sample(range(depth), min(depth, n_pools)))
    growth, is_padded = random.choice((1.0, 1.0, 1.25, 1.5, 2.0)), random.random() < 0.4
    activation, pool = node(random.choice(space.activations)), node(random.choice(space.pools))
    width, nodes = float(BASE_WIDTH), list[Node]()
    for index in range(depth):
        kind = random.choice(space.blocks) if index and random.random() < 0.4 else _plain_block(space)
        kernel = _kernel(space, random, is_first=index == 0)
        channels = max(1, round(width * random.uniform(0.75, 1.33)))
        padding = kernel // 2 if is_padded else 0
        if kind == "residual" and index:
            channels = _last_width(nodes)
            nodes += residual_block(channels, activation)
        elif kind == "depthwise" and index:
            nodes += depthwise_block(channels, kernel, activation, padding=padding)
        else:
            nodes += block(channels, kernel, activation, padding=padding)
        if index in pooled:
            nodes.append(pool)
            width *= growth
    head = [GlobalPool("average")] if random.choice(space.heads) == "gap" else []
    return Net((*nodes, *head, Flatten(), Linear(n_classes)))


def _plain_block(space: Space) -> str:
    return "conv" if "conv" in space.blocks else space.blocks[0]


def _kernel(space: Space, random: Random, *, is_first: bool) -> int:
    """The smallest kernel mostly, but in the first layer, where channels are few."""
    if is_first or random.random() < 0.15:
        return random.choice(space.kernels)
    return min(space.kernels)


def _last_width(nodes: list[Node]) -> int:
    widths = [one.channels for one in nodes if isinstance(one, Conv)]
    return widths[-1]


def _narrowest(net: Net) -> int:
    return min((one.channels for one in net.nodes if isinstance(one, Conv)), default=MIN_WIDTH)


def _has_layers(net: Net) -> bool:
    """Whether an edit left something to train before the head."""
    return any(isinstance(one, Conv) for one in net.nodes) and not isinstance(net.nodes[0], BatchNorm)


def _read(name: str, value: Any) -> Any:
    if name in ("rates", "decays", "keys"):
        if not isinstance(value, dict):
            raise UsageError(f"[search] {name} must be a table of lists, found {value!r}.")
        return {key: _list(f"{name}.{key}", one) for key, one in _flat(value).items()}
    return _list(name, value)


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """TOML reads train.lr = [...] as a table in a table."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def _list(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise UsageError(f"[search] {name} must be a list of one or more values, found {value!r}.")
    return tuple(value)


def _layer(name: str, text: object) -> Node:
    found = parse_net(text).nodes if isinstance(text, str) else ()
    if len(found) != 1:
        raise UsageError(f"[search] {name} must be single layers such as r or m2, found {text!r}.")
    return found[0]


def _require_known(name: str, values: Any, known: Any) -> None:
    for value in values:
        if value not in known:
            hint = nearest(str(value), list(known))
            shown = ", ".join(known) if len(list(known)) < 12 else "flyweight recipes --keys lists them"
            raise UsageError(f"[search] {name}: {value!r} is not known; known: {shown}.{hint}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: list(one) for name, one in value.items()}
    return list(value)
