"""A design: a net and the settings that a search chose with it, as a value with one hash for all its spellings.

In: a net and settings. Out: the recipe that trains them. No torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flyweight.model.notation import parse_net
from flyweight.model.spec import AdaptivePool, Dropout, GlobalPool, Net, Node, Pool, Residual
from flyweight.model.tree import Nodes, branches, with_branches, without_repeats
from flyweight.recipe import Recipe, override


@dataclass(frozen=True, kw_only=True)
class Design:
    """net: in notation. settings: values of keys of a recipe, such as ("train.lr", 0.1), in the order of the keys."""

    net: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(sorted(self.settings)))

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical form: designs that differ in spelling only have the same."""
        text = json.dumps([str(canonical_net(parse_net(self.net))), self.settings])
        return hashlib.sha256(text.encode()).hexdigest()

    def recipe(self, base: Recipe, *, name: str | None = None, description: str = "") -> Recipe:
        """The recipe `base` with this net and these settings."""
        values: dict[str, Any] = {"model.net": self.net, "description": description, **dict(self.settings)}
        if name is not None:
            values["name"] = name
        return override(base, [f"{key}={json.dumps(value)}" for key, value in values.items()])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"net": self.net, "settings": dict(self.settings)}


def design_of(values: Mapping[str, Any]) -> Design:
    """The design of `Design.as_dict`."""
    return Design(net=values["net"], settings=tuple(values["settings"].items()))


def canonical_net(net: Net) -> Net:
    """A net without what changes nothing: repeats are written out, default strides left out, dropout of 0 removed."""
    return Net(_canonical(without_repeats(net.nodes)))


def _canonical(nodes: Nodes) -> Nodes:
    found: list[Node] = []
    for node in nodes:
        match node:
            case Pool(kernel=1, stride=None | 1, padding=0) | Dropout(p=0.0):
                continue
            case Pool() if node.stride == node.kernel:
                found.append(Pool(node.kind, node.kernel, None, node.padding))
            case AdaptivePool(size=1):
                found.append(GlobalPool(node.kind))
            case Residual():
                # A sum does not change with the order of its terms.
                body, shortcut = (_canonical(side) for side in branches(node))
                if shortcut and str(Net(shortcut)) < str(Net(body)):
                    body, shortcut = shortcut, body
                found += with_branches(node, [body, shortcut])
            case _ if branches(node):
                found += with_branches(node, [_canonical(side) for side in branches(node)])  # type: ignore[arg-type]
            case _:
                found.append(node)
    return tuple(found)
