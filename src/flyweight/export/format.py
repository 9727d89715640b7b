"""The integer net as one JSON file, from which C and the page are made: `as_json` and its inverse `from_json`.

docs/export.md describes the format. It is versioned: a reader refuses a version that it does not know.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError
from flyweight.export.integer import MAX_SUM, IntegerNet, IntegerOperation
from flyweight.model.lowered import Lowered, Operation, Windows

FORMAT: Final = "flyweight-int8"
VERSION: Final = 1
MAX_VALUES: Final = 10**8
KINDS: Final = ("conv", "add", "average", "max", "table", "slopes")


@dataclass(frozen=True, kw_only=True)
class IntegerFile:
    """An integer net with its name, the names of its classes, and what a model card says of it."""

    name: str
    class_names: tuple[str, ...]
    net: IntegerNet
    card: Mapping[str, Any] = field(default_factory=dict)


def as_values(file: IntegerFile) -> dict[str, Any]:
    """The file as plain values; weights are base64 of int8 in the order output, row, column, input."""
    net = file.net
    channels, height, width = net.lowered.input_shape
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": file.name,
        "net": net.lowered.net,
        "input": {"height": height, "width": width, "channels": channels},
        "classes": list(file.class_names),
        "score_scale": net.score_scale,
        "last_zero": net.last_zero,
        "memory": net.lowered.memory,
        "operations": [
            _operation(one, net.lowered.offsets[number], net.scales[number])
            for number, one in enumerate(net.operations, start=1)
        ],
        "card": dict(file.card),
    }


def as_json(file: IntegerFile) -> str:
    """The file as text; equal nets are equal texts."""
    return json.dumps(as_values(file), separators=(",", ":"), allow_nan=False) + "\n"


def _operation(one: IntegerOperation, offset: int | None, scale: float) -> dict[str, Any]:
    operation = one.operation
    found: dict[str, Any] = {
        "kind": operation.kind,
        "layers": list(operation.layers),
        "inputs": list(operation.inputs),
        "in_shape": list(operation.in_shape),
        "out_shape": list(operation.out_shape),
        "offset": offset,
        "scale": scale,
        "zero": one.zero,
        "zeros": list(one.zeros),
        "scores": operation.wide,
    }
    if operation.kind == "conv":
        found |= {
            "kernel": list(operation.kernel),
            "stride": list(operation.stride),
            "padding": operation.padding,
            "dilation": operation.dilation,
            "groups": operation.groups,
            "pool": list(operation.pool),
            "pool_stride": list(operation.pool_stride),
            "pool_last": operation.is_late,
            "pads": one.pads.tolist() if operation.padding else [],
            "weights": base64.b64encode(one.weights.tobytes()).decode(),
            "bias": one.bias.tolist(),
        }
    if operation.kind in ("average", "max"):
        found |= {"rows": [list(one) for one in one.rows], "columns": [list(one) for one in one.columns]}
    if one.multipliers.size:
        found |= {"multipliers": one.multipliers.tolist(), "shifts": one.shifts.tolist()}
    if operation.kind == "average":
        found["which"] = one.which.ravel().tolist()
    if one.table.size:
        found["table"] = one.table.tolist()
    return found


def from_json(text: str) -> IntegerFile:
    """The inverse of `as_json`, as far as running it needs; shapes and ranges are checked before any computation.

    Raises:
        DataError: anything else, in one line.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"its format must be {FORMAT}")
        if values["version"] != VERSION:
            raise ValueError(f"version {VERSION} is known, found {str(values['version'])[:20]}; update flyweight")
        return _file(values)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, binascii.Error) as error:
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DataError(f"an integer net must be a JSON file of flyweight export, found a fault: {what}.") from error


def _file(values: Mapping[str, Any]) -> IntegerFile:
    sides = tuple(_integer(values["input"][side], 1, 4096) for side in ("height", "width", "channels"))
    height, width, channels = sides
    shapes: list[tuple[int, int, int]] = [(height, width, channels)]
    operations = []
    for one in values["operations"]:
        operations.append(_checked(one, shapes))
        shapes.append(operations[-1].operation.out_shape)
    if not operations or any(one.operation.wide for one in operations[:-1]):
        raise ValueError("only the last operation gives scores")
    if shapes[-1] != (1, 1, len(values["classes"])):
        raise ValueError(f"one score for each of {len(values['classes'])} classes, found {shapes[-1]}")
    lowered = Lowered(
        net=str(values["net"]),
        input_shape=(channels, height, width),
        operations=tuple(one.operation for one in operations),
        offsets=(None, *(one["offset"] for one in values["operations"])),
        memory=_integer(values["memory"], 0, MAX_VALUES),
    )
    net = IntegerNet(
        lowered=lowered,
        operations=tuple(operations),
        scales=(1.0, *(float(one["scale"]) for one in values["operations"])),
        score_scale=float(values["score_scale"]),
        last_zero=_integer(values["last_zero"], 0, 255),
    )
    return IntegerFile(
        name=str(values["name"]), class_names=tuple(map(str, values["classes"])), net=net, card=values["card"]
    )


def _checked(one: Mapping[str, Any], shapes: list[tuple[int, int, int]]) -> IntegerOperation:
    """An operation of a file; shapes: of the values before it."""
    kind = one["kind"]
    if kind not in KINDS:
        raise ValueError(f"operations are {', '.join(KINDS)}, found {str(kind)[:20]!r}")
    inputs = tuple(_integer(value, 0, len(shapes) - 1) for value in one["inputs"])
    in_shape, out_shape = _shape(one["in_shape"]), _shape(one["out_shape"])
    if len(inputs) != (2 if kind == "add" else 1) or any(prod(shapes[value]) != prod(in_shape) for value in inputs):
        raise ValueError(f"{kind}: its inputs do not have the shape {in_shape}")
    layers = tuple(map(str, one["layers"]))
    operation = Operation(
        kind=kind,
        name=layers[0],
        layers=layers,
        inputs=inputs,
        in_shape=in_shape,
        out_shape=out_shape,
        wide=bool(one["scores"]),
    )
    weights, bias, pads = np.zeros(0, np.int8), np.zeros(0, np.int32), np.zeros(0, np.uint8)
    rows: Windows = ()
    columns: Windows = ()
    which = np.zeros((0, 0), np.int64)
    if kind == "conv":
        operation = _convolution(one, operation)
        weights = np.frombuffer(base64.b64decode(one["weights"], validate=True), np.int8).reshape(
            operation.weight_shape
        )
        bias = _array(one["bias"], -MAX_SUM, MAX_SUM, out_shape[2]).astype(np.int32)
        n_pads = in_shape[2] if operation.padding else 0
        pads = _array(one["pads"], 0, 255, n_pads).astype(np.uint8)
        n_multipliers = out_shape[2]
    elif kind in ("average", "max"):
        if in_shape[2] != out_shape[2]:
            raise ValueError(f"{operation.name}: a pool keeps its channels")
        rows, columns = (_windows(one[name], in_shape[i], out_shape[i]) for i, name in enumerate(("rows", "columns")))
        n_multipliers = 0
        if kind == "average":
            which = _array(one["which"], 0, MAX_VALUES, prod(out_shape[:2])).reshape(out_shape[:2])
            n_multipliers = int(which.max()) + 1
    elif in_shape != out_shape:
        raise ValueError(f"{kind}: its output has the shape of its input")
    else:
        n_multipliers = {"add": 2, "slopes": 1 + in_shape[2], "table": 0}[kind]
    n_shifts = min(n_multipliers, 1) if kind in ("add", "slopes") else n_multipliers
    made = IntegerOperation(
        operation=operation,
        weights=weights,
        bias=bias,
        multipliers=_array(one.get("multipliers", []), -(2**15), 2**15, n_multipliers).astype(np.int32),
        shifts=_array(one.get("shifts", []), 1, 40, n_shifts).astype(np.int32),
        pads=pads,
        zeros=tuple(_integer(zero, 0, 255) for zero in one["zeros"]),
        zero=_integer(one["zero"], 0, 255),
        table=_array(one.get("table", []), 0, 255, 256 if kind == "table" or one.get("table") else 0).astype(np.uint8),
        rows=rows,
        columns=columns,
        which=which,
    )
    if made.worst_sum > MAX_SUM:
        raise ValueError(f"{operation.name}: sums above 32 bits")
    return made


def _convolution(one: Mapping[str, Any], operation: Operation) -> Operation:
    groups = _integer(one["groups"], 1, operation.in_shape[2])
    if operation.in_shape[2] % groups or operation.out_shape[2] % groups:
        raise ValueError(f"{operation.name}: channels are multiples of the groups")
    found = replace(
        operation,
        kernel=_pair(one["kernel"], 1),
        stride=_pair(one["stride"], 1),
        padding=_integer(one["padding"], 0, 65536),
        dilation=_integer(one["dilation"], 1, 65536),
        groups=groups,
        pool=_pair(one["pool"], 1),
        pool_stride=_pair(one["pool_stride"], 1),
        is_late=bool(one["pool_last"]),
    )
    for axis in (0, 1):
        reach = (found.conv_shape[axis] - 1) * found.stride[axis] + found.dilation * (found.kernel[axis] - 1) + 1
        if reach > found.in_shape[axis] + 2 * found.padding:
            raise ValueError(f"{operation.name}: its windows leave the map")
    return found


def _windows(values: Any, side: int, count: int) -> Windows:
    found = tuple(_pair(window, 0) for window in values)
    if len(found) != count or any(not a < b <= side for a, b in found):
        raise ValueError(f"{count} windows in 0 to {side}")
    return found


def _integer(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"an integer of {low} to {high}, found {str(value)[:20]!r}")
    return value


def _shape(values: Any) -> tuple[int, int, int]:
    height, width, channels = (_integer(value, 1, MAX_VALUES) for value in values)
    if height * width * channels > MAX_VALUES:
        raise ValueError(f"a map of at most {MAX_VALUES:,} values")
    return height, width, channels


def _pair(values: Any, low: int) -> tuple[int, int]:
    first, second = (_integer(value, low, MAX_VALUES) for value in values)
    return first, second


def _array(values: Any, low: int, high: int, count: int) -> NDArray[np.int64]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{count} integers, found {len(values) if isinstance(values, list) else 'none'}")
    return np.asarray([_integer(value, low, high) for value in values], np.int64)
