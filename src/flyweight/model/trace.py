"""Count the cost of a user's `nn.Module` by running it once on a black image.

In: a module, or "file:Class" in the current folder. Out: a `Cost`. Tracing has limits: receptive field and effective
stride are nan where `operations` cannot tell them, and memory is what each layer reads and writes, without values that
a skip connection keeps. MACs are half of the FLOPs that torch counts.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.flop_counter import FlopCounterMode

from flyweight.errors import UsageError, nearest
from flyweight.model import own_code
from flyweight.model.arithmetic import ReceptiveField, Shape, is_in_place
from flyweight.model.cost import Cost, Row
from flyweight.model.operations import Operation, Operations, custom_flops
from flyweight.model.spec import RowKind, kind_of_module

UNKNOWN = (nan, nan)
IN_FORWARD: Final = "in forward"  # in place of a class


def trace(target: str | nn.Module, input_shape: Shape = (1, 28, 28), *, trust_code: bool = False) -> Cost:
    """The cost of `target` for images of `input_shape` (channels, height, width).

    Every parameter counts once, trainable or not, even if several modules share it. It is executed if an operation
    reads it or the output depends on it; other parameters are unused rows with the name of their module.

    Raises:
        UsageError: the module cannot be imported, created or run, or does not return (1, classes) for one image.
    """
    module = load_module(target, trust_code=trust_code) if isinstance(target, str) else target
    name = target if isinstance(target, str) else type(module).__name__
    prepare_layers(name, module, input_shape)
    frozen: set[Tensor] = {one for one in module.parameters() if not one.requires_grad}
    with own_code.own_folder(), _in_evaluation_mode(module):
        run = _run(name, module, input_shape)
        executed = _executed(module, run)
    rows = tuple(_rows(module, run, _Parameters(executed, frozen)))
    return Cost(net=name, input_shape=input_shape, rows=rows, uncounted=tuple(dict.fromkeys(run.uncounted)))


def load_module(target: str, *, trust_code: bool = False) -> nn.Module:
    """The module "file:Class" (see `own_code.find`): an instance, or a class or function called without arguments.

    Raises:
        UsageError: its file is not trusted, or it cannot be run or created.
    """
    code = own_code.require_trusted(target, trust_code=trust_code)
    with own_code.own_folder():
        namespace = _executed_file(code)
        if not hasattr(namespace, code.name):
            hint = nearest(code.name, vars(namespace)) or " Is it defined at the top of the file?"
            raise UsageError(f"net {target!r}: {code.path.name!r} has no {code.name!r}.{hint}")
        found = getattr(namespace, code.name)
        module = found if isinstance(found, nn.Module) else _make(target, found)
    if not isinstance(module, nn.Module):
        raise UsageError(f"net {target!r}: must be a torch.nn.Module, found {type(module).__name__}.")
    return module


def prepare_layers(name: str, module: nn.Module, input_shape: Shape) -> None:
    """Give lazy layers their sizes, by running the net on one image.

    Raises:
        UsageError: it cannot be run, or it is scripted.
    """
    if any(isinstance(one, torch.jit.ScriptModule) for one in module.modules()):
        raise UsageError(f"net {name!r}: must not be scripted (torch.jit); name the class that was scripted.")
    values = (*module.parameters(), *module.buffers())
    if any(isinstance(one, UninitializedParameter | UninitializedBuffer) for one in values):
        modes = {one: one.training for one in module.modules()}
        module.eval()
        with own_code.own_folder(), torch.no_grad(), _in_one_line(name, input_shape):
            module(torch.zeros((1, *input_shape)))
        for one in module.modules():
            one.training = modes.get(one, module.training)


@contextmanager
def _in_one_line(name: str, input_shape: Shape) -> Iterator[None]:
    """A context in which the user's own code, which may raise anything, runs on one image."""
    try:
        yield
    except (Exception, SystemExit) as error:
        image = "x".join(str(side) for side in input_shape)
        raise UsageError(f"net {name!r}: running it on one image of {image} failed: {_in_words(error)}.") from error


def _executed_file(code: own_code.OwnCode) -> ModuleType:
    try:
        return own_code.executed(code)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"net {code.target!r}: {code.path.name!r} imports {error.name!r}, which is not installed."
        ) from error
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise UsageError(f"net {code.target!r}: running {code.path.name!r} failed: {_in_words(error)}.") from error


def _make(target: str, found: Any) -> Any:
    if not callable(found) or (inspect.isclass(found) and not issubclass(found, nn.Module)):
        kind = "a class of another kind" if inspect.isclass(found) else type(found).__name__
        raise UsageError(f"net {target!r}: must be a torch.nn.Module, found {kind}.")
    if not (own_code.is_of_a_user(found) or isinstance(found, partial)):
        raise UsageError(f"net {target!r}: must be defined in a file of yours, found something that it imports.")
    needed = _required_arguments(found)
    if needed:
        raise UsageError(
            f"net {target!r}: must be callable without arguments, but needs {', '.join(needed)}; "
            "give them default values, or name an instance."
        )
    try:
        return found()
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise UsageError(f"net {target!r}: creating it failed: {_in_words(error)}.") from error


def _required_arguments(maker: Any) -> list[str]:
    try:
        arguments = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # no signature: calling it will show
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in arguments if one.default is one.empty and one.kind not in variadic]


def _in_words(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextmanager
def _in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """A context with the module in evaluation mode and a gradient for every float parameter."""
    modes = {one: one.training for one in module.modules()}
    wanted = {one: one.requires_grad for one in module.parameters() if one.is_floating_point() or one.is_complex()}
    module.eval()
    for parameter in wanted:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for one, mode in modes.items():
            one.training = mode
        for parameter, wants in wanted.items():
            parameter.requires_grad_(wants)


@dataclass(eq=False)
class _Call:
    """One call of one layer, or one operation outside of every layer, which has no module."""

    module: nn.Module | None
    path: str
    in_shape: Shape
    out_shape: Shape = ()
    reads: int = 0
    writes: int = 0
    macs: int = 0
    field: ReceptiveField | None = None
    operation: Operation | None = None


@dataclass
class _Recorder:
    """Hooks on every layer; a call has the FLOPs counted between its two hooks. inside: containers that are running."""

    counter: FlopCounterMode
    paths: dict[nn.Module, str]
    calls: list[_Call] = field(default_factory=list)
    strangers: list[Tensor] = field(default_factory=list)
    running: list[tuple[_Call, int]] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    operations: Operations = field(init=False)

    def __post_init__(self) -> None:
        self.operations = Operations(self.counter, self.outside, self.leave_out)

    def outside(self, operation: Operation) -> None:
        if not self.running:
            path = self.inside[-1] if self.inside else ""
            call = _Call(None, path, operation.in_shape, operation.out_shape, operation.reads, operation.writes)
            call.macs, call.field, call.operation = operation.macs, operation.field, operation
            self.calls.append(call)

    def leave_out(self, name: str) -> None:
        where = self.running[-1][0].path if self.running else self.inside[-1] if self.inside else ""
        self.uncounted.append(f"{name} in {where}" if where else name)

    def enter(self, module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        self.inside.append(self.paths[module])

    def leave(self, _module: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
        self.inside.pop()

    def meet(self, module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        """Note the weights of a called module that the net does not hold."""
        if module not in self.paths:
            self.strangers += [*module.parameters(recurse=False), *module.buffers(recurse=False)]

    def before(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        read = [one for one in inputs if isinstance(one, Tensor)]
        call = _Call(module, self.paths[module], tuple(read[0].shape[1:]) if read else ())
        call.reads = sum(one.numel() for one in read)
        self.running.append((call, self.counter.get_total_flops()))

    def after(self, _module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        call, flops = self.running.pop()
        written = [one for one in (output if isinstance(output, tuple | list) else [output]) if isinstance(one, Tensor)]
        call.out_shape = tuple(written[0].shape[1:]) if written else ()
        call.writes = sum(one.numel() for one in written)
        call.macs = (self.counter.get_total_flops() - flops) // 2
        call.field = self.operations.field_of(written[0]) if written else None
        self.calls.append(call)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The calls in order, the MACs of the net, its output, and what read its parameters."""

    calls: list[_Call]
    macs: int
    output: Tensor
    operations: Operations
    uncounted: list[str]

    @property
    def out_shape(self) -> Shape:
        return tuple(self.output.shape[1:])


def _run(name: str, module: nn.Module, input_shape: Shape) -> _Run:
    counter = FlopCounterMode(display=False, custom_mapping=custom_flops())
    recorder = _Recorder(counter, {one: path for path, one in module.named_modules()})
    hooks = []
    layers = set(_layers(module))
    for one in recorder.paths:
        if one in layers:
            hooks += [one.register_forward_pre_hook(recorder.before), one.register_forward_hook(recorder.after)]
        elif not _is_layer(one):
            hooks += [one.register_forward_pre_hook(recorder.enter), one.register_forward_hook(recorder.leave)]
    hooks.append(register_module_forward_pre_hook(recorder.meet))
    reference = next(module.parameters(), torch.zeros(()))
    image = torch.zeros((1, *input_shape), device=reference.device, dtype=_image_dtype(reference))
    try:
        recorder.operations.begin(image)
        with counter, recorder.operations, torch.enable_grad(), _in_one_line(name, input_shape):
            output = module(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != 1:
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(f"net {name!r}: must return (1, classes) for one image, found {found}.")
    _require_held(name, module, [*recorder.strangers, *_leaves(output)])
    return _Run(
        calls=recorder.calls,
        macs=counter.get_total_flops() // 2,
        output=output,
        operations=recorder.operations,
        uncounted=recorder.uncounted,
    )


def _leaves(output: Tensor) -> Iterator[Tensor]:
    """The trainable tensors that an output depends on."""
    waiting: list[Any] = [output.grad_fn]
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]


def _require_held(name: str, module: nn.Module, used: Sequence[Tensor]) -> None:
    """Refuse a net that uses weights which it does not hold: they would be neither trained nor saved."""
    held = {id(one) for one in (*module.parameters(), *module.buffers())}
    strangers = {id(one): one for one in used if id(one) not in held}
    if not strangers:
        return
    lists = [
        f"{path}.{attribute}" if path else attribute
        for path, one in module.named_modules()
        for attribute, value in vars(one).items()
        if not attribute.startswith("_") and isinstance(value, list | tuple | dict | set)
        if any(isinstance(each, nn.Module | Tensor) for each in (value.values() if isinstance(value, dict) else value))
    ]
    where = f" (in {', '.join(lists)})" if lists else ""
    raise UsageError(
        f"net {name!r}: uses {_size(list(strangers.values())):,} weights that it does not hold{where}; they would be "
        "neither trained nor saved. Use nn.ModuleList, nn.ModuleDict or nn.ParameterList, and make layers in __init__."
    )


def _image_dtype(reference: Tensor) -> torch.dtype:
    return reference.dtype if reference.is_floating_point() else torch.float32


def _is_layer(module: nn.Module) -> bool:
    """A module without children, attention of torch, which does not call its children, or a parametrized layer."""
    return (
        not any(True for _ in module.children())
        or isinstance(module, nn.MultiheadAttention)
        or (is_parametrized(module) and [name for name, _ in module.named_children()] == ["parametrizations"])
    )


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a module; what is in a layer is part of it."""
    if _is_layer(module):
        yield module
        return
    for child in module.children():
        yield from _layers(child)


def _executed(module: nn.Module, run: _Run) -> set[Tensor]:
    """Parameters that an operation read, and others that the output depends on (compiled code shows no operations)."""
    used: set[Tensor] = {one for one in module.parameters() if run.operations.has_read(one)}
    rest = [one for one in module.parameters() if one not in used and one.requires_grad]
    if rest and run.output.requires_grad:
        gradients = torch.autograd.grad(run.output.sum(), rest, allow_unused=True)
        used |= {one for one, gradient in zip(rest, gradients, strict=True) if gradient is not None}
    return used


@dataclass
class _Parameters:
    """Which parameters are used and which frozen, and where each of them was counted."""

    executed: set[Tensor]
    frozen: set[Tensor]
    counted: dict[Tensor, str] = field(default_factory=dict)

    def take(self, parameters: Iterable[Tensor], where: str) -> list[Tensor]:
        """Those that were not counted before."""
        found = [one for one in dict.fromkeys(parameters) if one not in self.counted]
        self.counted.update(dict.fromkeys(found, where))
        return found

    def size(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        """The two numbers of a row."""
        return {"params": _size(parameters), "frozen": _size([one for one in parameters if one in self.frozen])}


def _rows(module: nn.Module, run: _Run, parameters: _Parameters) -> Iterator[Row]:
    """The calls in order, then parameters outside of layers; each parameter is in the first row that has it."""
    seen: set[nn.Module] = set()
    numbers: Counter[str] = Counter()
    for call in run.calls:
        if call.module is None:
            yield _function_row(call, numbers)
        else:
            yield _call_row(call, call.module, seen, parameters)
    yield from _rows_of_containers(module, parameters, seen, run.out_shape)
    direct = run.macs - sum(call.macs for call in run.calls)
    if direct or not run.calls or run.calls[-1].out_shape != run.out_shape:
        row = replace(_row("", module, out_shape=run.out_shape), **_pixels(run.operations.field_of(run.output)))
        yield replace(row, name="functions", kind="other", layer=IN_FORWARD, buffers=0, macs=direct)


def _call_row(call: _Call, layer: nn.Module, seen: set[nn.Module], parameters: _Parameters) -> Row:
    own = [one for one in layer.parameters() if one in parameters.executed]
    elsewhere = {parameters.counted[one] for one in own if one in parameters.counted} - {call.path}
    row = _row(call.path, layer, out_shape=call.out_shape)
    again = layer in seen
    seen.add(layer)
    return replace(
        row,
        **parameters.size(parameters.take(own, call.path)),
        macs=call.macs,
        in_shape=call.in_shape,
        activations=call.writes if _is_in_place(row.kind, layer) else call.reads + call.writes,
        buffers=0 if again else _buffers(layer),
        is_shared=again and bool(own or _buffers(layer)),
        tied_to="" if again else ", ".join(sorted(elsewhere)),
        **_pixels(call.field),
    )


def _function_row(call: _Call, numbers: Counter[str]) -> Row:
    """An operation that `forward` does without a layer; its parameters are in the row of the module that has them."""
    assert call.operation is not None
    numbers[call.operation.label] += 1
    return Row(
        name=f"{call.operation.label}{numbers[call.operation.label]}",
        path=call.path,
        kind=call.operation.kind,
        layer=IN_FORWARD,
        in_shape=call.in_shape,
        out_shape=call.out_shape,
        params=0,
        buffers=0,
        macs=call.macs,
        activations=max(call.reads, call.writes) if call.operation.is_in_place else call.reads + call.writes,
        **_pixels(call.field),
    )


def _pixels(field: ReceptiveField | None) -> dict[str, Any]:
    """The two columns of a receptive field."""
    if field is None:
        return {"receptive_field": UNKNOWN, "effective_stride": UNKNOWN}
    height, width = field.size
    down, across = field.effective_stride
    return {"receptive_field": (float(height), float(width)), "effective_stride": (float(down), float(across))}


def _is_in_place(kind: RowKind, module: nn.Module) -> bool:
    return is_in_place(kind) or isinstance(module, nn.Identity | nn.Softmax)


def _rows_of_containers(
    module: nn.Module, parameters: _Parameters, seen: set[nn.Module], out_shape: Shape
) -> Iterator[Row]:
    """Parameters that forward uses directly, and those that nothing uses."""
    for path, one in module.named_modules():
        own = parameters.take(one.parameters(recurse=False), path)
        used = [parameter for parameter in own if parameter in parameters.executed]
        idle = [parameter for parameter in own if parameter not in parameters.executed]
        if one not in seen and (used or (_buffers(one) and not _is_layer(one))):
            yield replace(_row(path, one, out_shape=out_shape), **parameters.size(used))
        if idle:
            row = replace(_row(path, one, out_shape=()), **parameters.size(idle), is_executed=False)
            is_used = one in seen or bool(used) or not path
            yield replace(row, name=_names(path, one, idle), buffers=0) if is_used else row


def _names(path: str, module: nn.Module, parameters: Sequence[Tensor]) -> str:
    """The parameters of a module that is used itself."""
    names = [name for name, one in module.named_parameters(recurse=False) if any(one is other for other in parameters)]
    return ", ".join(f"{path}.{name}" if path else name for name in names)


def _size(parameters: Sequence[Tensor]) -> int:
    return sum(one.numel() for one in parameters)


def _buffers(module: nn.Module) -> int:
    """Number of values in the buffers of the module, without scalar counters."""
    return sum(one.numel() for one in module.buffers(recurse=False) if one.dim() > 0)


def _row(path: str, module: nn.Module, *, out_shape: Shape) -> Row:
    return Row(
        name=path or type(module).__name__,
        path=path,
        kind=kind_of_module(one.__name__ for one in type(module).__mro__),
        layer=_class_in_words(module),
        in_shape=(),
        out_shape=out_shape,
        params=0,
        buffers=_buffers(module),
        macs=0,
        receptive_field=UNKNOWN,
        effective_stride=UNKNOWN,
        activations=0,
    )


def _class_in_words(module: nn.Module) -> str:
    """The class, with what torch makes its weights of: Conv2d (WeightNorm)."""
    if not is_parametrized(module):
        return type(module).__name__
    lists: Any = module.parametrizations
    made = {type(one).__name__.strip("_"): None for each in lists.values() for one in each}
    return f"{type(module).__mro__[1].__name__} ({', '.join(made)})"
