"""Faults of the loss: its input, its reduction, and how it is summed and reported."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from flyweight.code_check.data import loader_calls, number
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import (
    OPTIMIZERS,
    SCALE_FREE,
    Loop,
    Loss,
    batch_loops,
    is_net,
    loss_of,
    losses_agree,
    net_class,
    training_loops,
)
from flyweight.code_check.program import (
    MAX_DEPTH,
    Program,
    argument_line,
    begin,
    calls_within,
    end,
    key_of,
    last_name,
    method_calls,
    only_value,
    option,
    plain,
    reaching,
    values,
    within,
)

# No net of the documents has trained with a larger learning rate of SGD per image.
MAX_LR = 0.5
_SOFTMAXES = {
    "softmax": "softmax",
    "Softmax": "softmax",
    "sigmoid": "sigmoid",
    "Sigmoid": "sigmoid",
    "log_softmax": "log_softmax",
    "LogSoftmax": "log_softmax",
}
# What gives an output another form and leaves its numbers.
_FORMS = ("squeeze", "unsqueeze", "view", "reshape", "flatten", "float", "contiguous", "to", "cpu", "cuda", "ravel")


@fault("CD10", "the loss is summed over the batch")
def summed_in_training(program: Program) -> Iterator[Spot]:
    """With reduction='sum' the loss adds up the images of a batch instead of averaging them. The gradient, and with
    plain SGD the step, is larger by the batch size, so that training explodes at a learning rate that looks small.
    Leave the reduction at its default, the mean."""
    # A sum over the batch whose `backward` is called without a division before.
    for loop in training_loops(program):
        for _, receiver in method_calls(loop.node, "backward"):
            for value in values(program, receiver) if not _is_scaled(loop, receiver) else ():
                loss = loss_of(program, value.node) if isinstance(value.node, ast.Call) and value.item is None else None
                if loss is not None and loss.reduction == "sum":
                    yield _summed(program, loop, loss)


def _is_scaled(loop: Loop, receiver: ast.expr) -> bool:
    """Whether the loss is divided in place (`loss /= n`)."""
    return any(
        isinstance(change.op, (ast.Div, ast.Mult)) and key_of(change.target) == key_of(receiver)
        for change in within(loop.node, ast.AugAssign)
    )


def _summed(program: Program, loop: Loop, loss: Loss) -> Spot:
    optimizer = _optimizer(program, loop)
    kind = last_name(optimizer.func) if optimizer is not None else ""
    fixed = _without(loss.made, "reduction", "size_average")
    line = argument_line(loss.made, "reduction", "size_average")
    if kind in SCALE_FREE:
        return Spot(line=line, fix=fixed, detail=f"{kind} does not depend on the scale of the loss", severity="note")
    lr = number(program, optimizer, "lr", 1) if optimizer is not None else None
    sizes = {number(program, loader, "batch_size", 1) for loader in loader_calls(program, loop.over)}
    size = sizes.pop() if len(sizes) == 1 else None
    if lr is None or size is None:
        return Spot(line=line, fix=fixed, detail="the effective lr is lr x batch size")
    detail = f"lr {lr:g} x batch size {size:g} is an effective lr of {lr * size:g}"
    return Spot(line=line, fix=fixed, detail=detail, severity="fault" if lr * size > MAX_LR else "warning")


def _without(call: ast.Call, *names: str) -> str:
    kept = [keyword for keyword in call.keywords if keyword.arg not in names]
    return ast.unparse(ast.Call(func=call.func, args=call.args, keywords=kept))


def _optimizer(program: Program, loop: Loop) -> ast.Call | None:
    """The call that made the optimizer of a loop; None where it is unknown, or may be more than one."""
    found = {
        value.node
        for _, receiver in method_calls(loop.node, "step")
        for value in values(program, receiver)
        if isinstance(value.node, ast.Call) and last_name(value.node.func) in OPTIMIZERS
    }
    made = found.pop() if len(found) == 1 else None
    return made if isinstance(made, ast.Call) else None


@fault("CD11", "a softmax or a sigmoid before the loss")
def softmax_before_loss(program: Program) -> Iterator[Spot]:
    """The net ends in a softmax or a sigmoid, and the loss needs another input. Cross entropy applies one of its own,
    which makes gradients small, and the negative log-likelihood needs logarithms. Return the logits from the net and
    leave the rest to the loss."""
    # Probabilities where cross entropy, or the negative log-likelihood, wants something else.
    for call, loss, last in _loss_inputs(program):
        if last in ("softmax", "sigmoid"):
            takes_logits = loss.kind != "NLLLoss"
            wanted = "logits" if takes_logits else "logarithms of probabilities"
            new = f"leave the {last} out" if takes_logits else "log_softmax(..., dim=1)"
            yield Spot(line=call.lineno, fix=new, detail=f"the loss wants {wanted}")


@fault("CD13", "log_softmax before cross entropy", severity="note")
def log_softmax_before_loss(program: Program) -> Iterator[Spot]:
    """Cross entropy contains a log_softmax of its own, and the net has one, too. The second one changes nothing, since
    the probabilities add up to 1 already. Leave it out of the net, or use nll_loss, so that the code says what it
    does."""
    # log_softmax before cross entropy, which has one of its own.
    for call, loss, last in _loss_inputs(program):
        if last == "log_softmax" and loss.kind == "CrossEntropyLoss":
            yield Spot(line=call.lineno, fix="leave log_softmax out, or take F.nll_loss after it")


@fault("CD12", "the negative log-likelihood gets logits")
def logits_to_likelihood(program: Program) -> Iterator[Spot]:
    """nll_loss needs logarithms of probabilities, and gets the plain output of a layer. It then has no lower bound, so
    one output grows and the net does not learn the classes. Use cross_entropy, or log_softmax before nll_loss."""
    # Logits where the negative log-likelihood wants logarithms of probabilities.
    for call, loss, last in _loss_inputs(program):
        if last == "linear" and loss.kind == "NLLLoss":
            detail = f"the net ends in {ast.unparse(call)}"
            yield Spot(line=loss.call.lineno, fix="cross_entropy, which takes logits", detail=detail)


def _loss_inputs(program: Program) -> Iterator[tuple[ast.Call, Loss, str]]:
    """Each loss with the operation that computes its input, and what that is (see `_last_operation`)."""
    seen = set()
    for call in program.every(ast.Call):
        loss = loss_of(program, call)
        inputs = option(program, call, "input", 0).exprs if loss is not None else ()
        if loss is None or not inputs:
            continue
        last = _last_operation(program, inputs[0])
        if last is not None and (last[0], loss.kind) not in seen:
            seen.add((last[0], loss.kind))
            yield last[0], loss, last[1]


def _last_operation(program: Program, expr: ast.expr, _steps: int = 0) -> tuple[ast.Call, str] | None:
    """The call that ends a net and what it is: softmax, log_softmax, linear; None for all else."""
    call = only_value(program, expr)
    if isinstance(call, ast.Subscript) and _steps <= MAX_DEPTH and not isinstance(call.slice, ast.Constant):
        return _last_operation(program, call.value, _steps + 1)
    if not isinstance(call, ast.Call) or _steps > MAX_DEPTH:
        return None
    name = last_name(call.func)
    if name in _FORMS and isinstance(call.func, ast.Attribute) and last_name(call.func.value) != "torch":
        return _last_operation(program, call.func.value, _steps + 1)
    if isinstance(call.func, ast.Name) and name == "self":
        around = next((outer for outer in program.ancestors(call) if isinstance(outer, ast.ClassDef)), None)
        return _of_class(program, around, _steps) if around is not None else None
    if name in _SOFTMAXES:
        return call, _SOFTMAXES[name]
    if name == "Linear":
        return call, "linear"
    if name == "Sequential" and call.args and not isinstance(call.args[-1], ast.Starred):
        return _last_operation(program, call.args[-1], _steps + 1)
    # self.out(x): what self.out is; model(x): what its forward returns; nn.Softmax(dim=1)(x)
    if isinstance(call.func, ast.Call):
        return _last_operation(program, call.func, _steps + 1)
    if is_net(program, call.func):
        return _of_net(program, call.func, _steps)
    if key_of(call.func) is not None and reaching(program, call.func):
        return _of_layer(program, call, _steps)
    return None


def _of_layer(program: Program, call: ast.Call, steps: int) -> tuple[ast.Call, str] | None:
    last = _last_operation(program, call.func, steps + 1)
    # A linear layer is shown where it is called, another one where it is made.
    return None if last is None else (call if last[1] == "linear" else last[0], last[1])


def _of_net(program: Program, net: ast.expr, steps: int) -> tuple[ast.Call, str] | None:
    made = net_class(program, net)
    if made is None:
        return _last_operation(program, net, steps + 1) if reaching(program, net) else None
    return _of_class(program, made, steps)


def _of_class(program: Program, made: ast.ClassDef, steps: int) -> tuple[ast.Call, str] | None:
    forward = [part for part in made.body if isinstance(part, ast.FunctionDef) and part.name == "forward"]
    results = [given.value for part in forward for given in within(part, ast.Return) if given.value is not None]
    return _last_operation(program, results[0], steps + 1) if len(results) == 1 else None


@fault("CD24", "the loss is divided twice")
def divided_twice(program: Program) -> Iterator[Spot]:
    """The loss of each batch already is a mean per image, and the sum of them is divided by the number of images once
    more. The result is too small by about the batch size, and cannot be compared with any other loss. Divide by the
    number of batches, or weight each batch by its size first."""
    # A sum of means of batches that is divided by the number of images.
    for loop in batch_loops(program):
        for total in _sums_of_means(program, loop):
            for line, by in divisions(program, loop, total):
                if _counts_images(program, loop, by):
                    fix = f"divide {total} by len({ast.unparse(loop.over)}), or add loss.item() * len(data) in the loop"
                    yield Spot(line=line, fix=fix, detail=f"{ast.unparse(by)} is a number of images")


def _sums_of_means(program: Program, loop: Loop) -> Iterator[str]:
    """The names that sum up losses which already are means of a batch."""
    for change in within(loop.node, ast.AugAssign):
        key = key_of(change.target)
        if key is None or not isinstance(change.op, ast.Add):
            continue
        for value in _unwrapped(program, change.value):
            loss = loss_of(program, value) if isinstance(value, ast.Call) else None
            if loss is not None and loss.reduction == "mean" and losses_agree(program, loss.call):
                yield key


def _unwrapped(program: Program, expr: ast.expr) -> list[ast.expr]:
    """What an expression may stand for, without `.item()`, `float()` and the like."""
    expr = plain(expr)
    found = only_value(program, expr)
    if found is not None and found is not expr:
        return _unwrapped(program, found)
    return [value.node for value in values(program, expr) if value.item is None]


def divisions(program: Program, loop: Loop, total: str) -> Iterator[tuple[int, ast.expr]]:
    """The lines where a sum is divided after its loop, each with the divisor."""
    for change in within(loop.scope, ast.AugAssign):
        if isinstance(change.op, ast.Div) and key_of(change.target) == total and follows(program, loop, change, total):
            yield change.lineno, change.value
    for division in within(loop.scope, ast.BinOp):
        is_of_total = isinstance(division.op, ast.Div) and key_of(_scaled(division.left)) == total
        if is_of_total and follows(program, loop, division, total) and not _is_corrected(program, division):
            yield division.lineno, division.right


def _is_corrected(program: Program, division: ast.BinOp) -> bool:
    """Whether a quotient is divided again, or multiplied by something that is no plain number, as a batch size."""
    outer = program.parents[division][0]
    if not isinstance(outer, ast.BinOp) or not isinstance(outer.op, (ast.Div, ast.Mult)):
        return False
    other = outer.right if outer.left is division else outer.left
    return isinstance(outer.op, ast.Div) or not isinstance(other, ast.Constant)


def follows(program: Program, loop: Loop, node: ast.AST, key: str | None) -> bool:
    """Whether a node comes after a loop in its own function, before the name is given something else."""
    if program.scope(node) is not loop.scope or begin(node) < end(loop.node):
        return False
    stored = program.stores.get(key or "", ())
    number = bisect_left(stored, end(loop.node))
    return number == len(stored) or stored[number] >= begin(node)


def _scaled(expr: ast.expr) -> ast.expr:
    """`correct` of `100. * correct`."""
    if isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Mult):
        return expr.right if isinstance(expr.left, ast.Constant) else expr.left
    return expr


def _counts_images(program: Program, loop: Loop, expr: ast.expr) -> bool:
    """Whether a divisor is len(loader.dataset), or was counted up by the size of each batch."""
    for value in values(program, expr):
        call = value.node
        measured = call.args[0] if isinstance(call, ast.Call) and last_name(call.func) == "len" and call.args else None
        if isinstance(measured, ast.Attribute) and measured.attr == "dataset":
            return True
    key = key_of(expr)
    return key is not None and any(
        key_of(change.target) == key and isinstance(change.op, ast.Add) and _is_batch_size(change.value)
        for change in within(loop.node, ast.AugAssign)
    )


def _is_batch_size(expr: ast.expr) -> bool:
    """`len(data)`, `data.size(0)` or `data.shape[0]`."""
    if isinstance(expr, ast.Subscript) and isinstance(expr.value, ast.Attribute):
        return expr.value.attr == "shape" and isinstance(expr.slice, ast.Constant) and expr.slice.value == 0
    if not isinstance(expr, ast.Call):
        return False
    first = expr.args[0] if len(expr.args) == 1 else None
    if last_name(expr.func) == "size":
        return isinstance(first, ast.Constant) and first.value == 0
    return last_name(expr.func) == "len" and isinstance(first, ast.Name)


@fault("CD25", "the loss of the last batch is reported for the epoch", severity="warning")
def last_batch_reported(program: Program) -> Iterator[Spot]:
    """The loss of the last batch is stored as the loss of the epoch. It varies from epoch to epoch by chance, and
    cannot be compared with the loss of all test images. Sum up the losses in the loop and divide once, after it."""
    # The loss of the last batch that is stored or returned as the loss of the epoch.
    for loop in training_loops(program):
        names = _batch_losses(program, loop) if not isinstance(loop.over, ast.Call) else set()
        for statement, result in _results(loop):
            key = key_of(plain(result))
            if key in names and follows(program, loop, statement, key):
                fix = f"add {key}.item() * len(data) in the loop, and divide by the number of images after it"
                yield Spot(line=statement.lineno, fix=fix, detail=f"{key} is of the last batch")


def _results(loop: Loop) -> Iterator[tuple[ast.Call | ast.Return, ast.expr]]:
    """What the function of a loop appends to lists and returns."""
    for call in calls_within(loop.scope, "append"):
        yield from ((call, one) for one in call.args[:1])
    for result in within(loop.scope, ast.Return):
        parts = result.value.elts if isinstance(result.value, ast.Tuple) else [result.value]
        yield from ((result, part) for part in parts if part is not None)


def _batch_losses(program: Program, loop: Loop) -> set[str | None]:
    """The names that get a new loss with each batch: `backward` is called on them, and they are no sums."""
    sums = {key_of(change.target) for change in within(loop.node, ast.AugAssign)}
    found = set()
    for _, receiver in method_calls(loop.node, "backward"):
        bound = reaching(program, receiver)
        if bound and all(loop.node in program.ancestors(one.node) for one in bound):
            found.add(key_of(receiver))
    return found - sums


@fault("CD27", "the sum of the losses keeps every graph in memory", severity="warning")
def kept_with_graph(program: Program) -> Iterator[Spot]:
    """The loss is added up as a tensor, which refers to the computation that it came from. Memory grows with each
    batch, until it is full. Add loss.item(), which is a plain number."""
    # A sum over the batches that keeps the graph of every batch.
    for loop in training_loops(program):
        names = _batch_losses(program, loop)
        differentiated = {key_of(receiver) for _, receiver in method_calls(loop.scope, "backward")}
        for change in within(loop.node, ast.AugAssign):
            key = key_of(change.value)
            is_tensor = all(plain(value.node) is value.node for value in values(program, change.value))
            is_summed = isinstance(change.op, ast.Add) and key in names and is_tensor
            if is_summed and key_of(change.target) not in differentiated:
                yield Spot(line=change.lineno, fix=f"{ast.unparse(change.target)} += {key}.item()")


FAULTS: Final[tuple[Fault, ...]] = (
    summed_in_training,
    softmax_before_loss,
    log_softmax_before_loss,
    logits_to_likelihood,
    divided_twice,
    last_batch_reported,
    kept_with_graph,
)
