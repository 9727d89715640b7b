"""Faults of the loss: what it is asked with, how it is reduced, and how it is summed up and told."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from flyweight.code_check.data import loader_calls, number
from flyweight.code_check.findings import Spot
from flyweight.code_check.loops import (
    OPTIMIZERS,
    Loop,
    Loss,
    evaluation_loops,
    is_net,
    loss_of,
    losses_agree,
    net_class,
    training_loops,
)
from flyweight.code_check.program import (
    Program,
    Value,
    begin,
    end,
    key_of,
    last_name,
    option,
    reaching,
    values,
    within,
    written,
)

# A step of SGD of more than this, per image, is beyond what any net of the documents has trained with.
GREATEST_LR = 0.5
# Their steps do not depend on the scale of the loss (Kingma & Ba, 2015, section 2.1).
_SCALE_FREE = {"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop"}


def summed_in_training(program: Program) -> Iterator[Spot]:
    """A sum over the batch that is differentiated as it is."""
    for loop in training_loops(program):
        for loss in _differentiated(program, loop):
            if loss.reduction == "sum":
                yield _summed(program, loop, loss)


def _differentiated(program: Program, loop: Loop) -> Iterator[Loss]:
    """The losses whose `backward` is called as they come, without a division in between."""
    for call in within(loop.node, ast.Call):
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "backward":
            continue
        receiver = call.func.value
        if _is_scaled(loop, receiver):
            continue
        for value in values(program, receiver):
            loss = loss_of(program, value.node) if isinstance(value.node, ast.Call) and value.item is None else None
            if loss is not None:
                yield loss


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
    if kind in _SCALE_FREE:
        return Spot(line=_line_of(loss.made), fix=fixed, detail=f"{kind} is blind to it", severity="note")
    lr = number(program, optimizer, "lr", 1) if optimizer is not None else None
    sizes = {number(program, loader, "batch_size", 1) for loader in loader_calls(program, loop.over)}
    size = sizes.pop() if len(sizes) == 1 else None
    if lr is None or size is None:
        return Spot(line=_line_of(loss.made), fix=fixed, detail="the effective lr is lr x batch size")
    return Spot(
        line=_line_of(loss.made),
        fix=fixed,
        detail=f"lr {lr:g} x batch size {size:g} is an effective lr of {lr * size:g}",
        severity="fault" if lr * size > GREATEST_LR else "warning",
    )


def _line_of(made: ast.Call) -> int:
    """The line that says the reduction."""
    lines = [keyword.value.lineno for keyword in made.keywords if keyword.arg in ("reduction", "size_average")]
    return lines[0] if lines else made.lineno


def _without(call: ast.Call, *names: str) -> str:
    kept = [keyword for keyword in call.keywords if keyword.arg not in names]
    return written(ast.Call(func=call.func, args=call.args, keywords=kept))


def _optimizer(program: Program, loop: Loop) -> ast.Call | None:
    """The call that made the optimizer of a loop; None where it is not seen, or may be more than one."""
    found = {
        value.node
        for call in within(loop.node, ast.Call)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "step"
        for value in values(program, call.func.value)
        if isinstance(value.node, ast.Call) and last_name(value.node.func) in OPTIMIZERS
    }
    made = found.pop() if len(found) == 1 else None
    return made if isinstance(made, ast.Call) else None


def softmax_before_loss(program: Program) -> Iterator[Spot]:
    """Probabilities where cross entropy, or the negative log-likelihood, wants something else."""
    for call, loss, last in _asked(program):
        if last == "softmax":
            wanted = "logits" if loss.kind == "CrossEntropyLoss" else "logarithms of probabilities"
            new = "leave the softmax out" if loss.kind == "CrossEntropyLoss" else "log_softmax(..., dim=1)"
            yield Spot(line=call.lineno, fix=new, detail=f"the loss wants {wanted}")


def log_softmax_before_loss(program: Program) -> Iterator[Spot]:
    """log_softmax before cross entropy, which has one of its own."""
    for call, loss, last in _asked(program):
        if last == "log_softmax" and loss.kind == "CrossEntropyLoss":
            yield Spot(line=call.lineno, fix="leave log_softmax out, or take F.nll_loss after it")


def logits_to_likelihood(program: Program) -> Iterator[Spot]:
    """Logits where the negative log-likelihood wants logarithms of probabilities."""
    for call, loss, last in _asked(program):
        if last == "linear" and loss.kind == "NLLLoss":
            yield Spot(
                line=loss.call.lineno,
                fix="cross_entropy, which takes logits",
                detail=f"the net ends in {written(call)}",
            )


def _asked(program: Program) -> Iterator[tuple[ast.Call, Loss, str]]:
    """Each loss of a loop with the last thing that its net, or the line before it, does to its answers."""
    seen = set()
    loops = [*training_loops(program), *evaluation_loops(program)]
    for loop in loops:
        for call in within(loop.node, ast.Call):
            loss = loss_of(program, call)
            answers = option(program, call, "input", 0).exprs if loss is not None else ()
            if loss is None or not answers:
                continue
            last = _last(program, answers[0])
            if last is not None and (last[0], loss.kind) not in seen:
                seen.add((last[0], loss.kind))
                yield last[0], loss, last[1]


def _last(program: Program, expr: ast.expr, _steps: int = 0) -> tuple[ast.Call, str] | None:
    """The call that ends a net and what it is: softmax, log_softmax, linear; None for all else."""
    found = values(program, expr)
    if len(found) != 1 or found[0].item is not None or not isinstance(found[0].node, ast.Call) or _steps > 8:
        return None
    call = found[0].node
    name = last_name(call.func)
    kinds = {"softmax": "softmax", "log_softmax": "log_softmax", "Softmax": "softmax", "LogSoftmax": "log_softmax"}
    if name in kinds:
        return call, kinds[name]
    if name == "Linear":
        return call, "linear"
    if name == "Sequential" and call.args and not isinstance(call.args[-1], ast.Starred):
        return _last(program, call.args[-1], _steps + 1)
    # self.out(x): what self.out is; model(x): what its forward returns; nn.Softmax(dim=1)(x)
    if isinstance(call.func, ast.Call):
        return _last(program, call.func, _steps + 1)
    if is_net(program, call.func):
        return _of_net(program, call.func, _steps)
    if key_of(call.func) is not None and reaching(program, call.func):
        return _of_layer(program, call, _steps)
    return None


def _of_layer(program: Program, call: ast.Call, steps: int) -> tuple[ast.Call, str] | None:
    last = _last(program, call.func, steps + 1)
    # The place is where the layer is called, unless what it is stands out by itself.
    return None if last is None else (call if last[1] == "linear" else last[0], last[1])


def _of_net(program: Program, net: ast.expr, steps: int) -> tuple[ast.Call, str] | None:
    made = net_class(program, net)
    if made is None:
        return _last(program, net, steps + 1) if reaching(program, net) else None
    forward = [part for part in made.body if isinstance(part, ast.FunctionDef) and part.name == "forward"]
    results = [given.value for part in forward for given in within(part, ast.Return) if given.value is not None]
    return _last(program, results[0], steps + 1) if len(results) == 1 else None


def divided_twice(program: Program) -> Iterator[Spot]:
    """A sum of means of batches that is divided by the number of images."""
    for loop in [*training_loops(program), *evaluation_loops(program)]:
        for total in _sums_of_means(program, loop):
            for line, by in divisions(program, loop, total):
                if _counts_images(program, loop, by):
                    fix = f"divide {total} by len({written(loop.over)}), or add loss.item() * len(data) in the loop"
                    yield Spot(line=line, fix=fix, detail=f"{written(by)} is a number of images")


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
    """Without `.item()`, `float()` and the like."""
    if (
        isinstance(expr, ast.Call)
        and isinstance(expr.func, ast.Attribute)
        and expr.func.attr in ("item", "detach", "cpu")
    ):
        return _unwrapped(program, expr.func.value)
    if isinstance(expr, ast.Attribute) and expr.attr == "data":
        return _unwrapped(program, expr.value)
    if isinstance(expr, ast.Call) and last_name(expr.func) == "float" and expr.args:
        return _unwrapped(program, expr.args[0])
    found: tuple[Value, ...] = values(program, expr)
    if len(found) == 1 and found[0].node is not expr and found[0].item is None:
        return _unwrapped(program, found[0].node)
    return [value.node for value in found if value.item is None]


def divisions(program: Program, loop: Loop, total: str) -> Iterator[tuple[int, ast.expr]]:
    """Where a sum is divided in the function of its loop, and by what."""
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
    given: list[ast.Name | ast.Attribute] = [*within(loop.scope, ast.Name), *within(loop.scope, ast.Attribute)]
    return not any(
        isinstance(name.ctx, ast.Store) and key_of(name) == key and end(loop.node) <= begin(name) < begin(node)
        for name in given
    )


def _scaled(expr: ast.expr) -> ast.expr:
    """`correct` of `100. * correct`."""
    if isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Mult):
        return expr.right if isinstance(expr.left, ast.Constant) else expr.left
    return expr


def _counts_images(program: Program, loop: Loop, expr: ast.expr) -> bool:
    """Whether a divisor is len(loader.dataset), or was counted up by the size of each batch."""
    for value in values(program, expr):
        call = value.node
        if isinstance(call, ast.Call) and last_name(call.func) == "len" and call.args:
            measured = call.args[0]
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


def last_batch_told(program: Program) -> Iterator[Spot]:
    """The loss of the last batch that is kept or returned as the loss of the epoch."""
    for loop in training_loops(program):
        if isinstance(loop.over, ast.Call):
            continue
        inside = _losses_named(program, loop)
        for statement, told in _told(loop):
            key = key_of(_plain(told))
            if key in inside and follows(program, loop, statement, key):
                yield _last_batch(statement, told)


def _told(loop: Loop) -> Iterator[tuple[ast.Call | ast.Return, ast.expr]]:
    """What the function of a loop appends to lists and returns."""
    for call in within(loop.scope, ast.Call):
        if last_name(call.func) == "append" and call.args:
            yield call, call.args[0]
    for result in within(loop.scope, ast.Return):
        for part in _parts(result.value):
            yield result, part


def _parts(result: ast.expr | None) -> list[ast.expr]:
    if isinstance(result, ast.Tuple):
        return result.elts
    return [result] if result is not None else []


def _losses_named(program: Program, loop: Loop) -> set[str]:
    """The names that a batch gives a new loss: those that `backward` is called on, and no sums."""
    named = set()
    for call in within(loop.node, ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "backward":
            key = key_of(call.func.value)
            bound = reaching(program, call.func.value) if key is not None else []
            if key is not None and bound and all(_is_inside(program, one.node, loop.node) for one in bound):
                named.add(key)
    return {key for key in named if not _is_summed(loop, key)}


def _is_summed(loop: Loop, key: str | None) -> bool:
    return any(key_of(change.target) == key for change in within(loop.node, ast.AugAssign))


def _is_inside(program: Program, node: ast.AST, outer: ast.AST) -> bool:
    return any(around is outer for around in program.above(node))


def _plain(expr: ast.expr) -> ast.expr:
    """Without `.item()`, `.detach()`, `.cpu()`, `float()` and `.data`."""
    if isinstance(expr, ast.Call) and last_name(expr.func) in ("item", "detach", "cpu", "numpy"):
        return _plain(expr.func.value) if isinstance(expr.func, ast.Attribute) else expr
    if isinstance(expr, ast.Call) and last_name(expr.func) == "float" and expr.args:
        return _plain(expr.args[0])
    return _plain(expr.value) if isinstance(expr, ast.Attribute) and expr.attr == "data" else expr


def _last_batch(node: ast.stmt | ast.expr, told: ast.expr) -> Spot:
    name = written(_plain(told))
    fix = f"add {name}.item() * len(data) in the loop, and divide by the number of images after it"
    return Spot(line=node.lineno, fix=fix, detail=f"{name} is of the last batch")


def kept_with_graph(program: Program) -> Iterator[Spot]:
    """A sum over the batches that keeps the graph of every batch."""
    for loop in training_loops(program):
        lost = _losses_named(program, loop)
        differentiated = {
            key_of(call.func.value)
            for call in within(loop.scope, ast.Call)
            if isinstance(call.func, ast.Attribute) and call.func.attr == "backward"
        }
        for change in within(loop.node, ast.AugAssign):
            key = key_of(change.value)
            is_lost = isinstance(change.op, ast.Add) and key in lost and not _is_plain(program, change.value)
            if is_lost and key_of(change.target) not in differentiated:
                yield Spot(line=change.lineno, fix=f"{written(change.target)} += {key}.item()")


def _is_plain(program: Program, expr: ast.expr) -> bool:
    """Whether a name was made a plain number before."""
    return any(_plain(value.node) is not value.node for value in values(program, expr))
