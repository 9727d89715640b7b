"""Faults of the evaluation: on which images, in which mode, divided by what, and used for which choice."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from flyweight.code_check.data import (
    Part,
    loader_calls,
    loaders,
    number,
    part_of_expr,
    part_of_name,
    part_read,
    read_by,
)
from flyweight.code_check.faults.losses import divisions
from flyweight.code_check.findings import Spot
from flyweight.code_check.loops import (
    Loop,
    callers,
    evaluation_loops,
    is_net_class,
    methods_called,
    net_class,
    nets_called,
    training_loops,
)
from flyweight.code_check.program import (
    Program,
    argument_of,
    begin,
    calls_of,
    end,
    functions_of,
    key_of,
    last_name,
    parameters,
    values,
    within,
    words_of,
    written,
)

_MODE_LAYERS = ("Dropout", "AlphaDropout", "FeatureAlphaDropout", "BatchNorm", "LazyBatchNorm", "SyncBatchNorm")
_NO_GRAD = {"no_grad", "inference_mode", "set_grad_enabled"}
_ACCURACY = ("acc", "correct", "score", "f1")


def evaluated_on_training_images(program: Program) -> Iterator[Spot]:
    """A test that is given the loader of the training images, and nothing that is given another one."""
    judged = list(_judged(program))
    others = any(part != "train" for _, _, part in judged)
    for call, argument, part in judged:
        told = _told_part(program, call)
        by_name = part_of_name(last_name(call.func))
        is_meant_for_test = told in ("test", "validation") or (by_name in ("test", "validation") and not others)
        if part == "train" and told != "train" and by_name != "train" and (is_meant_for_test or not others):
            yield Spot(line=call.lineno, fix=_with_test_loader(program, call, argument))
    yield from _counted_on_training_images(program)


def _judged(program: Program) -> Iterator[tuple[ast.Call, ast.expr, Part | None]]:
    """Each call of a function that evaluates, the loader that it is given, and the part that the loader is."""
    for loop in evaluation_loops(program):
        scope, key = loop.scope, key_of(loop.over)
        if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)) or key not in parameters(scope):
            continue
        for call in calls_of(program, scope):
            argument = argument_of(program, scope, call, str(key))
            if argument is not None:
                yield call, argument, _part_given(program, argument)


def _part_given(program: Program, loader: ast.expr) -> Part | None:
    part = part_of_expr(loader)
    if part is not None:
        return part
    read = [one for call in loader_calls(program, loader) for one in read_by(program, call)]
    parts = {part_read(program, one.call) for one in read if one.split is None}
    return parts.pop() if len(parts) == 1 and read else None


def _told_part(program: Program, call: ast.Call) -> Part | None:
    """The part that the results of a call are named after, or that a text among its arguments names."""
    texts = [*call.args, *(keyword.value for keyword in call.keywords)]
    said = [text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)]
    said += [last_name(keyword.value) for keyword in call.keywords]
    parent = program.parents[call][0]
    if isinstance(parent, ast.Assign):
        targets = parent.targets[0]
        said += [last_name(part) for part in (targets.elts if isinstance(targets, ast.Tuple) else [targets])]
    if isinstance(parent, ast.Call):
        # train_accuracies.append(accuracy(model, train_loader))
        said += [last_name(parent.func.value) if isinstance(parent.func, ast.Attribute) else ""]
    parts = {part_of_name(text) for text in said} - {None}
    return parts.pop() if len(parts) == 1 else None


def _with_test_loader(program: Program, call: ast.Call, argument: ast.expr) -> str:
    names = [loader.name for loader in loaders(program) if loader.part == "test"]
    return written(call).replace(written(argument), names[0]) if names else "give it a loader of the test images"


def _counted_on_training_images(program: Program) -> Iterator[Spot]:
    """A loop over the training loader, outside of any function with a loader of its own, that counts for the test."""
    for loop in evaluation_loops(program):
        if part_of_expr(loop.over) != "train" or key_of(loop.over) in _given(loop):
            continue
        counted = {part_of_name(last_name(change.target)) for change in within(loop.node, ast.AugAssign)}
        if isinstance(loop.scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
            counted.add(part_of_name(loop.scope.name))
        if counted & {"test", "validation"} and "train" not in counted:
            yield Spot(line=loop.node.lineno, fix="go through the loader of the test images")


def _given(loop: Loop) -> list[str]:
    return parameters(loop.scope) if isinstance(loop.scope, (ast.FunctionDef, ast.AsyncFunctionDef)) else []


def no_eval_mode(program: Program) -> Iterator[Spot]:
    """An evaluation of a net with dropout or batch norm that nothing puts into evaluation mode."""
    for loop in evaluation_loops(program):
        nets = nets_called(program, loop.node)
        if not nets or _sets_mode(program, loop) or not all(_has_modes(program, net.func) for net in nets):
            continue
        name = written(nets[0].func)
        yield Spot(
            line=loop.node.lineno, fix=f"write {name}.eval() above this line, and {name}.train() before training"
        )


def _sets_mode(program: Program, loop: Loop) -> bool:
    """Whether `eval()` stands in the function of a loop or in one that calls it; in a program, before it."""
    for scope, at in [(loop.scope, loop.node), *callers(program, loop.scope)]:
        for call in methods_called(scope, "eval", "train"):
            is_off = last_name(call.func) == "eval" or any(
                isinstance(one, ast.Constant) and one.value is False
                for one in [*call.args, *(keyword.value for keyword in call.keywords)]
            )
            is_method = isinstance(call.func, ast.Attribute) and (not call.args or last_name(call.func) == "train")
            if is_off and is_method and (not isinstance(scope, ast.Module) or begin(call) < end(at)):
                return True
    return False


def _has_modes(program: Program, net: ast.expr) -> bool:
    """Whether a net is seen, and has layers that behave otherwise in evaluation."""
    made = net_class(program, net)
    if made is None:
        known = [one for classes in program.classes.values() for one in classes if is_net_class(program, one)]
        made = known[0] if len(known) == 1 and _is_open(program, net) else None
    if made is not None:
        return any(name.startswith(_MODE_LAYERS) for name in words_of(made))
    return any(
        isinstance(value.node, ast.Call)
        and last_name(value.node.func) == "Sequential"
        and any(name.startswith(_MODE_LAYERS) for name in words_of(value.node))
        for value in values(program, net)
    )


def _is_open(program: Program, net: ast.expr) -> bool:
    """Whether nothing is seen of what a net is, so that the one net of the program is meant."""
    return all(value.node is net or key_of(value.node) is not None for value in values(program, net))


def gradients_in_evaluation(program: Program) -> Iterator[Spot]:
    """An evaluation that keeps the graph for a gradient that nobody asks for."""
    for loop in evaluation_loops(program):
        around = [loop.node, *program.above(loop.node)]
        for _, call in callers(program, loop.scope):
            around += [call, *program.above(call)]
        is_told = any(_is_without_gradients(node) for node in around) or _NO_GRAD & words_of(loop.node)
        if not is_told and "set_grad_enabled" not in program.calls:
            yield Spot(line=loop.node.lineno, fix="with torch.no_grad(): around this loop")


def _is_without_gradients(node: ast.AST) -> bool:
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return any(_NO_GRAD & words_of(item.context_expr) for item in node.items)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        names = {last_name(inner) for one in node.decorator_list for inner in ast.walk(one)}
        return bool(_NO_GRAD & names)
    return False


def accuracy_by_batches(program: Program) -> Iterator[Spot]:
    """A number of right answers that is divided by the number of batches."""
    for loop in [*training_loops(program), *evaluation_loops(program)]:
        for total in _counts(program, loop):
            for line, by in divisions(program, loop, total):
                if _counts_batches(program, loop, by):
                    right = f"len({written(loop.over)}.dataset)"
                    yield Spot(
                        line=line, fix=f"divide {total} by {right}", detail=f"{written(by)} is a number of batches"
                    )


def _counts(program: Program, loop: Loop) -> Iterator[str]:
    """The names that sum up right answers."""
    for change in within(loop.node, ast.AugAssign):
        key = key_of(change.target)
        if key is not None and isinstance(change.op, ast.Add) and _is_count(program, change.value):
            yield key


def _is_count(program: Program, expr: ast.expr, _steps: int = 0) -> bool:
    """Whether an expression is the sum of comparisons, as `(pred == target).sum().item()` is."""
    if not isinstance(expr, ast.Call) or _steps > 8:
        return False
    if isinstance(expr.func, ast.Attribute) and expr.func.attr in ("item", "cpu", "float", "int", "detach"):
        return _is_count(program, expr.func.value, _steps + 1)
    if last_name(expr.func) in ("int", "float") and expr.args:
        return _is_count(program, expr.args[0], _steps + 1)
    if last_name(expr.func) == "sum":
        return any(within(expr, ast.Compare)) or "eq" in words_of(expr)
    made = functions_of(program, expr)
    results = [given.value for given in within(made[-1], ast.Return) if given.value is not None] if made else []
    return len(results) == 1 and _is_count(program, results[0], _steps + 1)


def _counts_batches(program: Program, loop: Loop, expr: ast.expr) -> bool:
    """Whether a divisor is len(loader), of a loader of more than one image per batch."""
    for value in values(program, expr):
        call = value.node
        if not isinstance(call, ast.Call) or last_name(call.func) != "len" or len(call.args) != 1:
            return False
        if written(call.args[0]) != written(loop.over):
            return False
        sizes = [number(program, made, "batch_size", 1) for made in loader_calls(program, loop.over)]
        is_loader = bool(sizes) or "loader" in last_name(loop.over).lower()
        if not is_loader or 1.0 in sizes:
            return False
    return True


def chosen_on_test(program: Program) -> Iterator[Spot]:
    """An epoch, or a net, that is kept because it is the best on the test images."""
    fix = "choose on validation images (a part of the training images), and look at the test images once"
    for choice in program.every(ast.If):
        compared = choice.test
        if not isinstance(compared, ast.Compare) or len(compared.comparators) != 1:
            continue
        sides = (compared.left, compared.comparators[0])
        for new, best in (sides, sides[::-1]):
            is_of_test = _is_test_figure(new) or _is_counted_in_test(program, choice, new)
            if is_of_test and not _is_best(new) and _keeps(choice, new, best):
                yield Spot(line=choice.lineno, fix=fix, detail=f"{written(new)} is of the test images")
    for call in program.called("max", "argmax", "index", "min", "argmin"):
        figures = _picked_from(call)
        if figures is not None and _is_in_list(program, figures) and not _is_for_a_picture(program, call):
            yield Spot(line=call.lineno, fix=fix, detail=f"{written(figures)} is of the test images")


def _is_test_figure(expr: ast.expr) -> bool:
    if key_of(expr) is None and not isinstance(expr, ast.Subscript):
        return False
    name = written(expr).lower()
    return part_of_expr(expr) == "test" and any(word in name for word in (*_ACCURACY, "loss", "err"))


def _is_counted_in_test(program: Program, choice: ast.If, expr: ast.expr) -> bool:
    """Whether a figure without such a name comes from a loop over the test images, in the same function."""
    if not any(word in last_name(expr).lower() for word in _ACCURACY):
        return False
    before = [
        loop
        for loop in evaluation_loops(program)
        if loop.scope is program.scope(choice) and end(loop.node) <= begin(choice)
    ]
    return bool(before) and _parts_of(program, before[-1]) == {"test"}


def _parts_of(program: Program, loop: Loop) -> set[Part | None]:
    """The parts that a loop goes through, by the calls of its function where the loader is given to it."""
    scope, key = loop.scope, key_of(loop.over)
    if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)) and key in parameters(scope):
        given = [argument_of(program, scope, call, str(key)) for call in calls_of(program, scope)]
        return {_part_given(program, one) if one is not None else None for one in given}
    return {part_of_expr(loop.over)}


def _is_best(expr: ast.expr) -> bool:
    return any(word in written(expr).lower() for word in ("best", "max", "min", "highest", "lowest"))


def _keeps(choice: ast.If, new: ast.expr, best: ast.expr) -> bool:
    """Whether a branch keeps the new figure as the best one."""
    return any(
        written(target) == written(best) and written(assign.value) == written(new)
        for assign in within(choice.body, ast.Assign)
        for target in assign.targets
    )


def _picked_from(call: ast.Call) -> ast.expr | None:
    """The list of figures whose best one is asked for: max of an accuracy, min of a loss."""
    name = last_name(call.func)
    if name == "index" or len(call.args) != 1:
        return None
    figures = call.args[0]
    if not _is_test_figure(figures) or _is_best(figures):
        return None
    is_loss = any(word in written(figures).lower() for word in ("loss", "err"))
    return figures if is_loss == name.endswith("min") else None


def _is_in_list(program: Program, figures: ast.expr) -> bool:
    """Whether something is appended to it, as to a list of a figure per epoch."""
    return any(
        isinstance(call.func, ast.Attribute) and last_name(call.func.value) == last_name(figures)
        for call in program.called("append")
    ) or any(
        last_name(keyword.value) == last_name(figures) and key_of(figures) is not None
        for call in program.every(ast.Call)
        for keyword in call.keywords
    )


def _is_for_a_picture(program: Program, call: ast.Call) -> bool:
    words = ("lim", "line", "text", "annotate", "ticks", "scatter", "plot")
    around = [outer for outer in program.above(call) if isinstance(outer, ast.Call)]
    return any(word in last_name(outer.func) for outer in around for word in words)
