"""The integer net as one Python file for MicroPython: `micropython_file(file, card)`; only `array` is imported.

It runs in every Python. Its scores are those of numpy and C to the bit.
"""

from __future__ import annotations

from pprint import pformat
from typing import Any

from flyweight.export.format import IntegerFile
from flyweight.export.integer import IntegerOperation

RUNTIME = '''
from array import array


def _finished(one, total, multiplier, shift):
    value = total * multiplier + (1 << (shift - 1))
    if one["scores"]:
        return value >> shift
    value = (value + (one["zero"] << shift)) >> shift
    value = 0 if value < 0 else 255 if value > 255 else value
    return one["table"][value] if one["table"] else value


def _conv(one, image, output):
    height, width, inputs = one["in_shape"]
    rows, columns, outputs = one["out_shape"]
    kernel_rows, kernel_columns = one["kernel"]
    row_stride, column_stride = one["stride"]
    pool_rows, pool_columns = one["pool"]
    row_step, column_step = one["pool_stride"]
    weights, bias, pads, last = one["weights"], one["bias"], one["pads"], one["pool_last"]
    padding, dilation = one["padding"], one["dilation"]
    few = inputs // one["groups"]
    per_group = outputs // one["groups"]
    size = kernel_rows * kernel_columns * few
    at = 0
    for row in range(rows):
        for column in range(columns):
            for out in range(outputs):
                first = out // per_group * few
                best = None
                for pool_row in range(pool_rows):
                    top = (row * row_step + pool_row) * row_stride - padding
                    for pool_column in range(pool_columns):
                        left = (column * column_step + pool_column) * column_stride - padding
                        total, weight = bias[out], out * size
                        for y in range(top, top + kernel_rows * dilation, dilation):
                            for x in range(left, left + kernel_columns * dilation, dilation):
                                if 0 <= y < height and 0 <= x < width:
                                    place = (y * width + x) * inputs + first
                                    for c in range(few):
                                        total += weights[weight + c] * image[place + c]
                                else:
                                    for c in range(few):
                                        total += weights[weight + c] * pads[first + c]
                                weight += few
                        if last:
                            total = _finished(one, total, one["multipliers"][out], one["shifts"][out])
                        if best is None or total > best:
                            best = total
                output[at] = best if last else _finished(one, best, one["multipliers"][out], one["shifts"][out])
                at += 1


def _pool(one, image, output):
    width, channels = one["in_shape"][1:]
    at = place = 0
    for top, bottom in one["rows"]:
        for left, right in one["columns"]:
            for c in range(channels):
                seen = [image[(y * width + x) * channels + c] for y in range(top, bottom) for x in range(left, right)]
                if one["kind"] == "max":
                    output[at] = max(seen)
                else:
                    which = one["which"][place]
                    total = sum(seen) - len(seen) * one["zeros"][0]
                    output[at] = _finished(one, total, one["multipliers"][which], one["shifts"][which])
                at += 1
            place += 1


def _each(one, inputs, output):
    kind = one["kind"]
    for at in range(len(output)):
        value = inputs[0][at]
        if kind == "table":
            output[at] = one["table"][value]
        elif kind == "add":
            total = (value - one["zeros"][0]) * one["multipliers"][0]
            total += (inputs[1][at] - one["zeros"][1]) * one["multipliers"][1]
            output[at] = _finished(one, total, 1, one["shifts"][0])
        else:
            value -= one["zeros"][0]
            multiplier = one["multipliers"][0 if value >= 0 else 1 + at % one["in_shape"][2]]
            output[at] = _finished(one, value, multiplier, one["shifts"][0])


def scores(pixels):
    """From height x width x channels bytes, channels last, to one integer for each class."""
    values = [pixels]
    for one in OPERATIONS:
        height, width, channels = one["out_shape"]
        output = array("l" if one["scores"] else "B", bytes(0))
        for _ in range(height * width * channels):
            output.append(0)
        inputs = [values[value] for value in one["inputs"]]
        if one["kind"] == "conv":
            _conv(one, inputs[0], output)
        elif one["kind"] in ("max", "average"):
            _pool(one, inputs[0], output)
        else:
            _each(one, inputs, output)
        values.append(output)
        for value in one["last_reads"]:
            values[value] = None
    return [value - LAST_ZERO for value in values[-1]]


def classify(pixels):
    """The name of the class with the largest score."""
    found = scores(pixels)
    return CLASSES[found.index(max(found))]
'''


def micropython_file(file: IntegerFile, *, card: str) -> str:
    """The source of a module with `classify` and `scores`. card: the model card as text."""
    net = file.net
    last_read = {value: n for n, one in enumerate(net.operations) for value in one.operation.inputs}
    operations = [
        _values(one, [value for value, reader in last_read.items() if reader == number])
        for number, one in enumerate(net.operations)
    ]
    body = ",\n".join(_printed(one) for one in operations)
    comment = "\n".join(f"# {line}".rstrip() for line in card.splitlines())
    classes = ascii(list(file.class_names))
    values = f"CLASSES = {classes}\nLAST_ZERO = {net.last_zero}\nOPERATIONS = [\n{body},\n]\n"
    return f"{_ascii(comment)}\n{RUNTIME}\n\n{values}"


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _values(one: IntegerOperation, last_reads: list[int]) -> dict[str, Any]:
    operation = one.operation
    found: dict[str, Any] = {
        "kind": operation.kind,
        "inputs": operation.inputs,
        "in_shape": operation.in_shape,
        "out_shape": operation.out_shape,
        "scores": operation.wide,
        "zero": one.zero,
        "zeros": one.zeros,
        "table": one.table.tobytes(),
        "multipliers": ("h", one.multipliers.tolist()),
        "shifts": bytes(one.shifts.tolist()),
        "last_reads": last_reads,
    }
    if operation.kind == "conv":
        found |= {
            "kernel": operation.kernel,
            "stride": operation.stride,
            "padding": operation.padding,
            "dilation": operation.dilation,
            "groups": operation.groups,
            "pool": operation.pool,
            "pool_stride": operation.pool_stride,
            "pool_last": operation.is_late,
            "pads": one.pads.tobytes(),
            "weights": ("b", one.weights.tobytes()),
            "bias": ("l", one.bias.tolist()),
        }
    elif operation.kind in ("average", "max"):
        found |= {"rows": one.rows, "columns": one.columns, "which": bytes(one.which.ravel().tolist())}
    return found


def _printed(values: dict[str, Any]) -> str:
    parts = []
    for key, value in values.items():
        text = pformat(value, width=100, compact=True) if not isinstance(value, bytes) else repr(value)
        if isinstance(value, tuple) and value and isinstance(value[0], str):
            kind, content = value
            text = f"array({kind!r}, {content!r})"
        parts.append(f"        {key!r}: {text}")
    return "    {\n" + ",\n".join(parts) + ",\n    }"
