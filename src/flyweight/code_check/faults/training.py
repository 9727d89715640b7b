"""Faults of the training step: gradients, optimizer, schedule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from flyweight.code_check.data import name_given
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import (
    OPTIMIZERS,
    Loop,
    functions_called,
    is_net_class,
    loss_of,
    made_by,
    nets_called,
    steps_taken,
    training_loops,
)
from flyweight.code_check.passes import passes_of
from flyweight.code_check.program import (
    Program,
    all_arguments,
    begin,
    calls_within,
    functions_of,
    key_of,
    last_name,
    method_calls,
    remembered,
    values,
    within,
)

_FALLING = ("StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR", "PolynomialLR", "ConstantLR")
_OTHERS = ("CosineAnnealingWarmRestarts", "ReduceLROnPlateau", "OneCycleLR", "CyclicLR", "LambdaLR", "MultiplicativeLR")
_READ_ONLY = ("get_last_lr", "state_dict", "last_epoch", "get_lr")
_SCHEDULES = {*_FALLING, *_OTHERS, "SequentialLR"}


@fault("CD14", "gradients are not set to zero in the loop")
def gradients_not_cleared(program: Program) -> Iterator[Spot]:
    """backward adds to the existing gradients, and nothing sets them to zero between two steps. Each step then follows
    the sum of all batches so far, and training soon diverges. Call optimizer.zero_grad() once per step, before
    backward."""
    # A loop that steps after each batch and never sets the gradients to zero.
    for loop in training_loops(program):
        steps = steps_taken(program, loop.node)
        # A loop over something else than a loader may clear the gradients elsewhere in its function.
        if not steps or _clears(program, loop.scope if isinstance(loop.over, ast.Call) else loop.node):
            continue
        # dist_autograd.backward(context, losses) has gradients of its own for each context.
        if any(len(call.args) > 1 for call in calls_within(loop.node, "backward")):
            continue
        optimizer = ast.unparse(steps[0].func).removesuffix(".step")
        first = next(call for call in calls_within(loop.node, "backward"))
        yield Spot(line=first.lineno, fix=f"write {optimizer}.zero_grad() above this line")
    yield from _never_cleared(program)


def _never_cleared(program: Program) -> Iterator[Spot]:
    """A step in a function of its own, in a program that clears no gradients anywhere."""
    names = {node.attr for node in program.every(ast.Attribute)}
    if names & {"zero_grad", "grad"} or "grad" in program.calls or passes_of(program).calls_unknown(program.tree):
        return
    for function in program.functions_in_order:
        steps = steps_taken(program, function)
        backward = [call for call in calls_within(function, "backward") if len(call.args) < 2]
        if steps and backward and passes_of(program).level(backward[0]) and not any(within(function, ast.For)):
            optimizer = ast.unparse(steps[0].func).removesuffix(".step")
            yield Spot(line=backward[0].lineno, fix=f"write {optimizer}.zero_grad() above this line")


def _clears(program: Program, node: ast.AST) -> bool:
    # By zero_grad, or by hand: p.grad = None, p.grad.zero_().
    parts = [node, *functions_called(program, node)]
    names = {inner.attr for part in parts for inner in within(part, ast.Attribute)}
    return "grad" in names or any(calls_within(part, "zero_grad") for part in parts)


@fault("CD15", "gradients are set to zero before the step uses them")
def gradients_cleared_before_step(program: Program) -> Iterator[Spot]:
    """zero_grad is called between backward and step. The step then has gradients of zero, and the net does not change.
    The order is zero_grad, backward, step."""
    # Gradients that are set to zero after `backward` and before the step that should use them.
    for loop in training_loops(program):
        order = _order(program, loop)
        if order is None:
            continue
        backward, clear, step = order
        # From backward on, and round the loop to its first statements: is clearing before the step?
        to_clear, to_step = ((after - backward - 1) % len(loop.node.body) for after in (clear, step))
        if to_clear < to_step:
            line = loop.node.body[step].lineno
            yield Spot(line=line, fix="the order is zero_grad(), loss.backward(), step()")


def _order(program: Program, loop: Loop) -> tuple[int, int, int] | None:
    """The indices of the statements with backward, zero_grad and step; None unless a loop has each of them once."""
    where: dict[str, list[int]] = {"backward": [], "zero_grad": [], "step": []}
    for number, statement in enumerate(loop.node.body):
        found = {
            "backward": calls_within(statement, "backward"),
            "zero_grad": calls_within(statement, "zero_grad"),
            "step": steps_taken(program, statement),
        }
        if any(found.values()) and not isinstance(statement, (ast.Expr, ast.Assign)):
            return None
        for name, calls in found.items():
            where[name] += [number] * len(calls)
    if any(len(numbers) != 1 for numbers in where.values()):
        return None
    return where["backward"][0], where["zero_grad"][0], where["step"][0]


@fault("CD16", "the optimizer steps, and backward is never called")
def no_backward(program: Program) -> Iterator[Spot]:
    """The loss is computed, but its gradients are not. The optimizer then leaves the weights unchanged, without an
    error. Call loss.backward() before the step."""
    # Steps without gradients: nothing in the program calls `backward`.
    if "backward" in program.calls or any(node.attr == "grad" for node in program.every(ast.Attribute)):
        return
    for loop in program.every(ast.For):
        steps = [call for call in steps_taken(program, loop) if not call.args and not call.keywords]
        losses = [call for call in within(loop, ast.Call) if loss_of(program, call) is not None]
        is_inner = not any(steps_taken(program, inner) for inner in within(loop.body, ast.For))
        if steps and losses and is_inner and nets_called(program, loop):
            yield Spot(line=steps[0].lineno, fix="write loss.backward() above this line")


@fault("CD17", "the optimizer never steps")
def no_step(program: Program) -> Iterator[Spot]:
    """Gradients are computed and an optimizer is made, but its step is never called. The weights keep their initial
    values, and the accuracy stays at chance. Call optimizer.step() after backward."""
    # Gradients without a step: an optimizer is made, and its `step` is never called.
    made = [call for call in program.called(*OPTIMIZERS) if calls_within(call, "parameters")]
    loops = list(training_loops(program))
    if made and loops and "step" not in program.calls and not any(_passes_on(program, call) for call in made):
        backward = calls_within(loops[0].node, "backward")
        yield Spot(line=backward[0].lineno, fix=f"write {name_given(program, made[0])}.step() below this line")


def _passes_on(program: Program, call: ast.Call) -> bool:
    """Whether what a call makes is given to something that cannot be followed."""
    name = name_given(program, call)
    return not name or not _is_followed(program, name)


@remembered
def _is_followed(program: Program, name: str) -> bool:
    parents = [program.parents[used][0] for used in program.loads(name)]
    return all(
        isinstance(parent, ast.Attribute)
        or (isinstance(parent, ast.Call) and last_name(parent.func) in program.functions)
        for parent in parents
    )


@fault("CD19", "the schedule steps before the optimizer", severity="warning")
def schedule_before_optimizer(program: Program) -> Iterator[Spot]:
    """scheduler.step() is called before the training of the epoch. The first learning rate of the schedule is skipped,
    and each later one comes an epoch early. Call it at the end of the epoch."""
    # A schedule that steps before the optimizer, so that its first learning rate is never used.
    for loop in program.every(ast.For):
        taken = [(statement, call) for statement in loop.body for call in _schedule_steps(program, statement)]
        training = [statement for statement in loop.body if _steps(program, statement)]
        if len(taken) != 1 or not training:
            continue
        statement, call = taken[0]
        if loop.body.index(statement) < loop.body.index(training[0]) and isinstance(statement, ast.Expr):
            yield Spot(line=call.lineno, fix=f"write {ast.unparse(call)} below the training of the epoch")


def _schedule_steps(program: Program, statement: ast.stmt) -> list[ast.Call]:
    # A step with an argument gets the epoch or the loss, which some schedules need before the training.
    calls = method_calls(statement, "step")
    return [call for call, receiver in calls if not call.args and _is_schedule(program, receiver)]


def _is_schedule(program: Program, expr: ast.expr) -> bool:
    found = [value.node for value in values(program, expr)]
    return bool(found) and all(isinstance(one, ast.Call) and last_name(one.func) in _SCHEDULES for one in found)


def _steps(program: Program, statement: ast.stmt) -> bool:
    return any(steps_taken(program, part) for part in [statement, *functions_called(program, statement)])


@fault("CD20", "the schedule never steps", severity="warning")
def schedule_never_steps(program: Program) -> Iterator[Spot]:
    """A schedule for the learning rate is made, but its step is never called. The learning rate stays at its first
    value, so that the loss still varies at the end. Call scheduler.step() once per epoch, or per batch where the
    schedule counts batches."""
    # A schedule that is made, and whose `step` is never called.
    for call in program.called(*_SCHEDULES):
        name, parent = name_given(program, call), program.parents[call][0]
        is_named = isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name)
        if is_named and call.args and _is_read_only(program, name) and any(training_loops(program)):
            yield Spot(line=call.lineno, fix=f"write {name}.step() at the end of each epoch")


@remembered
def _is_read_only(program: Program, name: str) -> bool:
    uses = [program.parents[used][0] for used in program.loads(name)]
    return all(isinstance(use, ast.Attribute) and use.attr in _READ_ONLY for use in uses)


@fault("CD18", "the optimizer has the parameters of another net")
def optimizer_of_another_net(program: Program) -> Iterator[Spot]:
    """The net is made a second time after the optimizer got its parameters. The optimizer then trains the first net,
    and the second, which is tested, does not learn. Make the optimizer after the net."""
    # A net that is made a second time after the optimizer got the parameters of the first, and is then trained.
    made = [(call, name_given(program, call)) for call in program.called(*OPTIMIZERS)]
    last = {name: begin(call) for call, name in made}
    for call, optimizer in made:
        net = _net_of(call)
        is_replaced = last[optimizer] > begin(call)
        again = _made_after(program, call, net) if net and optimizer and not is_replaced else None
        if again is not None and _trained_after(program, again, net, optimizer):
            fix = f"{optimizer} = {ast.unparse(call)}, below this line"
            yield Spot(line=again.lineno, fix=fix, detail=f"{optimizer} has the parameters of the earlier {net}")


def _net_of(call: ast.Call) -> str:
    """`model` of `Adam(model.parameters())`; empty for another form."""
    first = call.args[0] if call.args else None
    if not isinstance(first, ast.Call) or last_name(first.func) != "parameters":
        return ""
    return last_name(first.func.value) if isinstance(first.func, ast.Attribute) else ""


def _made_after(program: Program, call: ast.Call, name: str) -> ast.Assign | None:
    statement = next(outer for outer in program.ancestors(call) if isinstance(outer, ast.stmt))
    for assign in within(program.scope(call), ast.Assign):
        is_same = len(assign.targets) == 1 and isinstance(assign.targets[0], ast.Name) and assign.targets[0].id == name
        if is_same and begin(assign) > begin(call) and program.parents[assign][0] is program.parents[statement][0]:
            made = made_by(program, assign.value)
            classes = program.classes.get(last_name(made.func), ()) if made is not None else ()
            # model = model.to(device) returns the same net; so does a wrapper.
            is_new = name not in {inner.id for inner in within(assign.value, ast.Name)}
            if is_new and classes and is_net_class(program, classes[-1]):
                return assign
    return None


def _trained_after(program: Program, again: ast.Assign, net: str, optimizer: str) -> bool:
    """Whether both are given to a later function, or used in a later loop."""
    for call in within(program.scope(again), ast.Call):
        given = {last_name(one) for one in all_arguments(call)}
        if begin(call) > begin(again) and {net, optimizer} <= given and functions_of(program, call):
            return any(steps_taken(program, made) for made in functions_of(program, call))
    for loop in training_loops(program):
        if begin(loop.node) > begin(again) and program.scope(loop.node) is program.scope(again):
            stepped = {ast.unparse(step.func) for step in steps_taken(program, loop.node)}
            called = {key_of(call.func) for call in nets_called(program, loop.node)}
            if f"{optimizer}.step" in stepped and net in called:
                return True
    return False


FAULTS: Final[tuple[Fault, ...]] = (
    gradients_not_cleared,
    gradients_cleared_before_step,
    no_backward,
    no_step,
    schedule_before_optimizer,
    schedule_never_steps,
    optimizer_of_another_net,
)
