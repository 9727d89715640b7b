"""A net as a recipe names it: in our notation, or "file:Class", a module of the user's own."""

from __future__ import annotations

from flyweight.model.cost import Cost, walk
from flyweight.model.layout import Shape


def is_own_module(net: str) -> bool:
    """Whether a net is "file:Class"; the notation has no colon."""
    return ":" in net


def cost_of(net: str, input_shape: Shape) -> Cost:
    """The cost of a net: in closed form, or of an own module by tracing it, which needs torch."""
    if is_own_module(net):
        from flyweight.model.trace import trace

        return trace(net, input_shape)
    return walk(net, input_shape)
