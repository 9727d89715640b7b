"""The loops of a program over batches: which of them train, which evaluate, over what, and with which net and loss."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flyweight.code_check.program import (
    Function,
    Program,
    Scope,
    Value,
    calls_of,
    constant,
    functions_of,
    key_of,
    last_name,
    option,
    reaching,
    values,
    within,
)

_WRAPPERS: Final = {
    "enumerate",
    "tqdm",
    "tqdm_notebook",
    "iter",
    "islice",
    "progress_bar",
    "track",
    "notebook",
    "auto",
    "prefetch",
}
_NET_NAME: Final = re.compile(r"(^|_)(model|net|network|cnn|classifier)\d*$", re.IGNORECASE)
_OPTIMIZER_NAME: Final = re.compile(r"^(opt|optim|optimi[sz]er)|_(opt|optim|optimi[sz]er)", re.IGNORECASE)
# What passes a net on as it is.
_NET_METHODS: Final = {"to", "cuda", "cpu", "float", "double", "half", "train", "eval", "requires_grad_"}
_NET_FUNCTIONS: Final = {"DataParallel", "DistributedDataParallel", "DDP", "compile", "deepcopy", "script"}
OPTIMIZERS: Final = {
    "SGD",
    "Adam",
    "AdamW",
    "Adadelta",
    "Adagrad",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ASGD",
    "LBFGS",
    "SparseAdam",
}
_KEEPS: Final = ("append", "extend", "update")
Reduction: TypeAlias = Literal["mean", "sum", "none"]
_FUNCTIONAL_LOSSES: Final = {"cross_entropy": "CrossEntropyLoss", "nll_loss": "NLLLoss"}
_LOSSES: Final = {"CrossEntropyLoss", "NLLLoss"}


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A loop over batches. over: what it goes through, without `enumerate` and progress bars."""

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


def training_loops(program: Program) -> Iterator[Loop]:
    """The innermost loops with a `backward` in them."""
    for loop in program.every(ast.For):
        if _trains(loop) and not any(_trains(inner) for inner in within(loop.body, ast.For)):
            yield _loop(program, loop)


def evaluation_loops(program: Program) -> Iterator[Loop]:
    """The innermost loops over a loader that ask a net, count or sum something, and never train."""
    for node in program.every(ast.For):
        loop = _loop(program, node)
        if (
            _trains(node)
            or steps_taken(program, node)
            or (key_of(loop.over) is None and not isinstance(loop.over, ast.Subscript))
        ):
            continue
        if any(_collects(program, inner) for inner in within(node.body, ast.For)) or not _collects(program, node):
            continue
        if not any(isinstance(outer, ast.For) and _trains_itself(outer) for outer in program.above(node)):
            yield loop


def _loop(program: Program, loop: ast.For) -> Loop:
    return Loop(node=loop, scope=program.scope(loop), over=iterated(program, loop.iter))


def _trains(node: ast.AST) -> bool:
    return any(last_name(call.func) == "backward" for call in within(node, ast.Call))


def _trains_itself(loop: ast.For) -> bool:
    """Whether a loop over batches trains, as a loop over epochs does not by itself."""
    return _trains(loop) and not any(_trains(inner) for inner in within(loop.body, ast.For))


def _collects(program: Program, loop: ast.For) -> bool:
    """Whether a loop asks a net and keeps account of what it answers."""
    calls = list(within(loop.body, ast.Call))
    keeps = any(within(loop.body, ast.AugAssign)) or any(last_name(call.func) in _KEEPS for call in calls)
    judges = any(last_name(call.func) in ("argmax", "max", "topk", "eq") for call in calls) or any(
        loss_of(program, call) for call in calls
    )
    return keeps and judges and any(is_net(program, call.func) for call in calls)


def iterated(program: Program, expr: ast.expr, _steps: int = 0) -> ast.expr:
    """What is gone through, without what only counts or shows progress."""
    if isinstance(expr, ast.Call) and last_name(expr.func) in _WRAPPERS and expr.args and _steps < 8:
        return iterated(program, expr.args[0], _steps + 1)
    if key_of(expr) is not None and _steps < 8:
        bound = reaching(program, expr)
        if bound and all(isinstance(one.value, ast.Call) and last_name(one.value.func) in _WRAPPERS for one in bound):
            shown = bound[-1].value
            if isinstance(shown, ast.Call) and shown.args:
                return iterated(program, shown.args[0], _steps + 1)
    return expr


def is_net(program: Program, expr: ast.expr) -> bool:
    """Whether an expression is a net: by its class where that is seen, by its name where it is not."""
    if key_of(expr) is None:
        return False
    return net_class(program, expr) is not None or bool(_NET_NAME.search(last_name(expr)))


def is_net_class(program: Program, made: ast.ClassDef, _steps: int = 0) -> bool:
    """Whether a class is a module of torch, by its bases."""
    for base in made.bases:
        if last_name(base) in ("Module", "LightningModule"):
            return True
        parents = program.classes.get(last_name(base), ())
        if parents and parents[-1] is not made and _steps < 8 and is_net_class(program, parents[-1], _steps + 1):
            return True
    return False


def net_class(program: Program, expr: ast.expr) -> ast.ClassDef | None:
    """The class of the program that a net is of; None where it is not seen, or may be more than one."""
    found = {made for value in values(program, expr) for made in [_class_made(program, value)]}
    return found.pop() if len(found) == 1 else None


def _class_made(program: Program, value: Value) -> ast.ClassDef | None:
    call = made_by(program, value.node)
    if call is None or value.item is not None or not isinstance(call.func, ast.Name):
        return None
    known = [made for made in program.classes.get(call.func.id, ()) if is_net_class(program, made)]
    # A notebook may say a class anew; the last one before the call counts.
    before = [made for made in known if made.lineno < call.lineno] or known
    return before[-1] if before else None


def made_by(program: Program, expr: ast.expr, _steps: int = 0) -> ast.Call | None:
    """The call that made a net, through `.to(device)` and the like."""
    if not isinstance(expr, ast.Call) or _steps > 8:
        return None
    inner: ast.expr | None = None
    if isinstance(expr.func, ast.Attribute) and expr.func.attr in _NET_METHODS:
        inner = expr.func.value
    elif last_name(expr.func) in _NET_FUNCTIONS and expr.args:
        inner = expr.args[0]
    if inner is None:
        return expr
    found = values(program, inner)
    return made_by(program, found[0].node, _steps + 1) if len(found) == 1 and found[0].item is None else None


def nets_called(program: Program, node: ast.AST) -> list[ast.Call]:
    """The calls of nets in a loop or a function."""
    return [call for call in within(node, ast.Call) if is_net(program, call.func)]


def loss_of(program: Program, call: ast.Call) -> Loss | None:
    """What is known of a call, if it gives a cross entropy or a negative log-likelihood."""
    if last_name(call.func) in _FUNCTIONAL_LOSSES:
        reduction = reduction_of(program, call)
        kind = _FUNCTIONAL_LOSSES[last_name(call.func)]
        return None if reduction is None else Loss(call=call, kind=kind, made=call, reduction=reduction)
    makers = [value.node for value in values(program, call.func) if value.item is None]
    if isinstance(call.func, ast.Call):
        makers = [call.func]
    found = []
    for made in makers:
        # A loss may be moved to a device, too.
        maker = made_by(program, made)
        if maker is None or last_name(maker.func) not in _LOSSES:
            return None
        reduction = reduction_of(program, maker)
        if reduction is None:
            return None
        found.append(Loss(call=call, kind=last_name(maker.func), made=maker, reduction=reduction))
    # Where a function is called with losses of different kinds, a sum is what is worth telling.
    return next((loss for loss in found if loss.reduction == "sum"), found[0]) if found else None


def losses_agree(program: Program, call: ast.Call) -> bool:
    """Whether all that a loss may be reduces in the same way."""
    makers = [made_by(program, value.node) for value in values(program, call.func)]
    if last_name(call.func) in _FUNCTIONAL_LOSSES or isinstance(call.func, ast.Call):
        return True
    return len({reduction_of(program, maker) if maker else None for maker in makers}) == 1


def reduction_of(program: Program, call: ast.Call) -> Reduction | None:
    """mean, sum or none; None where it cannot be seen."""
    given = option(program, call, "reduction")
    if given.may_be_absent and not given.exprs:
        averaged = option(program, call, "size_average")
        if averaged.may_be_absent:
            return "mean"
        return "sum" if constant(program, averaged) is False else None
    said = constant(program, given)
    reductions: dict[object, Reduction] = {"mean": "mean", "sum": "sum", "none": "none"}
    return reductions.get(said)


def is_optimizer(program: Program, expr: ast.expr) -> bool:
    """Whether an expression is an optimizer: by what it is made of, or by its name."""
    made = [value.node for value in values(program, expr)]
    if any(isinstance(one, ast.Call) and last_name(one.func) in OPTIMIZERS for one in made):
        return True
    return bool(_OPTIMIZER_NAME.search(last_name(expr)))


def steps_taken(program: Program, node: ast.AST) -> list[ast.Call]:
    """The `optimizer.step()` calls in a node; of the optimizer, not of a scheduler."""
    return [
        call
        for call in within(node, ast.Call)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "step" and is_optimizer(program, call.func.value)
    ]


def methods_called(node: ast.AST, *names: str) -> list[ast.Call]:
    """The calls of methods or functions of these names in a node."""
    return [call for call in within(node, ast.Call) if last_name(call.func) in names]


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
        if inner in seen or left == 0 or not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        seen.add(inner)
        for call in calls_of(program, inner):
            found.append((program.scope(call), call))
            waiting.append((program.scope(call), left - 1))
    return found
