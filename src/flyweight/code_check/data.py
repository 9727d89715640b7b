"""The data sets, splits, transforms and loaders of a program, and the part (train, validation, test) of each.

Only what the program writes out is known; a data set that comes from elsewhere is not found.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flyweight.code_check.program import (
    MAX_DEPTH,
    Key,
    Option,
    Program,
    Value,
    argument_line,
    constant,
    constants,
    key_of,
    last_name,
    only_value,
    option,
    parameters,
    remembered,
    targets,
    values,
)

_TRANSFORM_NAMES: Final = ("transform", "transforms", "tfm", "tfms", "tf", "trf", "augment", "aug", "preprocess")

UsedFor: TypeAlias = Literal["train", "validation", "test"]

# Data sets of torchvision whose second argument is `train`.
_TRAIN_SECOND: Final = {"MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"}
_WITH_SPLIT: Final = {"SVHN", "STL10", "GTSRB", "Food101", "Flowers102", "PCAM", "FGVCAircraft", "DTD", "ImageNet"}
_OTHERS: Final = {"EMNIST", "QMNIST", "USPS", "ImageFolder", "Imagenette", "TensorDataset", "FakeData"}
_TORCHVISION: Final = _TRAIN_SECOND | _WITH_SPLIT | _OTHERS
_RANDOM: Final = {"ColorJitter", "AutoAugment", "TrivialAugmentWide", "RandAugment", "AugMix", "ElasticTransform"}
# Where the transform stands among the arguments without a name.
_TRANSFORM_PLACE: Final = {"ImageFolder": 1, **dict.fromkeys(sorted(_TRAIN_SECOND), 2)}


def part_of_name(name: str) -> UsedFor | None:
    """The part that a name contains; None where it contains none, or more than one.

    >>> [part_of_name(name) for name in ("train_loader", "valset", "testData", "train_test", "values", "latest")]
    ['train', 'validation', 'test', None, None, None]
    """
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    found: set[UsedFor] = set()
    for word in words:
        if word.startswith("train") or word == "trn":
            found.add("train")
        elif word.startswith("valid") or word in ("val", "valset", "valloader", "valdata", "dev"):
            found.add("validation")
        elif word.startswith("test") and not word.startswith(("tested", "testing")):
            found.add("test")
    return found.pop() if len(found) == 1 else None


def part_of_expr(expr: ast.AST) -> UsedFor | None:
    """The part that a name, an attribute or an entry (`loaders["test"]`) is named after."""
    if isinstance(expr, ast.Subscript) and isinstance(expr.slice, ast.Constant) and isinstance(expr.slice.value, str):
        return part_of_name(expr.slice.value)
    return part_of_name(last_name(expr))


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The call that made a data set. split: the call that took a part of it, if any; item: which of its parts.

    key: the name that the whole data set had when it was split.
    """

    call: ast.Call
    split: ast.Call | None = None
    item: int | None = None
    key: Key | None = None


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A `DataLoader(...)` and the name it is given."""

    call: ast.Call
    name: str

    @property
    def part(self) -> UsedFor | None:
        return part_of_name(self.name)


def data_sets(program: Program, expr: ast.expr, *, _steps: int = 0) -> list[DataSet]:
    """The data sets that an expression may be, through splits and subsets; none where one is unknown."""
    found = [_data_set(program, value, _steps) for value in values(program, expr)]
    return [one for made in found for one in made] if all(found) else []


def _data_set(program: Program, value: Value, steps: int) -> list[DataSet]:
    call = value.node
    # halves[0] of halves = random_split(...)
    if isinstance(call, ast.Subscript) and isinstance(call.slice, ast.Constant) and isinstance(call.slice.value, int):
        outer = only_value(program, call.value)
        if isinstance(outer, ast.Call) and last_name(outer.func) == "random_split":
            return _data_set(program, Value(node=outer, item=call.slice.value), steps + 1)
    if not isinstance(call, ast.Call) or steps > MAX_DEPTH:
        return []
    if last_name(call.func) in ("random_split", "Subset") and call.args:
        whole = call.args[0]
        return [
            DataSet(call=one.call, split=call, item=value.item, key=key_of(whole))
            for one in data_sets(program, whole, _steps=steps + 1)
        ]
    return [DataSet(call=call)] if value.item is None and is_data_set(program, call) else []


def is_data_set(program: Program, call: ast.Call) -> bool:
    """Whether a call makes a data set: of torchvision, of a class for it, or with `train=` and `transform=`."""
    if last_name(call.func) in _TORCHVISION or _own_class(program, call) is not None:
        return True
    given = {keyword.arg for keyword in call.keywords}
    return {"train", "transform"} <= given and last_name(call.func)[:1].isupper()


def _own_class(program: Program, call: ast.Call) -> ast.ClassDef | None:
    """The class of the program that a data set is of, by its base."""
    made = program.classes.get(last_name(call.func), ()) if isinstance(call.func, ast.Name) else ()
    bases = {"Dataset", "VisionDataset", *_TORCHVISION}
    return next((one for one in made if any(last_name(base) in bases for base in one.bases)), None)


def _transform_given(program: Program, call: ast.Call) -> Option:
    """The argument that is the transform, by the name that an own class has for it."""
    own = _own_class(program, call)
    inits = [part for part in own.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"] if own else []
    for init in inits:
        for place, name in enumerate(parameters(init)[1:]):
            if name in _TRANSFORM_NAMES:
                return option(program, call, name, place)
    return option(program, call, "transform", _TRANSFORM_PLACE.get(last_name(call.func)))


def all_data_sets(program: Program) -> Iterator[ast.Call]:
    return (call for call in program.every(ast.Call) if is_data_set(program, call))


def part_read(program: Program, call: ast.Call) -> UsedFor | None:
    """The part that a data set reads by its arguments: `train=True`, `split="test"`."""
    position = 1 if last_name(call.func) in _TRAIN_SECOND else None
    is_train = constant(program, option(program, call, "train", position))
    if isinstance(is_train, bool):
        return "train" if is_train else "test"
    split = constant(program, option(program, call, "split"))
    # EMNIST has splits of another kind ("letters"), which are of no part.
    return part_of_name(split) if isinstance(split, str) else None


def part_line(call: ast.Call) -> int:
    """The line that says which part a data set reads."""
    return argument_line(call, "train", "split")


def loader_calls(program: Program, expr: ast.expr) -> list[ast.Call]:
    """The `DataLoader(...)` calls that an expression may be; none where one is unknown."""
    found = values(program, expr)
    calls = [value.node for value in found if isinstance(value.node, ast.Call) and value.item is None]
    are_loaders = len(calls) == len(found) and all(last_name(call.func) == "DataLoader" for call in calls)
    return calls if are_loaders else []


def loaders(program: Program) -> Iterator[Loader]:
    """Every loader that has a name."""
    named = ((call, name_given(program, call)) for call in program.called("DataLoader"))
    return (Loader(call=call, name=name) for call, name in named if name)


def name_given(program: Program, expr: ast.expr) -> str:
    """The name that the value of an expression is assigned to; empty where there is none."""
    parent = program.parents[expr][0]
    if isinstance(parent, ast.Assign) and parent.value is expr and len(parent.targets) == 1:
        return last_name(parent.targets[0])
    if isinstance(parent, ast.AnnAssign):
        return last_name(parent.target)
    # train_loader, test_loader = DataLoader(...), DataLoader(...)
    above = program.parents.get(parent)
    if isinstance(parent, ast.Tuple) and above and isinstance(above[0], ast.Assign):
        target = above[0].targets[0]
        if isinstance(target, ast.Tuple) and len(target.elts) == len(parent.elts) and above[1] == "value":
            return last_name(target.elts[parent.elts.index(expr)])
    return ""


def read_by(program: Program, loader: ast.Call) -> list[DataSet]:
    """The data sets that a loader may read; none where they are unknown."""
    given = option(program, loader, "dataset", 0)
    return data_sets(program, given.exprs[0]) if given.is_known and len(given.exprs) == 1 else []


def has_sampler(program: Program, loader: ast.Call) -> bool:
    """Whether a loader chooses its images or their order itself, or may do so."""
    chosen = [option(program, loader, name) for name in ("sampler", "batch_sampler")]
    return any(one.exprs or not one.is_known for one in chosen)


def transform_of(program: Program, call: ast.Call) -> ast.expr | None:
    """The transform that a data set is made with; None where it has none, or it is replaced or unknown."""
    given = _transform_given(program, call)
    if not given.is_known or given.may_be_absent or len(given.exprs) != 1:
        return None
    name = name_given(program, call)
    return None if name and name in _with_another_transform(program) else given.exprs[0]


@remembered
def _with_another_transform(program: Program) -> frozenset[str]:
    """The names of data sets whose transform is replaced later."""
    assigned = (target for _, target in targets(program.every(ast.Assign)) if isinstance(target, ast.Attribute))
    return frozenset(last_name(target.value) for target in assigned if target.attr == "transform")


def steps_of(program: Program, transform: ast.expr, *, _steps: int = 0) -> list[ast.Call] | None:
    """The calls that a transform is made of, in order; None where it is not written out."""
    call = only_value(program, transform)
    if not isinstance(call, ast.Call) or _steps > MAX_DEPTH:
        return None
    if last_name(call.func) not in ("Compose", "Sequential"):
        return [call]
    listed = only_value(program, call.args[0]) if len(call.args) == 1 else None
    parts = listed.elts if isinstance(listed, (ast.List, ast.Tuple)) else call.args
    steps: list[ast.Call] = []
    for part in parts:
        inner = steps_of(program, part, _steps=_steps + 1)
        if inner is None:
            return None
        steps += inner
    return steps


def is_random(step: ast.Call) -> bool:
    """Whether a step of a transform draws random numbers."""
    name = last_name(step.func)
    return name.startswith("Random") or name in _RANDOM


def random_steps(program: Program, transform: ast.expr | None) -> list[ast.Call]:
    steps = steps_of(program, transform) if transform is not None else None
    return [step for step in steps or [] if is_random(step)]


def normalising(program: Program, transform: ast.expr) -> list[ast.Call]:
    """The steps of a transform that are Normalize."""
    return [step for step in steps_of(program, transform) or [] if last_name(step.func) == "Normalize"]


def normalisation(program: Program, transform: ast.expr) -> tuple[object, object] | Literal["none"] | None:
    """Mean and standard deviation of a transform's Normalize; "none" where it has none, None where unknown."""
    if steps_of(program, transform) is None:
        return None
    steps = normalising(program, transform)
    if not steps:
        return "none"
    given = [option(program, steps[-1], name, place) for place, name in enumerate(("mean", "std"))]
    mean, sd = (constant(program, one) for one in given)
    return None if mean is None or sd is None else (mean, sd)


def number(program: Program, call: ast.Call, name: str, position: int | None = None) -> float | None:
    """An argument that is one plain number."""
    found = constant(program, option(program, call, name, position))
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def is_true(program: Program, expr: ast.expr) -> bool | None:
    """Whether an expression is always true, or always false; None where it may be either or is unknown."""
    found = {bool(one) for one in constants(program, expr) or ()}
    return found.pop() if len(found) == 1 else None
