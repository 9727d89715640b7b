"""Faults of the net: what its `forward` does, and what it leaves out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import is_net_class
from flyweight.code_check.program import (
    FUNCTIONS,
    Program,
    called_names,
    last_name,
    option,
    remembered,
    targets,
    within,
)

# Layers without parameters: an unused one costs nothing.
_ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Softmax", "LogSoftmax")
_POOLS = ("MaxPool", "AvgPool", "Adaptive")
_RESHAPING = ("Flatten", "Unflatten", "Identity", "Upsample", "ZeroPad")
_FREE = (*_ACTIVATIONS, *_POOLS, *_RESHAPING, "Dropout", "AlphaDropout")
_NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm")
_RECURRENT = ("LSTM", "GRU", "RNN")
_OTHERS = ("Conv", "Linear", "Bilinear", "PReLU", "Embedding", "MultiheadAttention", "Sequential")
_LAYERS = (*_FREE, *_NORMS, *_RECURRENT, *_OTHERS)
# Ways to reach the layers of a net without their names.
MAX_FAMILY: Final = 100  # classes of one name, which a notebook defines again and again
_NAMELESS_ACCESS = {"children", "named_children", "modules", "named_modules", "getattr", "add_module", "get_submodule"}


@fault("CD28", "a number is given to relu where a pool may be meant", severity="warning")
def inplace_for_pool(program: Program) -> Iterator[Spot]:
    """The second argument of relu is inplace, and a number there counts as True. Nothing is pooled, so the images stay
    large and the layers after it cost more than intended. Call max_pool2d if a pool is meant, and give relu one
    argument."""
    # `F.relu(x, 2)`: a number as the argument `inplace`.
    for call in program.called("relu", "relu6", "ReLU", "ReLU6"):
        if last_name(call.func) in ("relu", "relu6") and not _is_functional(call):
            continue
        given = option(program, call, "inplace", 0 if last_name(call.func)[0] == "R" else 1)
        for expr in given.exprs:
            if isinstance(expr, ast.Constant) and isinstance(expr.value, int) and not isinstance(expr.value, bool):
                alone = ast.unparse(ast.Call(func=call.func, args=call.args[:1], keywords=[]))
                relu = alone if _is_functional(call) else "nn.ReLU()"
                fix = f"F.max_pool2d({relu}, {expr.value}) if a pool is meant, else {relu}"
                yield Spot(line=call.lineno, fix=fix, detail=f"{expr.value} is taken as inplace=True")


def _is_functional(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and last_name(call.func.value) in ("F", "functional")


@fault("CD29", "dropout stays on in evaluation")
def dropout_always_on(program: Program) -> Iterator[Spot]:
    """F.dropout does not know whether the net trains or is evaluated; its default is to drop. The test then runs with
    parts of the net switched off, and model.eval() has no effect on it. Give it training=self.training, or use
    nn.Dropout."""
    # `F.dropout(x, p)`, which drops in evaluation, too, without `training=self.training`.
    mode = ast.keyword(arg="training", value=ast.parse("self.training", mode="eval").body)
    for call in program.called("dropout", "dropout2d"):
        given = option(program, call, "training", 2)
        if _is_functional(call) and call.args and given.may_be_absent and not given.exprs and given.is_known:
            fixed = ast.Call(func=call.func, args=call.args, keywords=[*call.keywords, mode])
            yield Spot(line=call.lineno, fix=ast.unparse(fixed))


@fault("CD30", "a layer is made and not used", severity="warning")
def layers_not_used(program: Program) -> Iterator[Spot]:
    """__init__ makes a layer that no method of the net uses. Its parameters are counted and saved, but never trained or
    used. Delete it, or call it in forward."""
    # Layers that `__init__` makes and no method uses.
    for made in program.every(ast.ClassDef):
        if not is_net_class(program, made) or not _is_whole(program, made):
            continue
        family = [made, *_parents(program, made), *_children(program, made)]
        inside = (name for one in family for name in within(one, ast.Attribute))
        # Attributes of anything but `self` count as well, as in `model.fc.weight`.
        used = {name.attr for name in inside if isinstance(name.ctx, ast.Load)} | _loaded(program)
        for assign, target in targets(within(made, ast.Assign)):
            if isinstance(target, ast.Attribute) and last_name(target.value) == "self" and target.attr not in used:
                yield from _unused(program, assign, target.attr)


def _is_whole(program: Program, made: ast.ClassDef) -> bool:
    """Whether a class has a forward of its own, known bases, and reaches its layers by their names only."""
    if any(last_name(base) != "Module" and last_name(base) not in program.classes for base in made.bases):
        return False
    methods = {part.name for part in made.body if isinstance(part, FUNCTIONS)}
    is_nameless = bool(_NAMELESS_ACCESS & called_names(made)) or any(
        name.attr in ("_modules", "__dict__") for name in within(made, ast.Attribute)
    )
    return "forward" in methods and not is_nameless


def _parents(program: Program, made: ast.ClassDef) -> list[ast.ClassDef]:
    return [one for base in made.bases for one in program.classes.get(last_name(base), ())[:MAX_FAMILY]]


@remembered
def _loaded(program: Program) -> frozenset[str]:
    """The attributes that are used of anything but `self`."""
    named = (name for name in program.every(ast.Attribute) if last_name(name.value) != "self")
    return frozenset(name.attr for name in named if isinstance(name.ctx, ast.Load))


def _children(program: Program, made: ast.ClassDef) -> list[ast.ClassDef]:
    return _by_base(program).get(made.name, [])[:MAX_FAMILY]


@remembered
def _by_base(program: Program) -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for one in program.every(ast.ClassDef):
        for name in {last_name(base) for base in one.bases}:
            found.setdefault(name, []).append(one)
    return found


def _unused(program: Program, assign: ast.Assign, name: str) -> Iterator[Spot]:
    call = assign.value
    if not isinstance(call, ast.Call) or not is_layer(program, call):
        return
    kind = last_name(call.func)
    is_free = kind.startswith(_FREE) or (
        kind == "Sequential" and all(word.startswith((*_FREE, kind)) for word in called_names(call))
    )
    yield Spot(
        line=assign.lineno,
        fix=f"delete this line, or call self.{name} in forward",
        detail=f"{name} is a {kind}" + ("" if is_free else ", whose parameters are counted"),
        severity="note" if is_free else None,
    )


def is_layer(program: Program, call: ast.Call) -> bool:
    known = program.classes.get(last_name(call.func), ())
    return last_name(call.func).startswith(_LAYERS) or any(is_net_class(program, one) for one in known)


FAULTS: Final[tuple[Fault, ...]] = (inplace_for_pool, dropout_always_on, layers_not_used)
