"""The weights of a trained net folded into the operations of an export: `fold(lowered, weights, mean, std)`.

Goes in: a `Lowered` net, its weights by name, and the normalisation of its pixels. Comes out: numbers in float64 for
each operation, so that raw pixels go in and no batch norm is left. `run` computes them, as the reference of the integer
net and as the proof that folding changes nothing. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

import numpy as np
from numpy.typing import NDArray

from flyweight.model.lowered import Lowered, Operation, Windows
from flyweight.model.spec import Activation

Array = NDArray[np.float64]
EPSILON: Final = 1e-5  # of torch's batch norm
BATCH: Final = 250  # images at a time: the maps of more do not fit the cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Folded:
    """The numbers of one operation; empty for one without.

    weights: (outputs, kernel height, kernel width, inputs of a group) of a convolution, on raw pixels for the first.
    bias: (outputs,). signs: (outputs,), 1 or -1: a channel that batch norm turns round behind the max pool is computed
    with the other sign before it. pads: (inputs,), the value of each channel beyond the edge. slopes: (channels,) of a
    PReLU. The result is activation(signs * max(weights * input) + bias), the maximum over the fused pool.
    """

    operation: Operation
    weights: Array
    bias: Array
    signs: Array
    pads: Array
    slopes: Array


def fold(
    lowered: Lowered, weights: Mapping[str, NDArray[Any]], mean: Sequence[float], std: Sequence[float]
) -> tuple[Folded, ...]:
    """The numbers of each operation of a net; weights: by name, as in a run's file. mean, std: for pixels 0 to 1.

    The normalisation is folded into the first convolution, which is exact: beyond the edge it sees the pixel that is
    normalised to 0.
    """
    found = []
    for number, operation in enumerate(lowered.operations):
        one = _folded(operation, weights)
        found.append(_on_pixels(one, np.asarray(mean, np.float64), np.asarray(std, np.float64)) if not number else one)
    return tuple(found)


def _folded(operation: Operation, weights: Mapping[str, NDArray[Any]]) -> Folded:
    outputs = operation.out_shape[2]
    empty = np.zeros(0)
    if operation.kind == "slopes":
        slopes = _of_vector(weights[f"{operation.path}.weight"], operation)
        return Folded(operation=operation, weights=empty, bias=empty, signs=empty, pads=empty, slopes=slopes)
    if operation.kind != "conv":
        return Folded(operation=operation, weights=empty, bias=empty, signs=empty, pads=empty, slopes=empty)
    kernel, bias = np.ones((outputs, 1, 1, 1)), np.zeros(outputs)
    if operation.path:
        kernel = _channels_last(weights[f"{operation.path}.weight"].astype(np.float64), operation)
        if operation.has_bias:
            bias = weights[f"{operation.path}.bias"].astype(np.float64)
    signs = np.ones(outputs)
    for path in (*operation.norms, *operation.late_norms):
        scale, shift = _norm(path, weights, operation)
        kernel, bias = kernel * scale[:, None, None, None], bias * scale + shift
        if path in operation.late_norms:
            signs *= np.where(scale < 0, -1.0, 1.0)
    kernel = kernel * signs[:, None, None, None]
    return Folded(
        operation=operation,
        weights=kernel,
        bias=bias,
        signs=signs,
        pads=np.zeros(operation.in_shape[2]),
        slopes=empty,
    )


def _channels_last(kernel: Array, operation: Operation) -> Array:
    """The weights of torch, (outputs, inputs, height, width) or (outputs, features), in our order."""
    if kernel.ndim == 4:
        return np.ascontiguousarray(kernel.transpose(0, 2, 3, 1))
    if operation.flattened is not None:
        kernel = kernel.reshape(len(kernel), *operation.flattened).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(kernel.reshape(len(kernel), 1, 1, -1))


def _of_vector(values: NDArray[Any], operation: Operation) -> Array:
    """A value for each channel; those of a flattened map in our order."""
    found = values.astype(np.float64)
    if operation.flattened is not None and not operation.has_bias and len(found) == operation.in_shape[2]:
        found = found.reshape(operation.flattened).transpose(1, 2, 0).ravel()
    return found


def _norm(path: str, weights: Mapping[str, NDArray[Any]], operation: Operation) -> tuple[Array, Array]:
    """Batch norm of a trained net as a scale and a shift of each channel."""
    mean, variance = (weights[f"{path}.running_{name}"].astype(np.float64) for name in ("mean", "var"))
    scale = 1 / np.sqrt(variance + EPSILON)
    shift = -mean * scale
    if f"{path}.weight" in weights:
        gamma, beta = (weights[f"{path}.{name}"].astype(np.float64) for name in ("weight", "bias"))
        scale, shift = scale * gamma, shift * gamma + beta
    if not operation.path and operation.flattened is not None:  # a batch norm of the vector itself
        scale, shift = (one.reshape(operation.flattened).transpose(1, 2, 0).ravel() for one in (scale, shift))
    return scale, shift


def _on_pixels(first: Folded, mean: Array, std: Array) -> Folded:
    """The first operation with the normalisation in it: (pixel / 255 - mean) / std of each channel."""
    operation = first.operation
    scale, shift = 1 / (255 * std), -mean / std
    if operation.flattened is not None:  # a net that begins with flatten
        _, height, width = operation.flattened
        scale, shift, mean = (np.tile(one, height * width) for one in (scale, shift, mean))
    scale, shift = (_of_groups(one, operation) for one in (scale, shift))
    added = (first.weights * shift[:, None, None, :]).sum((1, 2, 3))
    return Folded(
        operation=operation,
        weights=first.weights * scale[:, None, None, :],
        bias=first.bias + first.signs * added,
        signs=first.signs,
        pads=255 * mean,
        slopes=first.slopes,
    )


def _of_groups(values: Array, operation: Operation) -> Array:
    """A value of each input channel as (outputs, inputs of a group): which inputs an output sees."""
    outputs = operation.out_shape[2]
    group = np.arange(outputs) // (outputs // operation.groups)
    return np.asarray(values.reshape(operation.groups, -1)[group])


def run(folded: Sequence[Folded], pixels: NDArray[np.uint8]) -> Array:
    """From raw images (N, C, H, W) uint8 to logits (N, classes) float64."""
    parts = [_logits(folded, pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    return np.concatenate(parts)


def _logits(folded: Sequence[Folded], pixels: NDArray[np.uint8]) -> Array:
    *_, last = values(folded, pixels)
    return last[-1].reshape(len(pixels), -1)


def values(folded: Sequence[Folded], pixels: NDArray[np.uint8]) -> Iterator[tuple[Array, Array]]:
    """Of each operation in turn what it gives before its activation and after it, (N, H, W, C) each.

    Before an activation that comes ahead of its pool, as many values as there are before the pool.
    """
    found: list[Array] = [pixels.transpose(0, 2, 3, 1).astype(np.float64)]
    for one in folded:
        # A flatten only gives the map another shape.
        inputs = [found[value].reshape(len(pixels), *one.operation.in_shape) for value in one.operation.inputs]
        before, after = _computed(one, inputs)
        found.append(after)
        yield before, after


def _computed(one: Folded, inputs: list[Array]) -> tuple[Array, Array]:
    operation = one.operation
    match operation.kind:
        case "conv":
            sums = convolve(inputs[0], one.weights, one.operation, one.pads)
            if operation.is_late:
                before = sums + one.bias
                return before, max_pooled(activated(before, operation.activation), operation)
            before = one.signs * max_pooled(sums, operation) + one.bias
        case "add":
            before = inputs[0] + inputs[1]
        case "average":
            before = averaged(inputs[0], operation)
        case "max":
            before = pooled(inputs[0], operation.windows(0), operation.windows(1), np.max)
        case "table":
            before = inputs[0]
        case "slopes":
            return inputs[0], np.where(inputs[0] >= 0, inputs[0], inputs[0] * one.slopes)
        case _:
            assert_never(operation.kind)
    return before, activated(before, operation.activation)


def convolve(images: NDArray[Any], weights: NDArray[Any], operation: Operation, pads: NDArray[Any]) -> NDArray[Any]:
    """The sums of a convolution without its bias, (N, H, W, outputs), as far as the fused pool reads them.

    images: (N, H, W, inputs). Exact for integers whose sums the type can represent.
    """
    padding, dilation, groups = operation.padding, operation.dilation, operation.groups
    if padding:
        framed = np.empty(
            (len(images), *(side + 2 * padding for side in images.shape[1:3]), images.shape[3]), images.dtype
        )
        framed[:] = pads
        framed[:, padding:-padding, padding:-padding] = images
        images = framed
    (kh, kw), (sh, sw), (height, width, outputs) = operation.kernel, operation.stride, operation.conv_shape
    per_group, n_inputs = outputs // groups, weights.shape[3]
    seen = [
        images[:, top : top + (height - 1) * sh + 1 : sh, left : left + (width - 1) * sw + 1 : sw]
        for top in range(0, kh * dilation, dilation)
        for left in range(0, kw * dilation, dilation)
    ]
    if n_inputs == 1 and groups > 1:
        taps = weights.reshape(outputs, -1).T
        return np.asarray(sum(np.repeat(one, per_group, axis=3) * tap for one, tap in zip(seen, taps, strict=True)))
    columns = np.stack(seen, axis=3)  # (N, H, W, kernel, inputs)
    parts = []
    for group in range(groups):
        inputs = columns[..., group * n_inputs : (group + 1) * n_inputs].reshape(len(images), height, width, -1)
        parts.append(inputs @ weights[group * per_group : (group + 1) * per_group].reshape(per_group, -1).T)
    return np.concatenate(parts, axis=3)


def max_pooled(values: NDArray[Any], operation: Operation) -> NDArray[Any]:
    """The max pool that is fused into a convolution; its windows do not overlap."""
    if not operation.is_pooled:
        return values
    height, width, _ = operation.out_shape
    (ph, pw), (sh, sw) = operation.pool, operation.pool_stride
    parts = [
        values[:, y : y + (height - 1) * sh + 1 : sh, x : x + (width - 1) * sw + 1 : sw]
        for y in range(ph)
        for x in range(pw)
    ]
    return np.asarray(np.max(parts, axis=0))


def pooled(values: NDArray[Any], rows: Windows, columns: Windows, combine: Callable[..., Any]) -> NDArray[Any]:
    """A pool of its own: `combine` over the axes 1 and 2 of each window."""
    found = [[combine(values[:, a:b, c:d], axis=(1, 2)) for c, d in columns] for a, b in rows]
    return np.asarray(found).transpose(2, 0, 1, 3)


def window_sizes(operation: Operation) -> NDArray[np.int64]:
    """By how much the sum of each window is divided, (H, W): padding counts."""
    if operation.adaptive is None:
        return np.full(operation.out_shape[:2], operation.kernel[0] * operation.kernel[1], np.int64)
    heights, widths = ([b - a for a, b in operation.windows(axis)] for axis in (0, 1))
    return np.outer(heights, widths).astype(np.int64)


def averaged(values: Array, operation: Operation) -> Array:
    sums = pooled(values, operation.windows(0), operation.windows(1), np.sum)
    return np.asarray(sums / window_sizes(operation)[:, :, None])


def activated(values: Array, activation: Activation | None) -> Array:
    """An activation of the notation, as torch has it; PReLU, which has weights, is not one of them."""
    if activation is None:
        return values
    match activation.kind:
        case "relu":
            return np.maximum(values, 0)
        case "relu6":
            return np.clip(values, 0, 6)
        case "leaky_relu":
            return np.where(values >= 0, values, values * activation.slope)
        case "elu":
            return np.where(values >= 0, values, np.expm1(np.minimum(values, 0)))
        case "gelu":
            from scipy.special import erf  # type: ignore[import-untyped]

            return np.asarray(values * (1 + erf(values / np.sqrt(2))) / 2)
        case "silu":
            return values * _logistic(values)
        case "hardswish":
            return values * np.clip(values + 3, 0, 6) / 6
        case "tanh":
            return np.tanh(values)
        case "sigmoid":
            return _logistic(values)
        case "prelu":
            raise AssertionError("an operation of its own")
        case _:
            assert_never(activation.kind)


def _logistic(values: Array) -> Array:
    return np.asarray((1 + np.tanh(values / 2)) / 2)
