"""Faults of the evaluation: its images, its mode, the divisor of the accuracy, and choices made on test images."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from flyweight.code_check.data import (
    UsedFor,
    loader_calls,
    loaders,
    number,
    part_of_expr,
    part_of_name,
    part_read,
    read_by,
)
from flyweight.code_check.faults.losses import divisions
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import (
    Loop,
    batch_loops,
    callers,
    evaluation_loops,
    is_net_class,
    made_by,
    net_class,
    nets_called,
    outputs_kept,
)
from flyweight.code_check.passes import origins
from flyweight.code_check.program import (
    FUNCTIONS,
    MAX_DEPTH,
    Program,
    all_arguments,
    argument_of,
    begin,
    called_names,
    calls_of,
    calls_within,
    end,
    functions_of,
    key_of,
    last_name,
    method_calls,
    parameters,
    plain,
    remembered,
    targets,
    values,
    within,
)

_MODE_LAYERS = ("Dropout", "AlphaDropout", "FeatureAlphaDropout", "BatchNorm", "LazyBatchNorm", "SyncBatchNorm")
_NO_GRAD = {"no_grad", "inference_mode", "set_grad_enabled"}
_ACCURACY = ("acc", "correct", "score", "f1")
_PLOTTING = ("lim", "line", "text", "annotate", "ticks", "scatter", "plot")


@fault("CD02", "the evaluation is given the training loader")
def evaluated_on_training_images(program: Program) -> Iterator[Spot]:
    """The function that tests the net is called with the loader of the training images. Its result is a training
    accuracy under another name, and is too high. Call it with the loader of the test images."""
    # An evaluation that is given the loader of the training images, where none is given another loader.
    evaluations = [
        (call, loader)
        for loop in evaluation_loops(program)
        for call, loader in _loaders_given(program, loop)
        if loader is not None
    ]
    others = any(_part_of_loader(program, loader) != "train" for _, loader in evaluations)
    for call, loader in evaluations:
        by_result, by_name = _part_of_result(program, call), part_of_name(last_name(call.func))
        is_meant_for_test = not others or by_result in ("test", "validation")
        if is_meant_for_test and _part_of_loader(program, loader) == "train" and "train" not in (by_result, by_name):
            yield Spot(line=call.lineno, fix=_with_test_loader(program, call, loader))
    yield from _counted_on_training_images(program)


def _loaders_given(program: Program, loop: Loop) -> list[tuple[ast.Call, ast.expr | None]]:
    """The calls of the function of a loop, each with the loader that it gives; none if the function has its own."""
    scope, key = loop.scope, key_of(loop.over)
    if not isinstance(scope, FUNCTIONS) or key not in parameters(scope):
        return []
    return [(call, argument_of(program, scope, call, str(key))) for call in calls_of(program, scope)]


def _part_of_loader(program: Program, loader: ast.expr | None) -> UsedFor | None:
    if loader is None:
        return None
    if (part := part_of_expr(loader)) is not None:
        return part
    read = [one for call in loader_calls(program, loader) for one in read_by(program, call)]
    parts = {part_read(program, one.call) for one in read if one.split is None}
    return parts.pop() if len(parts) == 1 and read else None


def _part_of_result(program: Program, call: ast.Call) -> UsedFor | None:
    """The part in the names of the results of a call, or in a text among its arguments."""
    texts = [one.value for one in all_arguments(call) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    texts += [last_name(keyword.value) for keyword in call.keywords]
    parent = program.parents[call][0]
    if isinstance(parent, ast.Assign):
        results = parent.targets[0]
        texts += [last_name(part) for part in (results.elts if isinstance(results, ast.Tuple) else [results])]
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute):
        # train_accuracies.append(accuracy(model, train_loader))
        texts.append(last_name(parent.func.value))
    parts = {part_of_name(text) for text in texts} - {None}
    return parts.pop() if len(parts) == 1 else None


def _with_test_loader(program: Program, call: ast.Call, argument: ast.expr) -> str:
    names = [loader.name for loader in loaders(program) if loader.part == "test"]
    return (
        ast.unparse(call).replace(ast.unparse(argument), names[0]) if names else "give it a loader of the test images"
    )


def _counted_on_training_images(program: Program) -> Iterator[Spot]:
    """A loop over the training loader, in no function that is given its loader, that counts for the test."""
    for loop in evaluation_loops(program):
        if part_of_expr(loop.over) != "train" or key_of(loop.over) in parameters(loop.scope):
            continue
        counted = {part_of_name(last_name(change.target)) for change in within(loop.node, ast.AugAssign)}
        if isinstance(loop.scope, FUNCTIONS):
            counted.add(part_of_name(loop.scope.name))
        if counted & {"test", "validation"} and "train" not in counted:
            yield Spot(line=loop.node.lineno, fix="loop over the loader of the test images")


@fault("CD21", "model.eval() is missing in the evaluation")
def no_eval_mode(program: Program) -> Iterator[Spot]:
    """The net has dropout or batch norm, and is evaluated as if it were still training. Dropout then switches off parts
    of it and batch norm uses the statistics of the batch, so that the accuracy is not that of the net in use. Call
    model.eval() before the evaluation and model.train() after it."""
    # An evaluation of a net with dropout or batch norm that is never put into evaluation mode.
    for loop in evaluation_loops(program):
        nets = nets_called(program, loop.node)
        if nets and not _sets_mode(program, loop) and all(_has_modes(program, net.func) for net in nets):
            name = ast.unparse(nets[0].func)
            fix = f"write {name}.eval() above this line, and {name}.train() before training"
            yield Spot(line=loop.node.lineno, fix=fix)


def _sets_mode(program: Program, loop: Loop) -> bool:
    """Whether `eval()` is called in the function of a loop or in a caller of it; at module level, before it."""
    for scope, at in [(loop.scope, loop.node), *callers(program, loop.scope)]:
        for call in calls_within(scope, "eval", "train"):
            is_off = last_name(call.func) == "eval" or any(
                isinstance(one, ast.Constant) and one.value is False for one in all_arguments(call)
            )
            is_method = isinstance(call.func, ast.Attribute) and (not call.args or last_name(call.func) == "train")
            if is_off and is_method and (not isinstance(scope, ast.Module) or begin(call) < end(at)):
                return True
    return False


def _has_modes(program: Program, net: ast.expr) -> bool:
    """Whether the class or the layers of a net are known, and some behave differently in evaluation."""
    made: list[ast.AST] = [one for one in [net_class(program, net)] if one is not None]
    found = [value.node for value in values(program, net)]
    if not made and all(node is net or key_of(node) is not None for node in found):
        # Nothing is known of this net: if the program has one class of nets, it is of that class.
        made += [one for one in program.every(ast.ClassDef) if is_net_class(program, one)]
        made = made if len(made) == 1 else []
    calls = [call for node in found for call in [made_by(program, node)] if call is not None]
    made = made or [call for call in calls if last_name(call.func) == "Sequential"]
    made += [one for call in made for name in sorted(called_names(call)) for one in program.classes.get(name, ())]
    is_known_net = bool(calls) and not made and all(_is_ready_made(call) for call in calls)
    return is_known_net or any(name.startswith(_MODE_LAYERS) for one in made for name in called_names(one))


def _is_ready_made(call: ast.Call) -> bool:
    """Whether a call makes a net of torchvision, all of which have batch norm or dropout, or stochastic depth."""
    return isinstance(call.func, ast.Attribute) and last_name(call.func.value) == "models"


@fault("CD22", "the evaluation stores what gradients would need", severity="note")
def gradients_in_evaluation(program: Program) -> Iterator[Spot]:
    """The evaluation does not turn gradients off. The results are the same, but each batch takes more memory and time
    than it needs. Write the loop under torch.no_grad()."""
    # An evaluation that keeps the graph for gradients that are never computed.
    for loop in evaluation_loops(program):
        nodes = [loop.node, *(call for _, call in callers(program, loop.scope))]
        around = [outer for node in nodes for outer in (node, *program.ancestors(node))]
        is_off = any(_is_without_gradients(program, node) for node in around) or _NO_GRAD & called_names(loop.node)
        if not is_off and "set_grad_enabled" not in program.calls:
            kept = outputs_kept(program, loop.node)
            yield Spot(
                line=loop.node.lineno,
                fix="with torch.no_grad(): around this loop",
                detail=f"line {kept[0].lineno} keeps the outputs of all batches, with their graphs" if kept else "",
                severity="warning" if kept else None,
            )


def _is_without_gradients(program: Program, node: ast.AST) -> bool:
    if isinstance(node, (ast.With, ast.AsyncWith)):
        # The name of what switches them off may stand for it: ctx = no_grad if ... else nullcontext.
        found = [origin for item in node.items for origin in origins(program, item.context_expr)]
        return any(last_name(name) in _NO_GRAD for one in found for name in ast.walk(one))
    if isinstance(node, FUNCTIONS):
        names = {last_name(inner) for one in node.decorator_list for inner in ast.walk(one)}
        return bool(_NO_GRAD & names)
    return False


@fault("CD23", "right answers are divided by the number of batches")
def accuracy_by_batches(program: Program) -> Iterator[Spot]:
    """The count of right answers is divided by len(loader), which counts batches. The result is too large by about the
    batch size, and can be over 100 %. Divide by len(loader.dataset), which counts images."""
    # A number of right answers that is divided by the number of batches.
    for loop in batch_loops(program):
        for total in _counts(program, loop):
            for line, by in divisions(program, loop, total):
                if _counts_batches(program, loop, by):
                    fix = f"divide {total} by len({ast.unparse(loop.over)}.dataset)"
                    yield Spot(line=line, fix=fix, detail=f"{ast.unparse(by)} is a number of batches")


def _counts(program: Program, loop: Loop) -> Iterator[str]:
    """The names that sum up right answers."""
    for change in within(loop.node, ast.AugAssign):
        key = key_of(change.target)
        if key is not None and isinstance(change.op, ast.Add) and _is_count(program, change.value):
            yield key


def _is_count(program: Program, expr: ast.expr, _steps: int = 0) -> bool:
    """Whether an expression is the sum of comparisons, as `(pred == target).sum().item()` is."""
    expr = plain(expr)
    if not isinstance(expr, ast.Call) or _steps > MAX_DEPTH:
        return False
    if isinstance(expr.func, ast.Attribute) and expr.func.attr in ("float", "int"):
        return _is_count(program, expr.func.value, _steps + 1)
    if last_name(expr.func) == "sum":
        return any(within(expr, ast.Compare)) or "eq" in called_names(expr)
    made = functions_of(program, expr)
    results = [given.value for given in within(made[-1], ast.Return) if given.value is not None] if made else []
    return len(results) == 1 and _is_count(program, results[0], _steps + 1)


def _counts_batches(program: Program, loop: Loop, expr: ast.expr) -> bool:
    """Whether a divisor is len(loader), of a loader of more than one image per batch."""
    for value in values(program, expr):
        call = value.node
        if not isinstance(call, ast.Call) or last_name(call.func) != "len" or len(call.args) != 1:
            return False
        if ast.unparse(call.args[0]) != ast.unparse(loop.over):
            return False
    sizes = [number(program, made, "batch_size", 1) for made in loader_calls(program, loop.over)]
    return (bool(sizes) or "loader" in last_name(loop.over).lower()) and 1.0 not in sizes


@fault("CD26", "the best epoch is chosen on the test images", severity="warning")
def chosen_on_test(program: Program) -> Iterator[Spot]:
    """The epoch, or the net, with the best result on the test images is selected. The choice favours chance results, so
    that the test accuracy is higher than on new images. Choose on validation images, and look at the test images
    once."""
    # An epoch, or a net, that is selected because it is the best on the test images.
    fix = "choose on validation images (a part of the training images), and look at the test images once"
    for choice in program.every(ast.If):
        compared = choice.test
        if not isinstance(compared, ast.Compare) or len(compared.comparators) != 1:
            continue
        sides = (compared.left, compared.comparators[0])
        for new, best in (sides, sides[::-1]):
            is_of_test = _is_test_figure(new) or _is_counted_in_test(program, choice, new)
            if is_of_test and not _is_best(new) and _stores_best(choice, new, best):
                yield Spot(line=choice.lineno, fix=fix, detail=f"{ast.unparse(new)} is of the test images")
    for call in program.called("max", "argmax", "index", "min", "argmin"):
        figures = _picked_from(call)
        if figures is not None and _is_in_list(program, figures) and not is_for_plot(program, call):
            yield Spot(line=call.lineno, fix=fix, detail=f"{ast.unparse(figures)} is of the test images")


def _is_test_figure(expr: ast.expr) -> bool:
    if key_of(expr) is None and not isinstance(expr, ast.Subscript):
        return False
    name = ast.unparse(expr).lower()
    return part_of_expr(expr) == "test" and any(word in name for word in (*_ACCURACY, "loss", "err"))


def _is_counted_in_test(program: Program, choice: ast.If, expr: ast.expr) -> bool:
    """Whether a figure with another name comes from a loop over the test images, in the same function."""
    if not any(word in last_name(expr).lower() for word in _ACCURACY):
        return False
    here = [loop for loop in evaluation_loops(program) if loop.scope is program.scope(choice)]
    before = [loop for loop in here if end(loop.node) <= begin(choice)]
    if not before or key_of(before[-1].over) not in parameters(before[-1].scope):
        return bool(before) and part_of_expr(before[-1].over) == "test"
    return {_part_of_loader(program, loader) for _, loader in _loaders_given(program, before[-1])} == {"test"}


def _is_best(expr: ast.expr) -> bool:
    return any(word in ast.unparse(expr).lower() for word in ("best", "max", "min", "highest", "lowest"))


def _stores_best(choice: ast.If, new: ast.expr, best: ast.expr) -> bool:
    """Whether a branch stores the new figure as the best one."""
    stored = {(ast.unparse(to), ast.unparse(one.value)) for one, to in targets(within(choice.body, ast.Assign))}
    return (ast.unparse(best), ast.unparse(new)) in stored


def _picked_from(call: ast.Call) -> ast.expr | None:
    """The list of figures whose best one a call computes: max of an accuracy, min of a loss."""
    name = last_name(call.func)
    if name == "index" or len(call.args) != 1:
        return None
    figures = call.args[0]
    if not _is_test_figure(figures) or _is_best(figures):
        return None
    is_loss = any(word in ast.unparse(figures).lower() for word in ("loss", "err"))
    return figures if is_loss == name.endswith("min") else None


def _is_in_list(program: Program, figures: ast.expr) -> bool:
    """Whether something is appended to it, as to a list of a figure per epoch, or it is given by name to a call."""
    is_named = key_of(figures) is not None and last_name(figures) in _given_by_name(program)
    return is_named or last_name(figures) in _lists(program)


@remembered
def _lists(program: Program) -> frozenset[str]:
    return frozenset(last_name(receiver) for _, receiver in method_calls(program.tree, "append"))


@remembered
def _given_by_name(program: Program) -> frozenset[str]:
    return frozenset(last_name(keyword.value) for keyword in program.every(ast.keyword))


def is_for_plot(program: Program, call: ast.Call) -> bool:
    around = [last_name(outer.func) for outer in program.ancestors(call) if isinstance(outer, ast.Call)]
    return any(word in name for name in around for word in _PLOTTING)


FAULTS: Final[tuple[Fault, ...]] = (
    evaluated_on_training_images,
    no_eval_mode,
    gradients_in_evaluation,
    accuracy_by_batches,
    chosen_on_test,
)
