"""What the integer export of a net needs on a microcontroller, before it is trained: `int8_cost(lowered)`.

Closed forms, without torch and without weights: docs/export.md has them beside what a compiler gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

from flyweight.model.lowered import Lowered, Operation

# Bytes of code on a Cortex-M4 with gcc -Os: of every net, and of what only some nets need.
CODE: Final = 590
CODE_OF_PADDING, CODE_OF_GROUPS, CODE_OF_LATE_POOL = 90, 20, 70
CODE_OF_KIND: Final = {"conv": 0, "add": 110, "average": 190, "max": 130, "slopes": 110, "table": 30}
BYTES_PER_OUTPUT: Final = 4 + 2 + 1  # bias, multiplier, shift
DESCRIPTION: Final = 40  # of a convolution: pointers and sides
TABLE: Final = 256


@dataclass(frozen=True, kw_only=True)
class Int8Cost:
    """flash: weights, biases, multipliers, tables and code. ram: all maps, as they are placed; the image and the scores
    are the caller's."""

    flash: int
    ram: int


def int8_cost(lowered: Lowered) -> Int8Cost:
    """Bytes of flash and RAM of the C export.

    >>> from flyweight.model.lowered import lower
    >>> int8_cost(lower("c8 bn r m2 flat fc10", (1, 28, 28)))
    Int8Cost(flash=14388, ram=1352)
    """
    operations = lowered.operations
    convs = [one for one in operations if one.kind == "conv"]
    # Equal weights are stored once; a first layer has the normalisation in its weights.
    weights = {
        one.path or one.layers if number else "first": prod(one.weight_shape) for number, one in enumerate(convs)
    }
    tables = sum(TABLE for one in operations if one.table_kind is not None)
    constants = sum(BYTES_PER_OUTPUT * one.out_shape[2] + DESCRIPTION for one in convs) + tables
    return Int8Cost(flash=sum(weights.values()) + constants + _code(operations, convs), ram=lowered.memory)


def _code(operations: tuple[Operation, ...], convs: list[Operation]) -> int:
    code = CODE + sum(CODE_OF_KIND[kind] for kind in {one.kind for one in operations})
    code += CODE_OF_PADDING * any(one.padding for one in convs)
    code += CODE_OF_GROUPS * any(one.groups > 1 for one in convs)
    code += CODE_OF_LATE_POOL * any(one.is_late for one in convs)
    # Each other operation is a call with its own small arrays.
    return code + sum(36 + 2 * one.out_shape[2] * (one.kind == "slopes") for one in operations if one.kind != "conv")
