"""What torch's operations do while a module of a user runs: receptive fields, weights that are read, and MACs.

In: the operations of one forward pass on one image, as torch dispatches them. Out: the receptive field of every tensor
that depends on the image, where it is known, and the storages that were read. Which layer an operation belongs to is
not known here. A field is known as long as the graph is a chain or branches that meet; whatever else is done to a
tensor (a permuted axis, attention, a transposed convolution) leaves it unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from flyweight.model.arithmetic import ReceptiveField, Shape, adapted, slid, whole, wider
from flyweight.model.spec import RowKind

aten: Final = torch.ops.aten
Field: TypeAlias = ReceptiveField | None
Pair: TypeAlias = tuple[int, int]
Key: TypeAlias = tuple[Any, ...]

# Operations that are rows of their own where no layer does them: the kind, and the name before its number.
FUNCTIONS: Final[dict[Any, tuple[RowKind, str]]] = {
    aten.convolution: ("conv", "conv"),
    aten.addmm: ("linear", "linear"),
    aten.mm: ("linear", "linear"),
    aten.bmm: ("other", "matmul"),
    aten.native_batch_norm: ("batch_norm", "bn"),
    aten.native_group_norm: ("other_norm", "norm"),
    aten.native_layer_norm: ("other_norm", "norm"),
    aten.max_pool2d_with_indices: ("max_pool", "maxpool"),
    aten.adaptive_max_pool2d: ("max_pool", "maxpool"),
    aten.amax: ("max_pool", "maxpool"),
    aten.avg_pool2d: ("average_pool", "avgpool"),
    aten._adaptive_avg_pool2d: ("average_pool", "avgpool"),
    aten.mean: ("average_pool", "avgpool"),
    aten.add: ("other", "add"),
    aten.add_: ("other", "add"),
    aten.sub: ("other", "sub"),
    aten.mul: ("other", "mul"),
    aten.mul_: ("other", "mul"),
    aten.cat: ("other", "cat"),
    aten.relu: ("relu", "relu"),
    aten.relu_: ("relu", "relu"),
    aten.leaky_relu: ("leaky_relu", "leaky"),
    aten.elu: ("elu", "elu"),
    aten.gelu: ("gelu", "gelu"),
    aten.silu: ("silu", "silu"),
    aten.hardswish: ("hardswish", "hswish"),
    aten.tanh: ("tanh", "tanh"),
    aten.sigmoid: ("sigmoid", "sigmoid"),
    aten._log_softmax: ("log_softmax", "logsoftmax"),
}
# Additions and products are rows where branches of the image meet, and means where they are pools of the image.
_MEETINGS: Final = (aten.add, aten.add_, aten.sub, aten.mul, aten.mul_)
_GLOBAL_POOLS: Final = (aten.mean, aten.amax)
_POINTWISE: Final = (aten.hardswish, aten.hardswish_, aten._prelu_kernel, aten.native_dropout, aten.clone)
_RESHAPES: Final = (
    aten.view, aten._unsafe_view, aten.reshape, aten.alias, aten.detach, aten.squeeze, aten.unsqueeze, aten.expand,
)  # fmt: skip
_CHANNEL_PARTS: Final = (aten.split, aten.split_with_sizes, aten.unsafe_split, aten.slice, aten.select, aten.unbind)
_SWAPS: Final = (aten.transpose, aten.permute)
_REDUCTIONS: Final = (aten.mean, aten.sum, aten.amax, aten.amin, aten.var, aten.std, aten.var_mean, aten.logsumexp)
_PADDINGS: Final = (aten.constant_pad_nd, aten.reflection_pad2d, aten.replication_pad2d)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation on something of the image, outside of every layer."""

    kind: RowKind
    label: str
    in_shape: Shape
    out_shape: Shape
    field: Field
    macs: int
    reads: int
    writes: int
    is_in_place: bool


@dataclass
class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that notes every operation. outside: called with each `Operation` of FUNCTIONS."""

    counter: FlopCounterMode
    outside: Callable[[Operation], None]
    uncounted: Callable[[str], None]
    read: set[int] = field(default_factory=set)
    _fields: dict[Key, Field] = field(default_factory=dict)
    _alive: list[Tensor] = field(default_factory=list)  # a storage that is freed gives its address to another

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def begin(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        one = Fraction(1)
        self._note(image, ReceptiveField((one, one), (one, one), (height, width)))

    def field_of(self, tensor: Tensor) -> Field:
        """The receptive field of a unit of a tensor; None if it is unknown, or the tensor is not of the image."""
        return self._fields.get(_key(tensor))

    def has_read(self, tensor: Tensor) -> bool:
        return _storage(tensor) in self.read

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = list(_tensors(args))
        before = self.counter.get_total_flops()
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.read.update(map(_storage, inputs))
        of_image = [one for one in inputs if _key(one) in self._fields]
        if of_image:
            self._follow(func, args, inputs, of_image, result, (self.counter.get_total_flops() - before) // 2)
        return result

    def _follow(
        self, func: Any, args: Any, inputs: list[Tensor], of_image: list[Tensor], result: Any, macs: int
    ) -> None:
        packet = func.overloadpacket
        outputs = list(_tensors((result,)))
        known = [self._fields[_key(one)] for one in of_image]
        for output in outputs:
            found = None if any(one is None for one in known) else after(func, args, of_image, known, output)
            self._note(output, found)
            if func._schema.is_mutable:  # other views of what was overwritten
                self._forget_others(output)
        if not outputs:
            return
        weights = [one for one in inputs if _key(one) not in self._fields and one.dim() > 1]
        if weights and not macs and _multiplies(func):
            self.uncounted(packet.__name__.strip("_"))
        if _is_row(packet, of_image, outputs[0]):
            kind, label = FUNCTIONS[packet]
            self.outside(
                Operation(
                    kind=kind,
                    label=label,
                    in_shape=tuple(of_image[0].shape[1:]),
                    out_shape=tuple(outputs[0].shape[1:]),
                    field=self._fields[_key(outputs[0])],
                    macs=macs,
                    reads=sum(one.numel() for one in of_image),
                    writes=outputs[0].numel(),
                    is_in_place=_is_pointwise(func),
                )
            )

    def _note(self, tensor: Tensor, found: Field) -> None:
        self._fields[_key(tensor)] = found
        self._alive.append(tensor)

    def _forget_others(self, tensor: Tensor) -> None:
        key = _key(tensor)
        for other in self._fields:
            if other[0] == key[0] and other != key:
                self._fields[other] = None


def recurrent_flops(input_shape: Any, weight: Any, recurrent: Any, *_: Any, **__: Any) -> int:
    """Of one layer of an LSTM: every weight once for each step. torch's counter has no formula for it."""
    steps, batch, _ = input_shape
    return int(2 * steps * batch * (weight[0] * weight[1] + recurrent[0] * recurrent[1]))


def custom_flops() -> dict[Any, Any]:
    """Formulas beside those of torch, where this build has the operation."""
    return {aten.mkldnn_rnn_layer: recurrent_flops} if hasattr(aten, "mkldnn_rnn_layer") else {}


def after(func: Any, args: Any, of_image: Sequence[Tensor], fields: Sequence[Field], output: Tensor) -> Field:
    """The field after one operation on tensors of the image whose fields are known; None if it is not of those here."""
    known = [one for one in fields if one is not None]
    packet, first, source = func.overloadpacket, known[0], of_image[0]
    is_image = _is_image(source, first)
    if _is_pointwise(func):
        return _met(of_image, known, output)
    if packet in _RESHAPES:
        return first if _is_image(output, first) or _is_flat(output) else None
    if packet in (aten.addmm, aten.mm):
        return whole(first) if _is_flat(source) and len(of_image) == 1 else None
    if packet is aten.cat:
        return _met(of_image, known, output) if len({one.extent for one in known}) == 1 else None
    if packet in (aten._log_softmax, aten._softmax):
        return first if _is_flat(source) or (is_image and args[1] % source.dim() == 1) else None
    if packet in (aten.native_batch_norm, aten.native_group_norm, aten.native_layer_norm):
        return _normalised(packet, args, source, first, output) if is_image or _is_flat(source) else None
    if not is_image:
        return None
    return _after_on_image(packet, func, args, source, first, output)


def _after_on_image(packet: Any, func: Any, args: Any, source: Tensor, first: ReceptiveField, output: Tensor) -> Field:
    given = _arguments(func, args)
    extent = _extent(output)
    if packet is aten.convolution and not given["transposed"] and source.dim() == 4:
        kernel, dilation = _pair(args[1].shape[2:]), _pair(given["dilation"])
        spans = tuple(step * (side - 1) + 1 for side, step in zip(kernel, dilation, strict=True))
        return slid(first, _pair(spans), _pair(given["stride"]), extent)
    if packet in (aten.max_pool2d_with_indices, aten.avg_pool2d):
        kernel, dilation = _pair(given["kernel_size"]), _pair(given.get("dilation", 1))
        spans = tuple(step * (side - 1) + 1 for side, step in zip(kernel, dilation, strict=True))
        return slid(first, _pair(spans), _pair(given["stride"] or kernel), extent)
    if packet in (aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d):
        return adapted(first, extent)
    if packet in _PADDINGS:
        return replace(first, extent=extent)
    if packet in _REDUCTIONS:
        return _reduced(given, source, first)
    if packet in _CHANNEL_PARTS:
        dim = given.get("dim", 0) % source.dim()
        return first if dim < source.dim() - 2 and _is_image(output, first) else None
    if packet in _SWAPS:
        dims = given["dims"] if packet is aten.permute else (given["dim0"], given["dim1"])
        places = [dim % source.dim() for dim in dims]
        last = [source.dim() - 2, source.dim() - 1]
        stays = places[-2:] == last if packet is aten.permute else not set(places) & set(last)
        return first if stays else None
    return None


def _normalised(packet: Any, args: Any, source: Tensor, first: ReceptiveField, output: Tensor) -> Field:
    """Batch norm by its running statistics changes nothing; by those of the image, each value depends on all."""
    if output.shape != source.shape:
        return None  # the statistics
    by_image = args[5] if packet is aten.native_batch_norm else True
    return replace(first, size=whole(first).size) if by_image else first


def _reduced(given: dict[str, Any], source: Tensor, first: ReceptiveField) -> Field:
    dims = given.get("dim")
    places = {dim % source.dim() for dim in ([dims] if isinstance(dims, int) else dims or range(source.dim()))}
    spatial = {source.dim() - 2, source.dim() - 1}
    if spatial <= places:
        return whole(first)
    return first if not spatial & places else None


def _met(tensors: Sequence[Tensor], fields: Sequence[ReceptiveField], output: Tensor) -> Field:
    """Where branches meet, the wider field counts; one value for a whole channel joins every unit of it."""
    full = [
        one
        for tensor, one in zip(tensors, fields, strict=True)
        if _is_image(tensor, one) == (output.dim() > 2) and (output.dim() == 2 or one.extent == _extent(output))
    ]
    joined = [one for one in fields if one.extent == (1, 1)]
    if not full or any(one not in full and one not in joined for one in fields):
        return None
    return reduce(wider, [*full, *(one for one in joined if one not in full)])


def _is_row(packet: Any, of_image: Sequence[Tensor], output: Tensor) -> bool:
    if packet not in FUNCTIONS:
        return False
    if packet in _MEETINGS:
        return len(of_image) > 1
    return packet not in _GLOBAL_POOLS or output[0].numel() * 2 <= of_image[0].shape[1:].numel()


def _multiplies(func: Any) -> bool:
    """Whether an operation with a weight may have MACs that torch does not count."""
    packet = func.overloadpacket
    is_known = packet in flop_registry or packet in FUNCTIONS or packet in custom_flops()
    is_light = func.is_view or _is_pointwise(func) or packet in (aten.embedding, aten.index, aten.copy_, aten.cat)
    return not (is_known or is_light)


def _is_pointwise(func: Any) -> bool:
    return torch.Tag.pointwise in func.tags or func.overloadpacket in _POINTWISE


def _is_image(tensor: Tensor, one: ReceptiveField) -> bool:
    return tensor.dim() > 2 and tuple(tensor.shape[-2:]) == one.extent


def _is_flat(tensor: Tensor) -> bool:
    return tensor.dim() == 2 and tensor.shape[0] == 1


def _extent(tensor: Tensor) -> Pair:
    return (tensor.shape[-2], tensor.shape[-1]) if tensor.dim() > 2 else (1, 1)


def _arguments(func: Any, args: Sequence[Any]) -> dict[str, Any]:
    """The arguments by name, defaults included."""
    given = {one.name: one.default_value for one in func._schema.arguments if one.has_default_value()}
    return given | {one.name: value for one, value in zip(func._schema.arguments, args, strict=False)}


def _pair(values: Any) -> Pair:
    """Torch gives one number for both axes, or two."""
    if isinstance(values, int):
        return values, values
    return (int(values[0]), int(values[-1]))


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _key(tensor: Tensor) -> Key:
    return (_storage(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
