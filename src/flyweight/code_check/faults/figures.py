"""Faults of the figures that a program prints: what is counted, what it is divided by, and what is chosen by it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final

from flyweight.code_check.data import has_sampler, is_true, loader_calls, name_given, part_of_expr, part_of_name
from flyweight.code_check.faults.evaluating import is_for_plot
from flyweight.code_check.faults.losses import divisions
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import Loop, batch_loops
from flyweight.code_check.passes import BATCH, EPOCH, calls_behind, origins, passes_of
from flyweight.code_check.program import (
    Key,
    Place,
    Program,
    Scope,
    all_arguments,
    begin,
    end,
    key_of,
    last_name,
    option,
    plain,
    remembered,
    targets,
    within,
)

_ORDERED: Final = ("precision_score", "recall_score", "classification_report", "precision_recall_fscore_support")
_CURVES: Final = ("precision_recall_curve", "roc_curve")
_OF_A_SET: Final = (
    "f1_score",
    "precision_score",
    "recall_score",
    "roc_auc_score",
    "balanced_accuracy_score",
    "cohen_kappa_score",
    "average_precision_score",
    "matthews_corrcoef",
)
_PREDICTED: Final = re.compile(r"pred|y_?hat|output|logit|prob|score", re.IGNORECASE)
_TRUE: Final = re.compile(r"true|label|target|truth|^y$|^ys?_?(test|val|true)?$|^gt$|_y$", re.IGNORECASE)
_CHOOSING: Final = ("max", "min", "argmax", "argmin", "idxmax", "idxmin", "sort_values", "sorted", "nlargest", "sort")


@fault("CD57", "a sum is not set to zero in each epoch")
def sum_over_epochs(program: Program) -> Iterator[Spot]:
    """A sum is set to zero once, before the loop over epochs, and is divided by the size of one epoch in it. From the
    second epoch on it is a sum over several, so that an accuracy passes 100 %. Set it to zero at the start of each
    epoch."""
    for loop in program.every(ast.For):
        inner = [one for one in within(loop.body, ast.For) if program.scope(one) is program.scope(loop)]
        if not inner or passes_of(program).levels.get(loop) != EPOCH:
            continue
        stored = {key_of(target) for _, target in _pairs(within(loop.body, ast.Assign))}
        sums = (
            {
                key_of(change.target)
                for one in inner
                for change in within(one.body, ast.AugAssign)
                if isinstance(change.op, ast.Add)
            }
            - stored
            - {None}
        )
        for division in within(loop.body, ast.BinOp):
            top = _multiplied(division.left)
            is_after = begin(division) > end(inner[0])
            is_of_epoch = isinstance(division.op, ast.Div) and _is_size(program, division.right, sums)
            if key_of(top) in sums and is_after and is_of_epoch and _starts_at_zero(program, loop, key_of(top)):
                fix = f"write {ast.unparse(top)} = 0 as the first line in the loop over epochs"
                yield Spot(line=division.lineno, fix=fix, detail=f"the loop over epochs begins in line {loop.lineno}")


def _multiplied(expr: ast.expr) -> ast.expr:
    """`right` of `100 * right`, `right.item()` and `float(right)`."""
    expr = plain(expr)
    if isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Mult):
        return plain(expr.right if isinstance(expr.left, ast.Constant) else expr.left)
    return expr


def _is_size(program: Program, expr: ast.expr, sums: set[str | None]) -> bool:
    """Whether a divisor is the size of a set or a loader, and no sum of the same epochs."""
    return key_of(expr) not in sums and bool(calls_behind(program, expr, "len"))


def _starts_at_zero(program: Program, loop: ast.For, key: str | None) -> bool:
    return any(
        key_of(target) == key and begin(assign) < begin(loop) and program.scope(assign) is program.scope(loop)
        for assign, target in _pairs(program.every(ast.Assign))
    )


def _pairs(assigns: Iterable[ast.Assign]) -> Iterator[tuple[ast.Assign, ast.expr]]:
    """Each assignment with each thing that it assigns to, also those in a tuple."""
    for assign, target in targets(assigns):
        for part in target.elts if isinstance(target, ast.Tuple) else [target]:
            yield assign, part


@fault("CD58", "the divisor is not the number of images that were counted", severity="warning")
def divided_by_other_number(program: Program) -> Iterator[Spot]:
    """The last batch is smaller than the others, or is left out, and the divisor does not say so: batches times batch
    size count too many images, and so does the size of a set whose last batch is dropped. The accuracy is a little too
    low, and never 100 %. Count the images in the loop."""
    for loop in batch_loops(program):
        drops = [
            is_true(program, one)
            for call in loader_calls(program, loop.over)
            for one in option(program, call, "drop_last").exprs
        ]
        totals = {key_of(change.target) for change in within(loop.node, ast.AugAssign)} - {None}
        is_unknown = any(has_sampler(program, call) for call in loader_calls(program, loop.over))
        for total in sorted(map(str, totals)) if not is_unknown else ():
            for line, by in _divisions(program, loop, total):
                if True in drops and _is_of_set(program, loop, by):
                    detail = f"the loader drops its last batch, and {ast.unparse(by)} counts it"
                    yield Spot(line=line, fix="drop_last=False for the evaluation", detail=detail)
                elif True not in drops and _is_batches_times_size(by):
                    detail = f"{ast.unparse(by)} counts every batch as a whole one"
                    yield Spot(line=line, fix=f"divide by len({ast.unparse(loop.over)}.dataset)", detail=detail)


def _divisions(program: Program, loop: Loop, total: str) -> Iterator[tuple[int, ast.expr]]:
    """The lines where a sum is divided after its loop, also in parts of a tuple and in a call."""
    yield from divisions(program, loop, total)


def _is_of_set(program: Program, loop: Loop, by: ast.expr) -> bool:
    over = ast.unparse(loop.over)
    return any(ast.unparse(call.args[0]) == f"{over}.dataset" for call in calls_behind(program, by, "len") if call.args)


def _is_batches_times_size(by: ast.expr) -> bool:
    """`len(loader) * batch_size`."""
    if not isinstance(by, ast.BinOp) or not isinstance(by.op, ast.Mult):
        return False
    for one, other in ((by.left, by.right), (by.right, by.left)):
        is_length = isinstance(one, ast.Call) and last_name(one.func) == "len" and len(one.args) == 1
        is_loader = (
            is_length and isinstance(one, ast.Call) and not ast.unparse(one.args[0]).endswith((".dataset", "set"))
        )
        if is_loader and re.search(r"batch|\bbs\b", ast.unparse(other), re.IGNORECASE):
            return True
    return False


@fault("CD59", "true and predicted classes are swapped")
def swapped_arguments(program: Program) -> Iterator[Spot]:
    """The functions of sklearn take the true classes first and the predicted ones second. In the other order precision
    is called recall, and recall precision. Swap the two."""
    for call in program.called(*_ORDERED):
        first, second = call.args[:2] if len(call.args) >= 2 else (None, None)
        if first is None or second is None:
            continue
        names = [last_name(plain(one)) or ast.unparse(one) for one in (first, second)]
        is_swapped = _PREDICTED.search(names[0]) and _TRUE.search(names[1])
        if is_swapped and not _PREDICTED.search(names[1]) and not _TRUE.search(names[0]):
            fix = f"{ast.unparse(call.func)}({ast.unparse(second)}, {ast.unparse(first)}, ...)"
            yield Spot(line=call.lineno, fix=fix)


@fault("CD60", "a figure of a whole set is averaged over batches", severity="warning")
def averaged_over_batches(program: Program) -> Iterator[Spot]:
    """F1, precision, recall and the area under a curve are computed for each batch and averaged. Such a mean is not the
    figure of the set, above all where a batch has few images of a class. Collect all predictions, and compute it
    once."""
    for call in program.called(*_OF_A_SET):
        loops = [outer for outer in program.ancestors(call) if isinstance(outer, ast.For)]
        change = next(
            (outer for outer in program.ancestors(call) if isinstance(outer, (ast.AugAssign, ast.Call))), None
        )
        is_summed = isinstance(change, ast.AugAssign) or (
            isinstance(change, ast.Call) and last_name(change.func) in ("append", "update")
        )
        if loops and is_summed and _is_over_batches(program, loops[0], call):
            yield Spot(line=call.lineno, fix="collect all predictions in the loop, and compute it once, after it")


def _is_over_batches(program: Program, loop: ast.For, call: ast.Call) -> bool:
    """Whether a loop gives batches: two names or more for each turn, of which the figure takes one."""
    is_loader = bool(re.search(r"load|_dl$|^dl|batch", ast.unparse(loop.iter), re.IGNORECASE)) or (
        passes_of(program).levels.get(loop) == BATCH
    )
    bound = {name.id for name in within(loop.target, ast.Name)}
    used = {
        name.id for one in all_arguments(call) for origin in origins(program, one) for name in within(origin, ast.Name)
    }
    return is_loader and bool(bound & used)


@fault("CD61", "settings are chosen on the test images")
def settings_chosen_on_test(program: Program) -> Iterator[Spot]:
    """Several settings, or thresholds, are tried on the test images, and the best one is reported with its result
    there. The choice favours chance, so that new images do worse. Choose on validation images, and look at the test
    images once."""
    fix = "choose on validation images, and look at the test images once"
    for call in program.called(*_CHOOSING):
        figures = _figures(call)
        if figures is None or _is_size_of(program, call) or is_for_plot(program, call) or not _is_picked(program, call):
            continue
        curve = [one for one in calls_behind(program, figures, *_CURVES) if _is_given_test(program, one)]
        if curve and last_name(call.func) in ("max", "argmax", "idxmax"):
            yield Spot(line=call.lineno, fix=fix, detail=f"the curve is of the test images (line {curve[0].lineno})")
        elif not curve and (line := _tried_on_test(program, call, figures)):
            yield Spot(line=call.lineno, fix=fix, detail=f"the results are of the test images (line {line})")


def _figures(call: ast.Call) -> ast.expr | None:
    if last_name(call.func) in ("idxmax", "idxmin", "sort_values", "nlargest", "sort") and isinstance(
        call.func, ast.Attribute
    ):
        return call.func.value
    return call.args[0] if len(call.args) >= 1 else None


def _is_picked(program: Program, call: ast.Call) -> bool:
    """Whether the best is taken: at once by max and its like; of what is sorted, by an index."""
    if last_name(call.func) not in ("sort_values", "sorted", "sort", "nlargest"):
        return True
    name = name_given(program, call) or (last_name(_figures(call) or call) if last_name(call.func) == "sort" else "")
    outer = program.parents[call][0]
    is_taken = name in _names_with_index(program)
    return is_taken or isinstance(outer, ast.Subscript) or last_name(outer) in ("iloc", "head")


@remembered
def _names_with_index(program: Program) -> frozenset[str]:
    """The names that something is taken of by an index: best[0], table.iloc[0]."""
    taken = (inner for one in program.every(ast.Subscript) for inner in within(one.value, ast.Name))
    return frozenset(inner.id for inner in taken)


def _is_size_of(program: Program, call: ast.Call) -> bool:
    """Whether it is a method of a batch (output.max(1)), or a maximum of several numbers."""
    is_function = isinstance(call.func, ast.Name) or (
        isinstance(call.func, ast.Attribute) and last_name(call.func.value) in ("np", "numpy", "torch")
    )
    has_axis = any(one.arg in ("dim", "axis") for one in call.keywords)
    is_method = last_name(call.func) in ("idxmax", "idxmin", "sort_values", "nlargest", "sort")
    in_loop = any(passes_of(program).levels.get(outer) == BATCH for outer in program.ancestors(call))
    return has_axis or in_loop or not (is_function or is_method) or (is_function and len(call.args) > 1)


def _is_given_test(program: Program, call: ast.Call) -> bool:
    return any(
        part_of_name(last_name(name)) == "test"
        or (isinstance(name, ast.Constant) and part_of_name(str(name.value)) == "test")
        for one in call.args
        for origin in origins(program, one)
        for name in ast.walk(origin)
        if isinstance(name, (ast.Name, ast.Attribute, ast.Constant))
    )


def _tried_on_test(program: Program, call: ast.Call, figures: ast.expr) -> int:
    """The line where a loop over settings stores a result of the test images among the figures; 0 for none."""
    keys = {
        key_of(name)
        for one in origins(program, figures)
        for name in ast.walk(one)
        if isinstance(name, (ast.Name, ast.Attribute))
    } - {None}
    known = _stored_of_test(program).get(program.scope(call), ())
    return next((line for at, key, line in known if at < begin(call) and key in keys), 0)


@remembered
def _stored_of_test(program: Program) -> dict[Scope, list[tuple[Place, Key | None, int]]]:
    """What loops over settings store of the test images, by scope: the place of the loop, the name, and the line."""
    found: dict[Scope, list[tuple[Place, Key | None, int]]] = {}
    for loop in program.every(ast.For):
        if passes_of(program).levels.get(loop, 0) >= EPOCH and not _is_over_epochs(loop):
            for stored, value in _stored(loop):
                if _is_of_test(program, value):
                    found.setdefault(program.scope(loop), []).append((begin(loop), key_of(stored), value.lineno))
    return found


def _is_over_epochs(loop: ast.For) -> bool:
    return "epoch" in (ast.unparse(loop.target) + ast.unparse(loop.iter)).lower()


def _stored(loop: ast.For) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a loop stores in lists and dictionaries, with the place."""
    for call in within(loop.body, ast.Call):
        if last_name(call.func) == "append" and call.args and isinstance(call.func, ast.Attribute):
            yield call.func.value, call.args[0]
    for assign, target in targets(within(loop.body, ast.Assign)):
        if isinstance(target, ast.Subscript):
            yield target.value, assign.value


def _is_of_test(program: Program, value: ast.expr) -> bool:
    """Whether a result is named after the test, or comes from a function that evaluates on the test images only."""
    found = [name for one in origins(program, value) for name in ast.walk(one)]
    functions = {one.func for one in found if isinstance(one, ast.Call)}
    named = [one for one in found if isinstance(one, (ast.Name, ast.Attribute, ast.Subscript)) and one not in functions]
    parts = {part_of_expr(one) for one in named}
    if parts & {"validation", "test"}:
        return "validation" not in parts
    called = [made for one in found if isinstance(one, ast.Call) for made in passes_of(program).called(one)]
    return any(_evaluates_on_test(made) for made in called if made in passes_of(program).training)


def _evaluates_on_test(function: ast.AST) -> bool:
    """Whether a function that trains returns a figure, and names the test images and no validation images."""
    names = {
        part_of_name(last_name(name)) for name in ast.walk(function) if isinstance(name, (ast.Name, ast.Attribute))
    }
    returned = [given for given in within(function, ast.Return) if given.value is not None]
    return "test" in names and "validation" not in names and bool(returned)


FAULTS: Final[tuple[Fault, ...]] = (
    sum_over_epochs,
    divided_by_other_number,
    swapped_arguments,
    averaged_over_batches,
    settings_chosen_on_test,
)
