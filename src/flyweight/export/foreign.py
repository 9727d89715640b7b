"""The cost of an ONNX file of others: `count_onnx(path)`, by its shapes alone; nothing is run.

A file is not trusted: weights in other files are not opened, and sizes are counted, never allocated.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import nan, prod
from pathlib import Path
from typing import Any, Final

from flyweight.errors import DataError, MissingError
from flyweight.model.cost import Cost, Row
from flyweight.model.spec import RowKind

MAX_BYTES: Final = 2**30
MAX_SIDE: Final = 2**31
KINDS: Final[dict[str, RowKind]] = {
    "BatchNormalization": "batch_norm",
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "PRelu": "prelu",
    "Elu": "elu",
    "Gelu": "gelu",
    "HardSwish": "hardswish",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "MaxPool": "max_pool",
    "GlobalMaxPool": "max_pool",
    "AveragePool": "average_pool",
    "GlobalAveragePool": "average_pool",
    "Dropout": "dropout",
    "Flatten": "flatten",
    "Gemm": "linear",
    "MatMul": "linear",
    "LogSoftmax": "log_softmax",
}


def count_onnx(path: Path) -> Cost:
    """Parameters, MACs and memory of each node. Parameters are the numbers stored as floating point.

    Raises:
        DataError: no ONNX file, weights in other files, or shapes that are not known. MissingError: no onnx.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingError("ONNX files need onnx, which is not installed: pip install 'flyweight[export]'") from None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: an ONNX file must have at most {MAX_BYTES:,} bytes.")
        model = onnx.load_from_string(path.read_bytes())
        _require_own_data(path, model)
        model = onnx.shape_inference.infer_shapes(model)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except DataError:
        raise
    except Exception as error:  # the parser's errors have no common base
        raise DataError(
            f"{path} must be an ONNX file, cannot read it ({' '.join(str(error).split())[:200]})."
        ) from error
    graph = model.graph
    weights = {one.name: tuple(one.dims) for one in graph.initializer}
    floats = {one.name for one in graph.initializer if one.data_type in (1, 10, 11, 16)}
    shapes = _shapes(graph)
    given = [one.name for one in graph.input if one.name not in weights]
    if not given or len(shapes.get(given[0], ())) != 4:
        raise DataError(f"{path}: its first input must be images (N, channels, height, width).")
    rows = tuple(_rows(path, graph, weights, floats, shapes))
    return Cost(net=path.name, input_shape=shapes[given[0]][1:], rows=rows)


def _require_own_data(path: Path, model: Any) -> None:
    graph = model.graph
    held = [*graph.initializer, *(one.t for node in graph.node for one in node.attribute if one.HasField("t"))]
    if any(one.data_location == 1 or one.external_data for one in held):
        raise DataError(f"{path}: its weights are in other files, which are not opened; save it with all in one file.")


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every value; sides that are open are 1, as for one image."""
    found = {}
    for one in (*graph.input, *graph.value_info, *graph.output):
        sides = [side.dim_value if side.HasField("dim_value") else 1 for side in one.type.tensor_type.shape.dim]
        found[one.name] = tuple(sides)
    return found


def _rows(
    path: Path,
    graph: Any,
    weights: dict[str, tuple[int, ...]],
    floats: set[str],
    shapes: dict[str, tuple[int, ...]],
) -> Iterator[Row]:
    counted: set[str] = set()
    for number, node in enumerate(graph.node, start=1):
        values = [one for one in node.input if one and one not in weights]
        out = shapes.get(node.output[0])
        if out is None:
            raise DataError(f"{path}: the shape of the output of node {number} ({node.op_type}) is not known.")
        seen = shapes.get(values[0], ()) if values else ()
        for side in (*out, *seen):
            if not 0 <= side < MAX_SIDE:
                raise DataError(f"{path}: the sides of a map must be below 2^31, found {side:,}.")
        fresh = [one for one in node.input if one in floats and one not in counted]
        counted |= set(fresh)
        is_norm = node.op_type == "BatchNormalization"
        trained = fresh[:2] if is_norm else fresh
        yield Row(
            name=f"{node.op_type.lower()}{number}",
            path=node.name,
            kind=_kind(node, seen),
            layer=node.op_type,
            in_shape=seen[1:],
            out_shape=out[1:],
            params=sum(prod(weights[one]) for one in trained),
            buffers=sum(prod(weights[one]) for one in fresh if one not in trained),
            macs=_macs(node, weights, out),
            receptive_field=(nan, nan),
            effective_stride=(nan, nan),
            activations=prod(seen[1:]) + prod(out[1:]),
        )


def _kind(node: Any, seen: tuple[int, ...]) -> RowKind:
    if node.op_type != "Conv":
        return KINDS.get(node.op_type, "other")
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return "depthwise_conv" if groups > 1 and len(seen) > 1 and groups == seen[1] else "conv"


def _macs(node: Any, weights: dict[str, tuple[int, ...]], out: tuple[int, ...]) -> int:
    """Multiplications by stored weights for one image."""
    kernel = weights.get(node.input[1]) if len(node.input) > 1 else None
    if kernel is None:
        return 0
    match node.op_type:
        case "Conv":
            return prod(out[1:]) * prod(kernel[1:])
        case "Gemm":
            return prod(kernel)
        case "MatMul":
            return prod(out[1:]) * kernel[-2]
        case _:
            return 0
