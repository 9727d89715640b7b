"""Faults of the parts: images in two of them, what is learned before the split, samplers, and numbers of classes."""

from __future__ import annotations

import ast
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flyweight.code_check.data import (
    UsedFor,
    all_data_sets,
    name_given,
    number,
    part_of_name,
    random_steps,
    transform_of,
)
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.passes import calls_behind, origins, passes_of
from flyweight.code_check.program import (
    FUNCTIONS,
    MAX_DEPTH,
    Key,
    Program,
    begin,
    calls_of,
    constant,
    constants,
    key_of,
    last_name,
    only_value,
    option,
    reaching,
    targets,
    values,
    within,
)

_FITTED: Final = (
    "StandardScaler",
    "MinMaxScaler",
    "RobustScaler",
    "MaxAbsScaler",
    "PowerTransformer",
    "PCA",
    "IncrementalPCA",
    "TruncatedSVD",
    "FastICA",
    "NMF",
    "SelectKBest",
    "QuantileTransformer",
)
_COPYING: Final = ("SMOTE", "RandomOverSampler", "ADASYN", "BorderlineSMOTE")
_DIGITS: Final = ("MNIST", "EMNIST", "QMNIST", "KMNIST", "SVHN", "USPS")
# How many parts of one set are compared; a notebook may make them again and again.
MAX_PARTS: Final = 20
_SPLITS: Final = ("train_test_split", "random_split")


@dataclass(frozen=True, kw_only=True)
class _Range:
    """Numbers from `start` to before `stop` (None: to the end) of an order, or plain numbers."""

    of: Key
    start: int
    stop: int | None


@fault("CD48", "two parts share images")
def parts_overlap(program: Program) -> Iterator[Spot]:
    """The numbers of the images of two parts overlap. The net is then tested on images that it was trained on, and the
    result is too high. Let one part begin where the other one ends."""
    found: dict[tuple[object, ...], list[tuple[int, str, _Range]]] = defaultdict(list)
    for call in program.called("Subset"):
        taken = _range(program, call.args[1]) if len(call.args) >= 2 else None
        whole = _whole(program, call.args[0]) if taken is not None else None
        if taken is not None and whole is not None:
            name = name_given(program, call) or _loader_name(program, call)
            found[program.scope(call), whole, taken.of].append((call.lineno, name, taken))
    for part in program.every(ast.Subscript):
        taken = _range(program, part)
        if taken is not None:
            found[program.scope(part), taken.of].append((part.lineno, name_given(program, part), taken))
    for parts in found.values():
        training = [one for one in parts if part_of_name(one[1]) == "train"][:MAX_PARTS]
        others = [one for one in parts if part_of_name(one[1]) in ("validation", "test")][:MAX_PARTS]
        for (line, name, taken), (other_line, other_name, other) in itertools.product(training, others):
            if shared := _shared(taken, other):
                fix = "let one part begin where the other one ends"
                yield Spot(line=max(line, other_line), fix=fix, detail=f"{name} and {other_name} share {shared}")


def _whole(program: Program, expr: ast.expr) -> str | None:
    """What a part is taken of: a name, or the text of the call that made it, without its transform."""
    made = only_value(program, expr)
    if isinstance(made, ast.Call):
        kept = [ast.unparse(one) for one in made.args[:2]]
        kept += [ast.unparse(one) for one in made.keywords if one.arg in ("root", "train", "split")]
        return f"{last_name(made.func)}({', '.join(kept)})"
    return key_of(expr)


def _loader_name(program: Program, call: ast.Call) -> str:
    outer = program.parents[call][0]
    return name_given(program, outer) if isinstance(outer, ast.Call) else ""


def _range(program: Program, expr: ast.expr, _steps: int = 0) -> _Range | None:
    """range(a, b), np.arange(a, b), list(...) of them, and order[a:b]; None for another form or unknown ends."""
    made = only_value(program, expr) if key_of(expr) is not None else expr
    if made is None or _steps > MAX_DEPTH:
        return None
    if (
        isinstance(made, ast.Call)
        and last_name(made.func) in ("list", "tuple", "tolist", "array")
        and len(made.args) == 1
    ):
        return _range(program, made.args[0], _steps + 1)
    if isinstance(made, ast.Call) and last_name(made.func) in ("range", "arange") and 1 <= len(made.args) <= 2:
        ends = [_number(program, one) for one in made.args]
        start, stop = (0, ends[0]) if len(ends) == 1 else ends
        return None if start is None or stop is None else _Range(of="numbers", start=start, stop=stop)
    if isinstance(made, ast.Subscript) and isinstance(made.slice, ast.Slice) and made.slice.step is None:
        of, low, high = key_of(made.value), made.slice.lower, made.slice.upper
        start, stop = (0 if low is None else _number(program, low)), (None if high is None else _number(program, high))
        is_known = of is not None and start is not None and (high is None or stop is not None)
        return _Range(of=of, start=start, stop=stop) if is_known and of is not None and start is not None else None
    return None


def _number(program: Program, expr: ast.expr) -> int | None:
    found = constants(program, expr)
    number = found[0] if found and len(found) == 1 else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _shared(one: _Range, other: _Range) -> str:
    """How many numbers two ranges share, in words; empty for none, and where that depends on the size of the set."""
    if min(one.start, other.start, one.stop or 0, other.stop or 0) < 0:
        return ""
    start = max(one.start, other.start)
    stops = [stop for stop in (one.stop, other.stop) if stop is not None]
    if not stops:
        return "all images from number " + str(start)
    return f"{min(stops) - start:,} images" if min(stops) > start else ""


@fault("CD49", "something is learned from all images before the split")
def fitted_before_split(program: Program) -> Iterator[Spot]:
    """A scaler, or a selection of features, is fitted on all rows, and the parts are split after that. What it has
    learned comes from the test rows, too, so that the test result is a little too good. Split first, fit on the
    training part, and only transform the others."""
    splits = [call for call in program.called("train_test_split") if call.args]
    for call in program.called("fit_transform", "fit"):
        if not isinstance(call.func, ast.Attribute) or not call.args or not _is_fitted(program, call.func.value):
            continue
        rows = call.args[0]
        if "train" in ast.unparse(rows).lower():
            continue
        after = [one for one in splits if program.scope(one) is program.scope(call) and begin(one) > begin(call)]
        if any(_comes_from(program, one.args, call, rows) for one in after):
            fix = "split first; fit on the training part, and transform the other parts"
            yield Spot(line=call.lineno, fix=fix, detail=f"the split is in line {after[0].lineno}")


def _is_fitted(program: Program, expr: ast.expr) -> bool:
    made = [expr, *(value.node for value in values(program, expr))]
    names = [last_name(call.func) for one in made for call in within(one, ast.Call)]
    return any(name in _FITTED for name in names)


def _comes_from(program: Program, given: list[ast.expr], fit: ast.Call, rows: ast.expr) -> bool:
    """Whether what is split is what was fitted, or is computed from it."""
    found = [inner for one in given for origin in origins(program, one) for inner in ast.walk(origin)]
    if fit in found:
        return True
    # What was only looked at by fit_transform, as a plot of two components, leaves its rows as they were.
    is_same = key_of(rows) is not None and key_of(rows) in {key_of(one) for one in given}
    return is_same and last_name(fit.func) == "fit"


@fault("CD50", "rows are copied before the split")
def copied_before_split(program: Program) -> Iterator[Spot]:
    """Rare classes are filled up with copies before the parts are split. Copies of one image are then in training and
    in the test, so that the result is too high. Split first, and copy in the training part only."""
    for split in program.called("train_test_split", "random_split", "split"):
        is_folds = last_name(split.func) == "split"
        if not split.args or (is_folds and not _is_folds(program, split)):
            continue
        for given in split.args:
            copies = [one for one in _copies(program, given) if begin(one) < begin(split)]
            if copies:
                yield Spot(
                    line=copies[0].lineno,
                    fix="split first, and copy in the training part only",
                    detail=f"the split is in line {split.lineno}",
                )
                break


def _is_folds(program: Program, split: ast.Call) -> bool:
    receiver = split.func.value if isinstance(split.func, ast.Attribute) else split
    made = [receiver, *(value.node for value in values(program, receiver))]
    return any(isinstance(one, ast.Call) and last_name(one.func).endswith(("KFold", "ShuffleSplit")) for one in made)


def _copies(program: Program, expr: ast.expr) -> list[ast.Call]:
    """The calls, behind a value, that draw rows with replacement or repeat them."""
    found = []
    for call in calls_behind(program, expr, "sample", "resample", "fit_resample", "choice"):
        is_drawn = constant(program, option(program, call, "replace")) is True
        # resample of sklearn.utils; other libraries have one for sounds and times.
        is_default = (
            last_name(call.func) == "resample"
            and not option(program, call, "replace").exprs
            and any(
                (one.module or "").startswith("sklearn")
                for one in program.every(ast.ImportFrom)
                if "resample" in {alias.name for alias in one.names}
            )
        )
        is_oversampler = last_name(call.func) == "fit_resample"
        if is_drawn or is_default or is_oversampler:
            found.append(call)
    return found


@fault("CD51", "the numbers of the classes change from run to run", severity="warning")
def numbered_from_a_set(program: Program) -> Iterator[Spot]:
    """The classes are numbered in the order of a Python set, which for texts is another one in each run. Weights that
    were saved then belong to other classes, and two parts may number them differently. Sort the names first."""
    for call in program.called("enumerate"):
        listed = call.args[0] if call.args else None
        if listed is not None and _is_set(program, listed) and not isinstance(program.parents[call][0], ast.For):
            yield Spot(line=call.lineno, fix=f"enumerate(sorted({ast.unparse(listed)}))")


def _is_set(program: Program, expr: ast.expr, _steps: int = 0) -> bool:
    """Whether every value of an expression is a set, or a list that has the order of one."""
    found = values(program, expr)
    return (
        bool(found)
        and _steps <= MAX_DEPTH
        and all(value.item is None and _is_set_itself(program, value.node, _steps) for value in found)
    )


def _is_set_itself(program: Program, node: ast.expr, steps: int) -> bool:
    if isinstance(node, (ast.Set, ast.SetComp)):
        return True
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    if node.func.id in ("list", "tuple") and len(node.args) == 1:
        return _is_set(program, node.args[0], steps + 1)
    return node.func.id in ("set", "frozenset")


@fault("CD52", "the evaluation draws images by weight")
def evaluated_on_drawn_images(program: Program) -> Iterator[Spot]:
    """The loader of the evaluation has a sampler that draws images with replacement, by weight. Some images count
    several times and others never, and the classes have other shares than in the set. Give the sampler to the training
    loader only."""
    for call in program.called("DataLoader"):
        given = option(program, call, "sampler").exprs
        drawn = [
            one
            for one in given
            if not isinstance(one, ast.IfExp) and calls_behind(program, one, "WeightedRandomSampler")
        ]
        scope = program.scope(call)
        places = [call, *(calls_of(program, scope) if isinstance(scope, FUNCTIONS) else ())]
        parts = {part_of_name(name_given(program, one)) for one in places}
        parts |= {part for one in places for part in _parts_of_comprehension(program, one)}
        if drawn and parts & {"validation", "test"}:
            yield Spot(line=call.lineno, fix="give the sampler to the training loader only")


def _parts_of_comprehension(program: Program, call: ast.Call) -> set[UsedFor | None]:
    """The parts that a comprehension makes loaders for: {part: DataLoader(...) for part in ("train", "val")}."""
    around = [outer for outer in program.ancestors(call) if isinstance(outer, (ast.DictComp, ast.ListComp))]
    listed = [made for outer in around[:1] for one in outer.generators for made in origins(program, one.iter)[:2]]
    names = [part.value for one in listed for part in ast.walk(one) if isinstance(part, ast.Constant)]
    return {part_of_name(name) for name in names if isinstance(name, str)}


@fault("CD53", "digits are mirrored", severity="warning")
def digits_mirrored(program: Program) -> Iterator[Spot]:
    """The transform of the training images mirrors digits or letters. A mirrored digit is no digit, or another one, so
    that the net learns forms that never occur. Leave the flip out; small rotations and shifts keep the label."""
    for call in all_data_sets(program):
        steps = random_steps(program, transform_of(program, call)) if last_name(call.func) in _DIGITS else []
        for step in steps:
            # A flip that is always made turns images that are stored mirrored, as those of EMNIST.
            is_always = number(program, step, "p", 0) == 1
            if last_name(step.func) in ("RandomHorizontalFlip", "RandomVerticalFlip") and not is_always:
                yield Spot(
                    line=step.lineno,
                    fix="leave this step out, or take RandomAffine with small numbers",
                    detail=f"the images are of {last_name(call.func)}",
                )


@fault("CD54", "rare classes are weighted twice", severity="warning")
def weighted_twice(program: Program) -> Iterator[Spot]:
    """A sampler already draws rare classes as often as the others, and the loss weights them once more. Rare classes
    then outweigh the frequent ones, and are named too often. Do one of the two."""
    draws = program.called("WeightedRandomSampler")
    for call in program.called("CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss") if draws else ():
        weights = option(program, call, "weight", 0 if last_name(call.func)[0].isupper() else 2).exprs
        if any(not (isinstance(one, ast.Constant) and one.value is None) for one in weights):
            yield Spot(
                line=call.lineno,
                fix="leave out weight=..., or the sampler",
                detail=f"the sampler is in line {draws[0].lineno}",
            )


@fault("CD55", "the split is another one when training is resumed")
def split_anew_on_resume(program: Program) -> Iterator[Spot]:
    """The parts are drawn without a seed, and the program can go on with a stored training. After that the validation
    images are others, among them many that the net was trained on. Give the split a generator with a fixed seed."""
    has_seed = any("seed" in name.lower() for name in program.calls) or "generator" in {
        one.arg for one in program.every(ast.keyword)
    }
    texts = {
        one.value.lower() for one in program.every(ast.Constant) if isinstance(one.value, str) and len(one.value) < 40
    }
    names = {name.attr.lower() for name in program.every(ast.Attribute)} | {
        name.id.lower() for name in program.every(ast.Name)
    }
    resumes = any("resume" in word for word in texts | names) and len(program.called("load_state_dict")) > 0
    if has_seed or not resumes or not any(passes_of(program).levels):
        return
    for call in program.called(*_SPLITS):
        if not option(program, call, "random_state").exprs:
            fix = "generator=torch.Generator().manual_seed(0) in random_split, or random_state=0"
            yield Spot(line=call.lineno, fix=fix)


@fault("CD56", "images of one person may be in both parts", severity="note")
def persons_in_both_parts(program: Program) -> Iterator[Spot]:
    """The program names patients or subjects, and splits single images at random. Several images of one person may
    then be in training and in the test, which measures how well the net knows the person. Split by person, as
    GroupShuffleSplit does."""
    if any(
        name.startswith(("Group", "StratifiedGroup", "groupby", "unique", "drop_duplicates")) for name in program.calls
    ):
        return
    texts = [one.value.lower() for one in program.every(ast.Constant) if isinstance(one.value, str)]
    texts += [name.id.lower() for name in program.every(ast.Name)]
    persons = [word for word in ("patient", "subject") if any(word in text for text in texts)]
    for call in program.called("train_test_split") if persons else ():
        given = " ".join(ast.unparse(one) for one in [*call.args, *(one.value for one in call.keywords)]).lower()
        is_of_persons = any(word in given for word in ("patient", "subject", "person", "group", "ids"))
        behind = [*targets(program.every(ast.Assign))] if is_of_persons else []
        if not is_of_persons and not behind and not _is_split_before(program, call):
            yield Spot(line=call.lineno, fix=f"split the {persons[0]}s, and take the images of each part of them")


def _is_split_before(program: Program, call: ast.Call) -> bool:
    """Whether what is split is a part of an earlier split already, where one finding is enough."""
    given = call.args[0] if call.args else None
    bound = reaching(program, given) if given is not None else []
    return any(isinstance(one.value, ast.Call) and last_name(one.value.func) in _SPLITS for one in bound)


FAULTS: Final[tuple[Fault, ...]] = (
    parts_overlap,
    fitted_before_split,
    copied_before_split,
    numbered_from_a_set,
    evaluated_on_drawn_images,
    digits_mirrored,
    weighted_twice,
    split_anew_on_resume,
    persons_in_both_parts,
)
