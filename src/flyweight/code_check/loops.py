"""The loops of a program over batches: which of them train, which evaluate, over what, and with which net and loss."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flyweight.code_check.program import (
    FUNCTIONS,
    MAX_CALLS,
    MAX_DEPTH,
    Function,
    Program,
    Scope,
    Value,
    called_names,
    calls_of,
    calls_within,
    constant,
    functions_of,
    key_of,
    last_before,
    last_name,
    method_calls,
    only_value,
    option,
    reaching,
    remembered,
    values,
    within,
)

_PROGRESS_BARS: Final = {"tqdm", "tqdm_notebook", "progress_bar", "track", "notebook", "auto"}
_WRAPPERS: Final = _PROGRESS_BARS | {"enumerate", "iter", "islice", "prefetch"}
_NET_NAME: Final = re.compile(r"(^|_)(model|net|network|cnn|classifier)\d*$", re.IGNORECASE)
_OPTIMIZER_NAME: Final = re.compile(r"^(opt|optim|optimi[sz]er)|_(opt|optim|optimi[sz]er)", re.IGNORECASE)
# Methods and functions that return the net they are given.
_NET_METHODS: Final = {"to", "cuda", "cpu", "float", "double", "half", "train", "eval", "requires_grad_"}
_NET_FUNCTIONS: Final = {"DataParallel", "DistributedDataParallel", "DDP", "compile", "deepcopy", "script"}
# Their steps do not depend on the scale of the loss (Kingma & Ba, 2015, section 2.1).
SCALE_FREE: Final = {"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop"}
OPTIMIZERS: Final = SCALE_FREE | {"SGD", "ASGD", "LBFGS", "SparseAdam"}
_STORING: Final = {"append", "extend", "update"}
_COMPARING: Final = {"argmax", "max", "topk", "eq"}
Reduction: TypeAlias = Literal["mean", "sum", "none"]
_FUNCTIONAL_LOSSES: Final = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A loop over batches. over: what it iterates over, without `enumerate` and progress bars."""

    node: ast.For
    scope: Scope
    over: ast.expr


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A call that gives a loss. made: the call that says its reduction (itself, or `CrossEntropyLoss(...)`)."""

    call: ast.Call
    kind: str
    made: ast.Call
    reduction: Reduction


@remembered
def training_loops(program: Program) -> Sequence[Loop]:
    """The innermost loops with a `backward` in them."""
    return tuple(_loop(program, loop) for loop in program.every(ast.For) if _trains_itself(loop))


def batch_loops(program: Program) -> list[Loop]:
    """The loops that train, and then those that evaluate."""
    return [*training_loops(program), *evaluation_loops(program)]


@remembered
def evaluation_loops(program: Program) -> Sequence[Loop]:
    """The innermost loops over a loader that call a net, count or sum something, and never train."""
    found = []
    for node in program.every(ast.For):
        loop = _loop(program, node)
        is_over_loader = key_of(loop.over) is not None or isinstance(loop.over, ast.Subscript)
        if _trains(node) or steps_taken(program, node) or not is_over_loader or not _collects(program, node):
            continue
        if any(_collects(program, inner) for inner in within(node.body, ast.For)):
            continue
        if not any(isinstance(outer, ast.For) and _trains_itself(outer) for outer in program.ancestors(node)):
            found.append(loop)
    return tuple(found)


@remembered
def _loop(program: Program, loop: ast.For) -> Loop:
    return Loop(node=loop, scope=program.scope(loop), over=iterated(program, loop.iter))


def _trains(node: ast.AST) -> bool:
    return "backward" in called_names(node)


def _trains_itself(loop: ast.For) -> bool:
    """Whether a loop trains, and no loop inside it does: a loop over batches, not over epochs."""
    return _trains(loop) and not any(_trains(inner) for inner in within(loop.body, ast.For))


@remembered
def _collects(program: Program, loop: ast.For) -> bool:
    """Whether a loop calls a net, compares its outputs or computes a loss, and counts or stores something."""
    calls, names = list(within(loop.body, ast.Call)), called_names(loop.body)
    stores = any(within(loop.body, ast.AugAssign)) or bool(names & _STORING)
    compares = bool(names & _COMPARING) or any(loss_of(program, call) for call in calls)
    nets = [call for call in calls if is_net(program, call.func)]
    return bool(nets) and ((stores and compares) or bool(outputs_kept(program, loop)))


def outputs_kept(program: Program, loop: ast.For) -> list[ast.Call]:
    """Where a loop appends what a net has computed, as it is."""
    given = [(call, call.args[0]) for call in calls_within(loop, "append") if len(call.args) == 1]
    made = [(call, only_value(program, one)) for call, one in given]
    return [call for call, one in made if isinstance(one, ast.Call) and is_net(program, one.func)]


def iterated(program: Program, expr: ast.expr, _steps: int = 0) -> ast.expr:
    """What is iterated over, without wrappers that only count or show progress."""
    wrappers = [expr] if key_of(expr) is None else [bound.value for bound in reaching(program, expr)]
    calls = [one for one in wrappers if isinstance(one, ast.Call) and last_name(one.func) in _WRAPPERS]
    if not calls or len(calls) < len(wrappers) or not calls[-1].args or _steps >= MAX_DEPTH:
        return expr
    return iterated(program, calls[-1].args[0], _steps + 1)


@remembered
def is_net(program: Program, expr: ast.expr) -> bool:
    """Whether an expression is a net: by its class where that is known, else by its name."""
    if key_of(expr) is None:
        return False
    return net_class(program, expr) is not None or bool(_NET_NAME.search(last_name(expr)))


@remembered
def is_net_class(program: Program, made: ast.ClassDef, _steps: int = 0) -> bool:
    """Whether a class is a module of torch, by its bases."""
    for base in made.bases:
        if last_name(base) in ("Module", "LightningModule"):
            return True
        parents = program.classes.get(last_name(base), ())[-1:]
        if _steps < MAX_DEPTH and any(one is not made and is_net_class(program, one, _steps + 1) for one in parents):
            return True
    return False


@remembered
def net_class(program: Program, expr: ast.expr) -> ast.ClassDef | None:
    """The class of a net in the program; None where it is not found, or may be more than one."""
    found = {_class_made(program, value) for value in values(program, expr)}
    return found.pop() if len(found) == 1 else None


def _class_made(program: Program, value: Value) -> ast.ClassDef | None:
    call = made_by(program, value.node)
    if call is None or value.item is not None or not isinstance(call.func, ast.Name):
        return None
    known = _net_classes(program, call.func.id)
    # A notebook may define a class twice; the last definition before the call counts.
    return last_before(known, call) if known else None


@remembered
def _net_classes(program: Program, name: str) -> Sequence[ast.ClassDef]:
    return [made for made in program.classes.get(name, ()) if is_net_class(program, made)]


def made_by(program: Program, expr: ast.expr, _steps: int = 0) -> ast.Call | None:
    """The call that made a net, through `.to(device)` and the like."""
    if not isinstance(expr, ast.Call) or _steps > MAX_DEPTH:
        return None
    if isinstance(expr.func, ast.Attribute) and expr.func.attr in _NET_METHODS:
        inner = only_value(program, expr.func.value)
    elif last_name(expr.func) in _NET_FUNCTIONS and expr.args:
        inner = only_value(program, expr.args[0])
    else:
        return expr
    return made_by(program, inner, _steps + 1) if inner is not None else None


def nets_called(program: Program, node: ast.AST) -> list[ast.Call]:
    """The calls of nets in a loop or a function."""
    return [call for call in within(node, ast.Call) if is_net(program, call.func)]


@remembered
def loss_of(program: Program, call: ast.Call) -> Loss | None:
    """The loss of a call that computes a cross entropy or a negative log-likelihood; None for another call."""
    found = []
    for maker in _loss_makers(program, call):
        name = last_name(maker.func) if maker is not None else ""
        kind = _FUNCTIONAL_LOSSES.get(name, name)
        reduction = reduction_of(program, maker) if maker is not None else None
        if maker is None or reduction is None or kind not in _FUNCTIONAL_LOSSES.values():
            return None
        found.append(Loss(call=call, kind=kind, made=maker, reduction=reduction))
    # Where a function is called with losses of different kinds, a sum is what matters.
    return next((loss for loss in found if loss.reduction == "sum"), found[0]) if found else None


def _loss_makers(program: Program, call: ast.Call) -> list[ast.Call | None]:
    """The calls that may set the reduction of a loss; None for something that is not a call."""
    if last_name(call.func) in _FUNCTIONAL_LOSSES:
        return [call]
    makers = [value.node for value in values(program, call.func) if value.item is None]
    # A loss may be moved to a device, too.
    return [made_by(program, maker) for maker in ([call.func] if isinstance(call.func, ast.Call) else makers)]


def losses_agree(program: Program, call: ast.Call) -> bool:
    """Whether a call has the same reduction whichever loss it is given."""
    makers = _loss_makers(program, call)
    return len({reduction_of(program, maker) if maker else None for maker in makers}) == 1


def reduction_of(program: Program, call: ast.Call) -> Reduction | None:
    """mean, sum or none; None where it is unknown."""
    given = option(program, call, "reduction")
    if given.may_be_absent and not given.exprs:
        averaged = option(program, call, "size_average")
        if averaged.may_be_absent:
            return "mean"
        return "sum" if constant(program, averaged) is False else None
    reductions: dict[object, Reduction] = {"mean": "mean", "sum": "sum", "none": "none"}
    return reductions.get(constant(program, given))


@remembered
def is_optimizer(program: Program, expr: ast.expr) -> bool:
    """Whether an expression is an optimizer: by what it is made of, or by its name."""
    made = [value.node for value in values(program, expr)]
    if any(isinstance(one, ast.Call) and last_name(one.func) in OPTIMIZERS for one in made):
        return True
    return bool(_OPTIMIZER_NAME.search(last_name(expr)))


@remembered
def steps_taken(program: Program, node: ast.AST) -> list[ast.Call]:
    """The `optimizer.step()` calls in a node; of the optimizer, not of a scheduler."""
    return [call for call, receiver in method_calls(node, "step") if is_optimizer(program, receiver)]


@remembered
def functions_called(program: Program, node: ast.AST) -> list[Function]:
    """The functions of the program that are called in a node."""
    return [made for call in within(node, ast.Call) for made in functions_of(program, call)]


def callers(program: Program, scope: Scope, *, depth: int = 3) -> list[tuple[Scope, ast.Call]]:
    """Where a function is called from, and where those are called from, with the calls."""
    found: list[tuple[Scope, ast.Call]] = []
    waiting: list[tuple[Scope, int]] = [(scope, depth)]
    seen: set[Scope] = set()
    while waiting:
        inner, left = waiting.pop()
        if inner not in seen and left > 0 and isinstance(inner, FUNCTIONS):
            seen.add(inner)
            outer = [(program.scope(call), call) for call in calls_of(program, inner)[:MAX_CALLS]]
            found += outer
            waiting += [(caller, left - 1) for caller, _ in outer]
    return found
