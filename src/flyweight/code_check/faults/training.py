"""Faults of the training step: gradients, optimizer, schedule."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from flyweight.code_check.findings import Spot
from flyweight.code_check.loops import (
    OPTIMIZERS,
    Loop,
    functions_called,
    is_net_class,
    loss_of,
    made_by,
    methods_called,
    nets_called,
    steps_taken,
    training_loops,
)
from flyweight.code_check.program import (
    Program,
    begin,
    functions_of,
    key_of,
    last_name,
    values,
    within,
    written,
)

_SCHEDULES = {
    "StepLR",
    "MultiStepLR",
    "ExponentialLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ReduceLROnPlateau",
    "OneCycleLR",
    "CyclicLR",
    "LambdaLR",
    "MultiplicativeLR",
    "LinearLR",
    "PolynomialLR",
    "ConstantLR",
    "SequentialLR",
}


def gradients_not_cleared(program: Program) -> Iterator[Spot]:
    """A loop that steps after each batch and never sets the gradients to zero."""
    for loop in training_loops(program):
        steps = steps_taken(program, loop.node)
        # In a loop over something else than a loader, the steps may have an order of their own.
        if not steps or _clears(program, loop.scope if isinstance(loop.over, ast.Call) else loop.node):
            continue
        optimizer = written(steps[0].func).removesuffix(".step")
        first = next(call for call in methods_called(loop.node, "backward"))
        yield Spot(line=first.lineno, fix=f"write {optimizer}.zero_grad() above this line")


def _clears(program: Program, node: ast.AST) -> bool:
    for part in [node, *functions_called(program, node)]:
        if methods_called(part, "zero_grad"):
            return True
        # p.grad = None, p.grad.zero_(): by hand
        if any(inner.attr == "grad" for inner in within(part, ast.Attribute)):
            return True
    return False


def gradients_cleared_before_step(program: Program) -> Iterator[Spot]:
    """Gradients that are set to zero after `backward` and before the step that should use them."""
    for loop in training_loops(program):
        order = _order(program, loop)
        if order is None:
            continue
        backward, clear, step = order
        # Round the loop from backward on: what comes first, clearing or stepping?
        to_clear, to_step = (
            after - backward if after > backward else after - backward + 10**6 for after in (clear, step)
        )
        if to_clear < to_step:
            line = loop.node.body[step].lineno
            yield Spot(line=line, fix="the order is zero_grad(), loss.backward(), step()")


def _order(program: Program, loop: Loop) -> tuple[int, int, int] | None:
    """Where backward, zero_grad and step stand among the statements of a loop; None unless each is there once."""
    where: dict[str, list[int]] = {"backward": [], "zero_grad": [], "step": []}
    for number, statement in enumerate(loop.node.body):
        found = {
            "backward": methods_called(statement, "backward"),
            "zero_grad": methods_called(statement, "zero_grad"),
            "step": steps_taken(program, statement),
        }
        if any(found.values()) and not isinstance(statement, (ast.Expr, ast.Assign)):
            return None
        for name, calls in found.items():
            where[name] += [number] * len(calls)
    if any(len(places) != 1 for places in where.values()):
        return None
    return where["backward"][0], where["zero_grad"][0], where["step"][0]


def no_backward(program: Program) -> Iterator[Spot]:
    """Steps without gradients: nothing in the program calls `backward`."""
    if "backward" in program.calls or any(node.attr == "grad" for node in program.every(ast.Attribute)):
        return
    for loop in program.every(ast.For):
        steps = [call for call in steps_taken(program, loop) if not call.args and not call.keywords]
        losses = [call for call in within(loop, ast.Call) if loss_of(program, call) is not None]
        is_inner = not any(steps_taken(program, inner) for inner in within(loop.body, ast.For))
        if steps and losses and is_inner and nets_called(program, loop):
            yield Spot(line=steps[0].lineno, fix="write loss.backward() above this line")


def no_step(program: Program) -> Iterator[Spot]:
    """Gradients without a step: the optimizer that is made is never asked to."""
    made = [call for call in program.called(*OPTIMIZERS) if _takes_parameters(call)]
    loops = list(training_loops(program))
    if not made or not loops or "step" in program.calls:
        return
    if any(_passes_on(program, call) for call in made):
        return
    name = _name_of(program, made[0]) or "optimizer"
    backward = methods_called(loops[0].node, "backward")
    yield Spot(line=backward[0].lineno, fix=f"write {name}.step() below this line")


def _takes_parameters(call: ast.Call) -> bool:
    return any(last_name(inner.func) == "parameters" for inner in within(call, ast.Call))


def _name_of(program: Program, call: ast.Call) -> str:
    parent = program.parents[call][0]
    return last_name(parent.targets[0]) if isinstance(parent, ast.Assign) else ""


def _passes_on(program: Program, call: ast.Call) -> bool:
    """Whether what a call makes is given to something that is not seen."""
    name = _name_of(program, call)
    if not name:
        return True
    for used in program.every(ast.Name):
        if used.id == name and isinstance(used.ctx, ast.Load):
            parent = program.parents[used][0]
            is_known = isinstance(parent, ast.Attribute) or (
                isinstance(parent, ast.Call) and last_name(parent.func) in program.functions
            )
            if not is_known:
                return True
    return False


def schedule_before_optimizer(program: Program) -> Iterator[Spot]:
    """A schedule that steps before the optimizer, so that its first learning rate is never used."""
    for loop in program.every(ast.For):
        taken = [_schedule_steps(program, statement) for statement in loop.body]
        trains = [_steps(program, statement) for statement in loop.body]
        if not any(trains) or not any(taken):
            continue
        first, last = next(n for n, calls in enumerate(taken) if calls), trains.index(True)
        is_alone = sum(len(calls) for calls in taken) == 1
        if first < last and is_alone and isinstance(loop.body[first], ast.Expr):
            call = taken[first][0]
            yield Spot(line=call.lineno, fix=f"write {written(call)} below the training of the epoch")


def _schedule_steps(program: Program, statement: ast.stmt) -> list[ast.Call]:
    return [
        call
        for call in methods_called(statement, "step")
        # With an argument it is told the epoch or the loss, which some schedules want first.
        if isinstance(call.func, ast.Attribute) and not call.args and _is_schedule(program, call.func.value)
    ]


def _is_schedule(program: Program, expr: ast.expr) -> bool:
    found = [value.node for value in values(program, expr)]
    return bool(found) and all(isinstance(one, ast.Call) and last_name(one.func) in _SCHEDULES for one in found)


def _steps(program: Program, statement: ast.stmt) -> bool:
    return any(steps_taken(program, part) for part in [statement, *functions_called(program, statement)])


def schedule_never_steps(program: Program) -> Iterator[Spot]:
    """A schedule that is made and never asked for the next learning rate."""
    for call in program.called(*_SCHEDULES):
        name = _name_of(program, call)
        parent = program.parents[call][0]
        is_named = isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name)
        if not is_named or not call.args or not any(training_loops(program)):
            continue
        uses = [used for used in program.every(ast.Name) if used.id == name and isinstance(used.ctx, ast.Load)]
        if all(_only_looks(program, used) for used in uses):
            yield Spot(line=call.lineno, fix=f"write {name}.step() at the end of each epoch")


def _only_looks(program: Program, used: ast.Name) -> bool:
    parent = program.parents[used][0]
    return isinstance(parent, ast.Attribute) and parent.attr in ("get_last_lr", "state_dict", "last_epoch", "get_lr")


def optimizer_of_another_net(program: Program) -> Iterator[Spot]:
    """A net that is made anew after the optimizer got the parameters of the old one, and is then trained."""
    for call in program.called(*OPTIMIZERS):
        owner = _owner(call)
        optimizer = _name_of(program, call)
        if owner is None or not optimizer or not isinstance(owner, ast.Name):
            continue
        scope = program.scope(call)
        again = _made_after(program, call, owner.id)
        if again is None or any(
            begin(other) > begin(call) and _name_of(program, other) == optimizer
            for other in program.called(*OPTIMIZERS)
        ):
            continue
        if _trained_after(program, again, owner.id, optimizer) and program.scope(again) is scope:
            yield Spot(
                line=again.lineno,
                fix=f"{optimizer} = {written(call)}, below this line",
                detail=f"{optimizer} has the parameters of the {owner.id} of before",
            )


def _owner(call: ast.Call) -> ast.expr | None:
    """`model` of `Adam(model.parameters())`."""
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Call) and isinstance(first.func, ast.Attribute) and first.func.attr == "parameters":
        return first.func.value
    return None


def _made_after(program: Program, call: ast.Call, name: str) -> ast.Assign | None:
    scope = program.scope(call)
    block = program.parents[_statement(program, call)][0]
    for assign in within(scope, ast.Assign):
        is_same = len(assign.targets) == 1 and isinstance(assign.targets[0], ast.Name) and assign.targets[0].id == name
        if is_same and begin(assign) > begin(call) and program.parents[assign][0] is block:
            made = made_by(program, assign.value)
            classes = program.classes.get(last_name(made.func), ()) if made is not None else ()
            # model = model.to(device) gives the same net back; so does a wrapper.
            if made is not None and classes and is_net_class(program, classes[-1]) and _is_fresh(assign.value, name):
                return assign
    return None


def _is_fresh(expr: ast.expr, name: str) -> bool:
    return not any(inner.id == name for inner in within(expr, ast.Name))


def _statement(program: Program, node: ast.AST) -> ast.AST:
    while not isinstance(node, ast.stmt):
        node = program.parents[node][0]
    return node


def _trained_after(program: Program, again: ast.Assign, net: str, optimizer: str) -> bool:
    """Whether both are given to a function, or used in a loop, that comes after."""
    scope: Sequence[ast.Call] = list(within(program.scope(again), ast.Call))
    for call in scope:
        given = {last_name(one) for one in [*call.args, *(keyword.value for keyword in call.keywords)]}
        if begin(call) > begin(again) and {net, optimizer} <= given and functions_of(program, call):
            return any(steps_taken(program, made) for made in functions_of(program, call))
    for loop in training_loops(program):
        if begin(loop.node) > begin(again) and program.scope(loop.node) is program.scope(again):
            stepped = {
                key_of(step.func.value)
                for step in steps_taken(program, loop.node)
                if isinstance(step.func, ast.Attribute)
            }
            asked = {key_of(call.func) for call in nets_called(program, loop.node)}
            if optimizer in stepped and net in asked:
                return True
    return False
