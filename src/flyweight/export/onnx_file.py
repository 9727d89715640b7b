"""The net as ONNX: float32, and int8 with QDQ nodes; raw pixels in, logits and probabilities out.

Written node by node from the folded net, so that the file has no path, no trace and no name of a tool's internals. The
normalisation is inside. onnx is imported when it is first needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import MissingError
from flyweight.export.integer import IntegerNet, IntegerOperation
from flyweight.model.fold import Folded, window_sizes
from flyweight.model.lowered import Lowered, Operation, Windows
from flyweight.model.spec import Activation

OPSET: Final = 20  # the first with Gelu
IR_VERSION: Final = 10


def require_onnx() -> None:
    """Raises MissingError where onnx or onnxruntime is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingError(
            f"ONNX needs the package {error.name}, which is not installed: pip install 'flyweight[export]'"
        ) from None


def float_model(
    lowered: Lowered, folded: Sequence[Folded], *, name: str, facts: Mapping[str, str], batch: int | None
) -> bytes:
    """The net in float32. folded: of raw pixels. batch: the number of images, None for any."""
    return _Graph(lowered, folded, None).model(name, facts, batch)


def int8_model(
    net: IntegerNet, folded: Sequence[Folded], *, name: str, facts: Mapping[str, str], batch: int | None
) -> bytes:
    """The integer net as QuantizeLinear and DequantizeLinear around each operation (QDQ)."""
    return _Graph(net.lowered, folded, net).model(name, facts, batch)


class _Graph:
    """Adds nodes in order; a flat vector stays a map of 1 x 1 pixels, in the order of a flatten of torch."""

    def __init__(self, lowered: Lowered, folded: Sequence[Folded], net: IntegerNet | None) -> None:
        self.lowered, self.folded, self.net = lowered, folded, net
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.count = 0

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        from onnx import numpy_helper

        self.count += 1
        name = f"constant_{self.count}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        self.count += 1
        name = output or f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{self.count}", **attributes))
        return name

    def model(self, name: str, facts: Mapping[str, str], batch: int | None) -> bytes:
        from onnx import TensorProto, checker, helper

        channels, height, width = self.lowered.input_shape
        pixels = self.node("Cast", "pixels", to=TensorProto.FLOAT)
        values = [pixels]
        shapes = [(height, width, channels)]
        for number, one in enumerate(self.folded):
            operation = one.operation
            inputs = []
            for value in operation.inputs:
                found = values[value]
                if shapes[value] != operation.in_shape:
                    found = self.node("Reshape", found, self.constant([0, operation.in_shape[2], 1, 1], np.int64))
                inputs.append(found)
            result = self.operation(one, inputs, number)
            if self.net is not None and not operation.wide and operation.kind != "max":
                result = self.rounded(result, self.net.scales[number + 1], self.net.zeros[number + 1])
            values.append(result)
            shapes.append(operation.out_shape)
        n = self.lowered.n_classes
        self.node("Reshape", values[-1], self.constant([0, n], np.int64), output="logits")
        self.node("Softmax", "logits", output="probabilities", axis=1)
        size: Any = "batch" if batch is None else batch
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [size, channels, height, width])],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, [size, n]) for out in ("logits", "probabilities")],
            self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="flyweight"
        )
        model.doc_string = name
        helper.set_model_props(model, {"name": name, "opset": str(OPSET), **facts})
        checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def rounded(self, value: str, step: float, zero: int) -> str:
        scale, point = self.constant(step), self.constant(zero, np.uint8)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", value, scale, point), scale, point)

    def operation(self, one: Folded, inputs: list[str], number: int) -> str:
        operation = one.operation
        match operation.kind:
            case "conv":
                return self.convolution(one, inputs[0], number)
            case "add":
                result = self.node("Add", *inputs)
            case "average":
                result = self.average(inputs[0], operation)
            case "max":
                result = self.max_pool(inputs[0], operation)
            case "slopes":
                slopes = one.slopes[_order(operation.flattened, len(one.slopes))]
                return self.node("PRelu", inputs[0], self.constant(slopes.reshape(-1, 1, 1)))
            case "table":
                result = inputs[0]
        return self.activation(result, operation.activation)

    def convolution(self, one: Folded, value: str, number: int) -> str:
        operation = one.operation
        weights, bias = one.weights, one.bias
        integer = None if self.net is None else self.net.operations[number]
        out_order = (
            slice(None) if operation.path or operation.flattened is None else _order(operation.flattened, len(bias))
        )
        if operation.padding and not number:  # what the pads stand for becomes 0, which ONNX pads with
            pads = one.pads if integer is None else integer.pads.astype(np.float64)
            value = self.node("Sub", value, self.constant(pads.reshape(-1, 1, 1)))
            if integer is None:
                bias = bias + one.signs * (weights * _pads_of(one)).sum((1, 2, 3))
        if integer is not None:
            kernel, offset = self.integer_weights(one, integer, number)
        else:
            kernel = self.constant(self.ordered(weights, operation)[out_order])
            offset = self.constant(bias[out_order])
        signs = one.signs[out_order]
        settings: dict[str, Any] = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "dilations": [operation.dilation] * 2,
            "pads": [operation.padding] * 4,
            "group": operation.groups,
        }
        if (signs > 0).all():
            value = self.node("Conv", value, kernel, offset, **settings)
            if operation.is_late:
                return self.fused_pool(self.activation(value, operation.activation), operation)
            value = self.fused_pool(value, operation)
        else:
            value = self.fused_pool(self.node("Conv", value, kernel, **settings), operation)
            value = self.node("Mul", value, self.constant(signs.reshape(-1, 1, 1)))
            value = self.node("Add", value, self.node("Reshape", offset, self.constant([-1, 1, 1], np.int64)))
        return self.activation(value, operation.activation)

    def ordered(self, weights: NDArray[Any], operation: Operation) -> NDArray[Any]:
        """Weights as (outputs, inputs, height, width); of a flattened map in the order of torch."""
        if operation.flattened is not None and operation.path:
            weights = weights[..., _order(operation.flattened, weights.shape[3])]
        return np.ascontiguousarray(weights.transpose(0, 3, 1, 2))

    def integer_weights(self, one: Folded, integer: IntegerOperation, number: int) -> tuple[str, str]:
        """int8 weights and int32 biases, each with a DequantizeLinear for every output."""
        assert self.net is not None
        operation = integer.operation
        order = (
            slice(None)
            if operation.path or operation.flattened is None
            else _order(operation.flattened, len(integer.bias))
        )
        source = self.net.scales[operation.inputs[0]]
        output = self.net.score_scale if operation.wide else integer.inner_step
        gains = np.abs(integer.multipliers) * 2.0 ** -integer.shifts.astype(np.float64) * output
        steps = gains / source
        bias = integer.bias.astype(np.int64)
        sums = integer.weights.astype(np.int64)
        if number:
            bias = bias + integer.zeros[0] * sums.sum((1, 2, 3))
        elif operation.padding:
            bias = bias + (sums * _pads_of(one, integer.pads)).sum((1, 2, 3))
        signs = np.sign(integer.multipliers)
        kernel = self.constant(self.ordered(integer.weights, operation)[order], np.int8)
        points = np.zeros(len(steps))
        weights = self.node(
            "DequantizeLinear", kernel, self.constant(steps[order]), self.constant(points, np.int8), axis=0
        )
        offset = self.node(
            "DequantizeLinear",
            self.constant((bias * signs)[order], np.int32),
            self.constant(gains[order]),
            self.constant(points, np.int32),
            axis=0,
        )
        return weights, offset

    def fused_pool(self, value: str, operation: Operation) -> str:
        if not operation.is_pooled:
            return value
        return self.node("MaxPool", value, kernel_shape=operation.pool, strides=operation.pool_stride)

    def max_pool(self, value: str, operation: Operation) -> str:
        if operation.adaptive is None:
            return self.node(
                "MaxPool",
                value,
                kernel_shape=operation.kernel,
                strides=operation.stride,
                pads=[operation.padding] * 4,
            )
        for axis in (0, 1):
            value = self.largest(value, operation.windows(axis), axis + 2)
        return value

    def largest(self, value: str, windows: Windows, axis: int) -> str:
        """The maximum of each window along one axis."""
        at = self.constant([axis], np.int64)
        parts = [
            self.node(
                "ReduceMax",
                self.node("Slice", value, self.constant([a], np.int64), self.constant([b], np.int64), at),
                at,
                keepdims=1,
            )
            for a, b in windows
        ]
        return self.node("Concat", *parts, axis=axis)

    def average(self, value: str, operation: Operation) -> str:
        if operation.adaptive is None and operation.padding == 0:
            return self.node("AveragePool", value, kernel_shape=operation.kernel, strides=operation.stride)
        # Two products with matrices of 0 and 1 sum the windows, padded or unequal, the same in every runtime.
        rows, columns = (_summing(operation.windows(axis), operation.in_shape[axis]) for axis in (0, 1))
        sums = self.node("MatMul", self.node("MatMul", self.constant(rows), value), self.constant(columns.T))
        return self.node("Div", sums, self.constant(window_sizes(operation)))

    def activation(self, value: str, activation: Activation | None) -> str:
        if activation is None:
            return value
        match activation.kind:
            case "relu":
                return self.node("Relu", value)
            case "relu6":
                return self.node("Clip", value, self.constant(0.0), self.constant(6.0))
            case "leaky_relu":
                return self.node("LeakyRelu", value, alpha=activation.slope)
            case "elu":
                return self.node("Elu", value, alpha=1.0)
            case "gelu":
                return self.node("Gelu", value)
            case "silu":
                return self.node("Mul", value, self.node("Sigmoid", value))
            case "hardswish":
                return self.node("HardSwish", value)
            case "tanh":
                return self.node("Tanh", value)
            case "sigmoid":
                return self.node("Sigmoid", value)
            case "prelu":
                raise AssertionError("an operation of its own")


def _pads_of(one: Folded, pads: NDArray[Any] | None = None) -> NDArray[Any]:
    """The pad of each weight of a convolution, (outputs, 1, 1, inputs of a group)."""
    operation = one.operation
    outputs = operation.out_shape[2]
    group = np.arange(outputs) // (outputs // operation.groups)
    values = one.pads if pads is None else pads.astype(np.int64)
    return np.asarray(values.reshape(operation.groups, -1)[group][:, None, None, :])


def _order(flattened: tuple[int, int, int] | None, n: int) -> NDArray[np.int64]:
    """For each place in torch's order of a flattened map, the place in ours, channels last."""
    if flattened is None:
        return np.arange(n)
    channels, height, width = flattened
    return np.arange(n).reshape(height, width, channels).transpose(2, 0, 1).ravel()


def _summing(windows: Windows, side: int) -> NDArray[np.float64]:
    found = np.zeros((len(windows), side))
    for row, (first, last) in enumerate(windows):
        found[row, first:last] = 1
    return found
