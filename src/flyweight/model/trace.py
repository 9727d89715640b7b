"""Count the cost of a user's `nn.Module` by running it once on a black image.

In: a module, or "file:Class" in the current folder. Out: a `Cost`. Tracing has limits: receptive field and effective
stride are unknown (nan), and memory is what each layer reads and writes, without values that a skip connection keeps.
MACs are half of the FLOPs that torch counts.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils.flop_counter import FlopCounterMode

from flyweight.errors import UsageError, nearest
from flyweight.model import own_code
from flyweight.model.arithmetic import Shape, is_in_place
from flyweight.model.cost import Cost, Row
from flyweight.model.spec import RowKind, kind_of_module

UNKNOWN = (nan, nan)


def trace(target: str | nn.Module, input_shape: Shape = (1, 28, 28), *, trust_code: bool = False) -> Cost:
    """The cost of `target` for images of `input_shape` (channels, height, width).

    Every parameter counts once, trainable or not, even if several modules share it. It is executed if its layer is
    called or the output depends on it; other parameters are unused rows with the name of their module.

    Raises:
        UsageError: the module cannot be imported, created or run, or does not return (1, classes) for one image.
    """
    module = load_module(target, trust_code=trust_code) if isinstance(target, str) else target
    name = target if isinstance(target, str) else type(module).__name__
    prepare_layers(name, module, input_shape)
    with own_code.own_folder(), _in_evaluation_mode(module):
        calls, macs, output = _run(name, module, input_shape)
        executed = _executed(module, calls, output)
    rows = tuple(_rows(module, calls, macs, executed, tuple(output.shape[1:])))
    return Cost(net=name, input_shape=input_shape, rows=rows)


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
    """One call of one layer: a module without children."""

    module: nn.Module
    path: str
    in_shape: Shape
    out_shape: Shape = ()
    reads: int = 0
    writes: int = 0
    macs: int = 0


@dataclass
class _Recorder:
    """Hooks on every layer; a call has the FLOPs counted between its two hooks."""

    counter: FlopCounterMode
    paths: dict[nn.Module, str]
    calls: list[_Call] = field(default_factory=list)
    strangers: list[Tensor] = field(default_factory=list)
    running: list[tuple[_Call, int]] = field(default_factory=list)

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
        self.calls.append(call)


def _run(name: str, module: nn.Module, input_shape: Shape) -> tuple[list[_Call], int, Tensor]:
    """The calls of all layers in order, the MACs of the net, and the output."""
    counter = FlopCounterMode(display=False)
    recorder = _Recorder(counter, {one: path for path, one in module.named_modules()})
    hooks = []
    for one in recorder.paths:
        if _is_layer(one):
            hooks += [one.register_forward_pre_hook(recorder.before), one.register_forward_hook(recorder.after)]
    hooks.append(register_module_forward_pre_hook(recorder.meet))
    reference = next(module.parameters(), torch.zeros(()))
    image = torch.zeros((1, *input_shape), device=reference.device, dtype=_image_dtype(reference))
    try:
        with counter, torch.enable_grad(), _in_one_line(name, input_shape):
            output = module(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != 1:
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(f"net {name!r}: must return (1, classes) for one image, found {found}.")
    _require_held(name, module, [*recorder.strangers, *_leaves(output)])
    return recorder.calls, counter.get_total_flops() // 2, output


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
    """A module without children, or attention of torch, which does not call its children."""
    return not any(True for _ in module.children()) or isinstance(module, nn.MultiheadAttention)


def _executed(module: nn.Module, calls: list[_Call], output: Tensor) -> set[Tensor]:
    """Parameters of called layers, and others that the output depends on."""
    used: set[Tensor] = {parameter for call in calls for parameter in call.module.parameters()}
    rest = [one for one in module.parameters() if one not in used and one.requires_grad]
    if rest and output.requires_grad:
        gradients = torch.autograd.grad(output.sum(), rest, allow_unused=True)
        used |= {one for one, gradient in zip(rest, gradients, strict=True) if gradient is not None}
    return used


def _rows(module: nn.Module, calls: list[_Call], macs: int, executed: set[Tensor], out_shape: Shape) -> Iterator[Row]:
    """The calls in order, then parameters outside of layers; each parameter is in the first row that has it."""
    counted: set[Tensor] = set()
    seen: set[nn.Module] = set()
    for call in calls:
        params = _size(_fresh(call.module.parameters(), counted))
        again = call.module in seen
        seen.add(call.module)
        row = _row(call.path, call.module, params=params, macs=call.macs, out_shape=call.out_shape)
        yield replace(
            row,
            in_shape=call.in_shape,
            activations=call.writes if _is_in_place(row.kind, call.module) else call.reads + call.writes,
            buffers=0 if again else _buffers(call.module),
            is_shared=again,
        )
    yield from _rows_of_containers(module, executed, counted, seen, out_shape)
    direct = macs - sum(call.macs for call in calls)
    if direct or not calls or calls[-1].out_shape != out_shape:
        row = _row("", module, params=0, macs=direct, out_shape=out_shape)
        yield replace(row, name="functions", kind="other", layer="in forward", buffers=0)


def _is_in_place(kind: RowKind, module: nn.Module) -> bool:
    return is_in_place(kind) or isinstance(module, nn.Identity | nn.Softmax)


def _rows_of_containers(
    module: nn.Module, executed: set[Tensor], counted: set[Tensor], seen: set[nn.Module], out_shape: Shape
) -> Iterator[Row]:
    """Parameters that forward uses directly, and those of modules that are never called."""
    for path, one in module.named_modules():
        if one in seen:
            continue
        own = _fresh(one.parameters(recurse=False), counted)
        used = [parameter for parameter in own if parameter in executed]
        idle = [parameter for parameter in own if parameter not in executed]
        if used or (_buffers(one) and not _is_layer(one)):
            yield _row(path, one, params=_size(used), macs=0, out_shape=out_shape)
        if idle:
            yield replace(_row(path, one, params=_size(idle), macs=0, out_shape=()), is_executed=False)


def _fresh(parameters: Iterator[nn.Parameter], counted: set[Tensor]) -> list[nn.Parameter]:
    """The parameters that were not counted before; adds them to `counted`."""
    found = [one for one in parameters if one not in counted]
    counted.update(found)
    return found


def _size(parameters: Sequence[Tensor]) -> int:
    return sum(one.numel() for one in parameters)


def _buffers(module: nn.Module) -> int:
    """Number of values in the buffers of the module, without scalar counters."""
    return sum(one.numel() for one in module.buffers(recurse=False) if one.dim() > 0)


def _row(path: str, module: nn.Module, *, params: int, macs: int, out_shape: Shape) -> Row:
    return Row(
        name=path or type(module).__name__,
        path=path,
        kind=kind_of_module(one.__name__ for one in type(module).__mro__),
        layer=type(module).__name__,
        in_shape=(),
        out_shape=out_shape,
        params=params,
        buffers=_buffers(module),
        macs=macs,
        receptive_field=UNKNOWN,
        effective_stride=UNKNOWN,
        activations=0,
    )
