"""Faults in what an epoch or a run repeats: optimizer, schedule, seed, gradients, and the net of several trainings."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from flyweight.code_check.data import name_given
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import OPTIMIZERS, is_net, is_optimizer, made_by, nets_called, steps_taken
from flyweight.code_check.passes import BATCH, EPOCH, Passes, calls_behind, origins, passes_of
from flyweight.code_check.program import (
    FUNCTIONS,
    Key,
    Program,
    Scope,
    begin,
    calls_within,
    constant,
    key_of,
    last_name,
    method_calls,
    option,
    remembered,
    targets,
    values,
    within,
)

_EPOCH_COUNTS: Final = ("epoch", "n_ep", "num_ep")
_HIGHER_IS_BETTER: Final = ("acc", "f1", "auc", "top1", "precision", "recall", "score", "kappa", "iou", "dice")
_SETTINGS: Final = (
    "lr",
    "rate",
    "wd",
    "decay",
    "batch",
    "bs",
    "dropout",
    "hidden",
    "momentum",
    "width",
    "depth",
)
_FOLDS: Final = ("KFold", "StratifiedKFold", "GroupKFold", "RepeatedKFold", "StratifiedGroupKFold", "LeaveOneGroupOut")
_SHOWING: Final = ("print", "append", "info", "log", "write", "add_scalar", "format")
_CLIPS: Final = ("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm", "clip_grad_value")


@fault("CD31", "a method is named and not called")
def method_not_called(program: Program) -> Iterator[Spot]:
    """The line names a method without parentheses, which does nothing. The net keeps its mode, or the gradients and
    weights stay as they are, without an error. Write the parentheses."""
    for statement in program.every(ast.Expr):
        named = statement.value
        if not isinstance(named, ast.Attribute) or isinstance(named.value, ast.Call):
            continue
        is_mode = named.attr in ("eval", "train") and is_net(program, named.value)
        is_step = named.attr in ("step", "zero_grad") and is_optimizer(program, named.value)
        if is_mode or is_step or (named.attr == "backward" and "loss" in last_name(named.value).lower()):
            yield Spot(line=statement.lineno, fix=f"{ast.unparse(named)}()")


@fault("CD32", "gradients are cleared before each step of several batches")
def cleared_while_accumulating(program: Program) -> Iterator[Spot]:
    """The optimizer steps once for several batches, to add up their gradients, but the gradients are set to zero for
    each batch. Only the last batch before a step counts, and weakly, since its loss is divided. Call zero_grad right
    after the step, in the same branch."""
    for loop in passes_of(program).loops(BATCH):
        rare = [choice for choice in loop.body if isinstance(choice, ast.If) and _counts_batches(choice.test)]
        stepping = [choice for choice in rare if steps_taken(program, choice) or _scaled_steps(choice)]
        if not stepping or any(_steps_itself(program, one) for one in loop.body if one not in stepping):
            continue
        for statement in loop.body:
            if isinstance(statement, ast.Expr) and calls_within(statement, "zero_grad"):
                yield Spot(line=statement.lineno, fix=f"move {ast.unparse(statement)} below the step, into its branch")


def _counts_batches(test: ast.expr) -> bool:
    return any(isinstance(part.op, ast.Mod) for part in within(test, ast.BinOp))


def _scaled_steps(node: ast.AST) -> list[ast.Call]:
    return [call for call, receiver in method_calls(node, "step") if "scaler" in last_name(receiver).lower()]


def _steps_itself(program: Program, statement: ast.stmt) -> bool:
    return bool(steps_taken(program, statement) or _scaled_steps(statement))


@fault("CD33", "the learning rate counts in other units than the schedule")
def schedule_in_other_units(program: Program) -> Iterator[Spot]:
    """The schedule is made for one number of steps, and is stepped in another unit: batches for epochs, or epochs for
    batches. The rate then swings many times, or hardly leaves its first value. Give it the number of calls of step
    that training makes."""
    passes = passes_of(program)
    for call, receiver in method_calls(program.tree, "step"):
        level = passes.level(call)
        # A loop over epochs that needs no batches is the innermost one, too.
        is_clear = level == EPOCH or (level == BATCH and passes.level_around(call) == EPOCH)
        for made in _schedules_made(program, receiver) if is_clear else ():
            unit = _unit(program, made)
            if unit is not None and unit != level:
                counted, taken = ("batches", "epoch") if unit == BATCH else ("epochs", "batch")
                detail = f"{last_name(made.func)} (line {made.lineno}) counts {counted}, and steps once per {taken}"
                fix = (
                    "step once per batch, in the loop over batches" if unit == BATCH else "step at the end of the epoch"
                )
                yield Spot(line=call.lineno, fix=fix, detail=detail)


def _steps(program: Program) -> list[ast.Call]:
    return [call for call in program.called("step") if isinstance(call.func, ast.Attribute)]


def _schedules_made(program: Program, receiver: ast.expr) -> list[ast.Call]:
    found = [value.node for value in values(program, receiver) if value.item is None]
    return [one for one in found if isinstance(one, ast.Call) and last_name(one.func).endswith(("LR", "Restarts"))]


def _unit(program: Program, made: ast.Call) -> int | None:
    """BATCH or EPOCH: what the length of a schedule counts; None where that cannot be seen."""
    kind = last_name(made.func)
    if kind == "OneCycleLR":
        total = option(program, made, "total_steps", 2).exprs
        has_parts = option(program, made, "steps_per_epoch").exprs or option(program, made, "epochs").exprs
        if not total:
            return BATCH if has_parts else None
        return BATCH if _counts_loader(program, total[0]) else _epochs_alone(program, total[0])
    name, place = {"CosineAnnealingLR": ("T_max", 1), "PolynomialLR": ("total_iters", 1)}.get(kind, ("", 0))
    given = option(program, made, name, place).exprs if name else ()
    if len(given) != 1:
        return None
    return BATCH if _counts_loader(program, given[0]) else _epochs_alone(program, given[0])


def _counts_loader(program: Program, expr: ast.expr) -> bool:
    """Whether a number is computed with the length of a loader, or with one called a number of steps."""
    return any(call.args for call in calls_behind(program, expr, "len")) or any(
        word in last_name(name).lower()
        for one in origins(program, expr)
        for name in ast.walk(one)
        for word in ("steps", "batches", "iters")
    )


def _epochs_alone(program: Program, expr: ast.expr) -> int | None:
    """EPOCH where a number is that of the epochs: by its name, or since the loop over epochs has it."""
    if any(word in last_name(expr).lower() for word in _EPOCH_COUNTS):
        return EPOCH
    counts = [
        loop.iter.args[-1]
        for loop in passes_of(program).loops(EPOCH)
        if isinstance(loop.iter, ast.Call) and last_name(loop.iter.func) in ("range", "trange") and loop.iter.args
    ]
    is_same = any(ast.unparse(one) == ast.unparse(expr) for one in counts)
    return EPOCH if is_same and not isinstance(expr, ast.Constant) else None


@fault("CD34", "the schedule waits for a minimum of a figure that should rise")
def plateau_of_other_mode(program: Program) -> Iterator[Spot]:
    """ReduceLROnPlateau lowers the rate when its figure stops falling (mode 'min') or rising (mode 'max'). It gets a
    figure of the other kind, so that the rate falls while the net still improves. Give it the mode of the figure."""
    for step in _steps(program):
        figure = step.args[0] if step.args else None
        found = (
            [value.node for value in values(program, step.func.value)] if isinstance(step.func, ast.Attribute) else []
        )
        made = [one for one in found if isinstance(one, ast.Call) and last_name(one.func) == "ReduceLROnPlateau"]
        if figure is None or len(made) != 1:
            continue
        given = option(program, made[0], "mode", 1)
        mode = "min" if given.may_be_absent and not given.exprs else constant(program, given)
        rises = _rises(figure)
        if rises is not None and mode in ("min", "max") and rises == (mode == "min"):
            other = "max" if rises else "min"
            yield Spot(
                line=made[0].lineno,
                fix=f"write mode={other!r} into {ast.unparse(made[0].func)}(...)",
                detail=f"it steps with {ast.unparse(figure)} (line {step.lineno})",
            )


def _rises(figure: ast.expr) -> bool | None:
    """Whether a higher figure is better, by its name; None where that says nothing, or both."""
    name = ast.unparse(figure).lower()
    is_high, is_low = any(word in name for word in _HIGHER_IS_BETTER), any(word in name for word in ("loss", "err"))
    if isinstance(figure, (ast.UnaryOp, ast.BinOp)) or is_high == is_low:
        return None
    return is_high


@fault("CD35", "a layer is replaced after the optimizer got the parameters")
def replaced_after_optimizer(program: Program) -> Iterator[Spot]:
    """A layer of the net is replaced by a new one after the optimizer was made. The optimizer keeps the parameters of
    the old layer, and the new one, with random weights, is never trained. Replace the layer first."""
    optimizers = program.called(*OPTIMIZERS)
    last = {program.scope(made): begin(made) for made in optimizers}
    for made in optimizers:
        scope, name = program.scope(made), name_given(program, made) or "the optimizer"
        # A second optimizer, or a group that is added, may be for the new layer.
        if last[scope] > begin(made) or not made.args or "add_param_group" in program.calls:
            continue
        found = calls_behind(program, made.args[0], "parameters")
        nets = {key_of(call.func.value) for call in found if isinstance(call.func, ast.Attribute)}
        for net in sorted(net for net in nets if net is not None):
            for assign in _layers_replaced(program).get((scope, net), ()):
                if begin(assign) > begin(made):
                    detail = f"{name} is made in line {made.lineno}"
                    yield Spot(line=assign.lineno, fix=f"move this line above that of {name}", detail=detail)


@remembered
def _layers_replaced(program: Program) -> dict[tuple[Scope, Key], list[ast.Assign]]:
    """The assignments of a new layer to a part of a net (net.fc = ..., net.classifier[6] = ...), by scope and net."""
    found: dict[tuple[Scope, Key], list[ast.Assign]] = {}
    for assign, target in targets(program.every(ast.Assign)):
        layer = made_by(program, assign.value) if isinstance(target, (ast.Attribute, ast.Subscript)) else None
        inner = target
        while layer is not None and isinstance(inner, (ast.Attribute, ast.Subscript)) and _makes_layer(program, layer):
            inner = inner.value
            if (net := key_of(inner)) is not None and net != "self":
                found.setdefault((program.scope(assign), net), []).append(assign)
    return found


def _makes_layer(program: Program, call: ast.Call) -> bool:
    name = last_name(call.func)
    return name.startswith(("Linear", "Conv", "Sequential", "LazyLinear", "LazyConv")) or name in program.classes


@fault("CD36", "the optimizer is made anew in each epoch", severity="warning")
def optimizer_per_epoch(program: Program) -> Iterator[Spot]:
    """A new optimizer is made in each epoch, for the same net. It loses its momentum and its averages, and a schedule
    that belongs to another one has no effect. Make it once, before the loop over epochs."""
    passes = passes_of(program)
    for made in program.called(*OPTIMIZERS):
        loops = _epochs_around(passes, made)
        if loops and not any(isinstance(outer, ast.If) for outer in _up_to_function(program, made)):
            yield Spot(line=made.lineno, fix="make the optimizer once, before the loop over epochs")


def _epochs_around(passes: Passes, node: ast.expr) -> bool:
    """Whether a node runs once in each epoch of one net: in a loop that is called so, or in a function it calls."""
    program = passes.program
    if passes.level(node) != EPOCH:
        return False
    places: list[ast.AST] = [node]
    for _ in range(4):
        for place in places:
            around = [one for one in _up_to_function(program, place) if passes.levels.get(one) == EPOCH]
            for loop in around:
                return isinstance(loop, (ast.For, ast.While)) and _is_epoch_loop(loop) and not passes.renews_nets(loop)
        functions = [one for place in places for one in [program.scope(place)] if isinstance(one, FUNCTIONS)]
        places = [call for made in functions for call in program.calls.get(made.name, ())]
    return False


def _up_to_function(program: Program, node: ast.AST) -> Iterator[ast.AST]:
    for outer in program.ancestors(node):
        if isinstance(outer, FUNCTIONS):
            return
        yield outer


def _is_epoch_loop(loop: ast.For | ast.While) -> bool:
    head = [loop.target, loop.iter] if isinstance(loop, ast.For) else [loop.test]
    text = " ".join(ast.unparse(part) for part in head).lower()
    return "epoch" in text or text.split()[0] == "ep" or "num_ep" in text


@fault("CD37", "the same seed is set in each epoch", severity="warning")
def seeded_per_epoch(program: Program) -> Iterator[Spot]:
    """A fixed seed is set at the start of each epoch. Each epoch then has the same order of images and the same random
    changes, so that augmentation hardly helps. Set the seed once, before the loop over epochs."""
    passes = passes_of(program)
    for call in program.called("manual_seed", "seed_everything", "set_seed"):
        # A generator of its own is for something else, as is a seed that is computed from the epoch.
        is_of_torch = not isinstance(call.func, ast.Attribute) or last_name(call.func.value) in (
            "torch",
            "random",
            "cuda",
        )
        is_fixed = len(call.args) == 1 and (
            isinstance(call.args[0], ast.Constant) or "seed" in last_name(call.args[0]).lower()
        )
        if is_of_torch and is_fixed and _epochs_around(passes, call):
            yield Spot(line=call.lineno, fix="set the seed once, before the loop over epochs")


@fault("CD38", "one net is trained through all folds or settings")
def one_net_for_all(program: Program) -> Iterator[Spot]:
    """The net is made once, before the loop over folds or settings, and each turn goes on with the weights of the turn
    before. Later folds are validated on images that the net was trained on, and later settings start better. Make the
    net and its optimizer in the loop."""
    passes = passes_of(program)
    for loop in program.every(ast.For):
        kind = _turns(program, loop)
        if kind is None or passes.levels.get(loop, 0) < EPOCH or passes.renews_nets(loop) or passes.calls_unknown(loop):
            continue
        nets = {key_of(name): name for name in _names(loop.body) if is_net(program, name) and _read(name)}
        stored = {key_of(target) for _, target in targets(within(loop, ast.Assign))}
        outside = [name for key, name in nets.items() if key not in stored]
        if outside or (not nets and _functions_use_one_net(program, passes, loop)):
            shown = ast.unparse(outside[0]) if outside else "the net"
            yield Spot(
                line=loop.lineno, fix=f"make {shown} and its optimizer in this loop", detail=f"the loop is over {kind}"
            )


def _turns(program: Program, loop: ast.For) -> str | None:
    """folds or settings, if a loop is over such."""
    splits = [call for call in within(loop.iter, ast.Call) if last_name(call.func) == "split"]
    for call in splits:
        receiver = call.func.value if isinstance(call.func, ast.Attribute) else call
        made = [receiver, *(value.node for value in values(program, receiver))]
        if any(isinstance(one, ast.Call) and last_name(one.func) in _FOLDS for one in made):
            return "folds"
    names = [last_name(name).lower() for name in ast.walk(loop.target) if isinstance(name, ast.Name)]
    if any("fold" in name for name in names):
        return "folds"
    is_setting = any(part in _SETTINGS for name in names for part in name.split("_"))
    listed = [value.node for value in values(program, loop.iter)]
    is_listed = all(isinstance(one, (ast.List, ast.Tuple)) for one in listed) or any(
        last_name(call.func) in ("product", "logspace", "linspace", "ParameterGrid")
        for call in within(loop.iter, ast.Call)
    )
    # Rates that fall from turn to turn are a schedule of one training; settings are compared, so they are named.
    return "settings" if is_setting and is_listed and _is_shown(loop) else None


def _is_shown(loop: ast.For) -> bool:
    """Whether a loop prints or stores what its turns are called."""
    turns = {name.id for name in within(loop.target, ast.Name)}
    shown = [part for call in within(loop.body, ast.Call) if last_name(call.func) in _SHOWING for part in call.args]
    shown += [target.slice for _, target in targets(within(loop.body, ast.Assign)) if isinstance(target, ast.Subscript)]
    return any(name.id in turns for part in shown for name in within(part, ast.Name))


def _functions_use_one_net(program: Program, passes: Passes, loop: ast.For) -> bool:
    """Whether what a loop calls trains a net of the whole program."""
    made = {one for call in within(loop, ast.Call) for one in passes.called(call)} & passes.training
    return any(
        isinstance(net.func, ast.Name) and (program.tree, net.func.id) in program.bindings
        for one in made
        for net in nets_called(program, one)
    )


@fault("CD39", "gradients are clipped while they are scaled")
def clipped_while_scaled(program: Program) -> Iterator[Spot]:
    """The gradients are multiplied by the factor of GradScaler, which is large, when they are clipped. Almost every
    step is then cut to a tiny one. Call scaler.unscale_(optimizer) before clipping."""
    scaled = {
        program.scope(call): call
        for _, receiver in method_calls(program.tree, "backward")
        for call in calls_within(receiver, "scale")
    }
    freed = {program.scope(call): begin(call) for call in reversed(program.called("unscale_"))}
    for clip in program.called(*_CLIPS):
        scope = program.scope(clip)
        # Where another function takes the factor away, its order cannot be seen.
        is_free = bool(freed) and (scope not in freed or freed[scope] < begin(clip))
        if scope in scaled and not is_free and not _exclude(program, clip, scaled[scope]):
            yield Spot(line=clip.lineno, fix="write scaler.unscale_(optimizer) above this line")


def _exclude(program: Program, one: ast.AST, other: ast.AST) -> bool:
    """Whether two nodes are in different branches of one `if`."""
    chain = [one, *program.ancestors(one)]
    branches = {outer: program.parents[inner][1] for inner, outer in itertools.pairwise(chain)}
    chain = [other, *program.ancestors(other)]
    return any(
        isinstance(outer, ast.If) and outer in branches and branches[outer] != program.parents[inner][1]
        for inner, outer in itertools.pairwise(chain)
    )


@fault("CD40", "the best weights are kept without a copy")
def weights_without_copy(program: Program) -> Iterator[Spot]:
    """What is stored as the best weights are the weights themselves, which training goes on changing. At the end they
    are the last ones, not the best. Store copy.deepcopy(model.state_dict()), or save them to a file."""
    read = {name for name in map(_read, _names(program.tree)) if name}
    for assign, target, value in _given(program):
        branches = [outer for outer in _up_to_function(program, assign) if isinstance(outer, ast.If)]
        compared = [kind for one in branches for part in within(one.test, ast.Compare) for kind in part.ops]
        is_better = any(isinstance(kind, (ast.Lt, ast.Gt, ast.LtE, ast.GtE)) for kind in compared)
        if not is_better or last_name(target) not in read:
            continue
        is_state = isinstance(value, ast.Call) and last_name(value.func) == "state_dict"
        is_same_net = "best" in last_name(target).lower() and is_net(program, value)
        is_same_net = is_same_net and _is_read_outside(program, assign, target)
        if (is_state and _is_loaded_later(program, assign, target)) or is_same_net:
            yield Spot(line=assign.lineno, fix=f"{ast.unparse(target)} = copy.deepcopy({ast.unparse(value)})")


def _is_read_outside(program: Program, assign: ast.Assign, target: ast.expr) -> bool:
    """Whether a name is used outside of the branch that stores it."""
    branch = next(outer for outer in program.ancestors(assign) if isinstance(outer, ast.If))
    inside = [name for name in _names(branch) if _read(name) == last_name(target)]
    return sum(_read(name) == last_name(target) for name in _names(program.tree)) > len(inside)


def _names(node: ast.AST | Sequence[ast.stmt]) -> list[ast.Name | ast.Attribute]:
    return [*within(node, ast.Name), *within(node, ast.Attribute)]


def _read(name: ast.Name | ast.Attribute) -> str:
    """The last name, where its value is used; empty where it is given one."""
    return last_name(name) if isinstance(name.ctx, ast.Load) else ""


def _given(program: Program) -> Iterator[tuple[ast.Assign, ast.expr, ast.expr]]:
    """Each assignment with a target and its value, part by part where both sides are written out."""
    for assign, target in targets(program.every(ast.Assign)):
        parts, given = (one.elts if isinstance(one, ast.Tuple) else [one] for one in (target, assign.value))
        if len(parts) == len(given):
            yield from ((assign, part, value) for part, value in zip(parts, given, strict=True))


def _is_loaded_later(program: Program, assign: ast.Assign, target: ast.expr) -> bool:
    """Whether a name is loaded into a net, saved or returned outside of the branch that stores it."""
    branch = next(outer for outer in program.ancestors(assign) if isinstance(outer, ast.If))
    inside = set(ast.walk(branch))
    given = [one for call in program.called("load_state_dict", "save") if call not in inside for one in call.args]
    given += [one.value for one in program.every(ast.Return) if one.value is not None]
    parts = [part for one in given for part in (one.elts if isinstance(one, ast.Tuple) else [one])]
    return last_name(target) in {last_name(part) for part in parts}


FAULTS: Final[tuple[Fault, ...]] = (
    method_not_called,
    cleared_while_accumulating,
    schedule_in_other_units,
    plateau_of_other_mode,
    replaced_after_optimizer,
    optimizer_per_epoch,
    seeded_per_epoch,
    one_net_for_all,
    clipped_while_scaled,
    weights_without_copy,
)
