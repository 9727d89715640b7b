"""Faults of what a net is made of and what it is given: layers, averages, teachers, pixels and targets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from flyweight.code_check.faults.nets import is_layer
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import is_net_class, made_by
from flyweight.code_check.passes import BATCH, origins, passes_of
from flyweight.code_check.program import (
    Program,
    called_names,
    calls_within,
    constants,
    last_name,
    method_calls,
    option,
    targets,
    values,
    within,
)

_REGISTERING: Final = {"ModuleList", "ModuleDict", "Sequential", "add_module", "register_module", "setattr"}
# Readers whose images have the channels last, and what brings them to the front.
_CHANNELS_LAST: Final = ("imread", "imdecode", "fromarray", "open", "load_img", "img_to_array")
_TO_FRONT: Final = (
    "transpose",
    "permute",
    "moveaxis",
    "rollaxis",
    "swapaxes",
    "movedim",
    "rearrange",
    "ToTensor",
    "to_tensor",
)
_WITH_STATISTICS: Final = (
    "resnet",
    "resnext",
    "wide_resnet",
    "densenet",
    "mobilenet",
    "efficientnet",
    "shufflenet",
    "regnet",
    "mnasnet",
    "googlenet",
    "inception",
)


@fault("CD41", "layers are kept in a plain list")
def layers_in_a_list(program: Program) -> Iterator[Spot]:
    """The net keeps layers in a plain list or dict, which torch does not look into. Their parameters are not among
    model.parameters(), so they are never trained, saved or moved to a device. Use nn.ModuleList or nn.ModuleDict."""
    for made in program.every(ast.ClassDef):
        if not is_net_class(program, made) or _REGISTERING & {*_given_on(made)}:
            continue
        for assign, target in targets(within(made, ast.Assign)):
            is_own = isinstance(target, ast.Attribute) and last_name(target.value) == "self"
            if is_own and isinstance(target, ast.Attribute) and _holds_layers(program, made, target.attr, assign.value):
                kind = "ModuleDict" if isinstance(assign.value, (ast.Dict, ast.DictComp)) else "ModuleList"
                yield Spot(line=assign.lineno, fix=f"self.{target.attr} = nn.{kind}({ast.unparse(assign.value)})")


def _given_on(made: ast.ClassDef) -> Iterator[str]:
    """What a class registers its lists by: calls that are given an attribute of itself, or that name their part."""
    for call in within(made, ast.Call):
        given = [one.value if isinstance(one, ast.Starred) else one for one in call.args]
        # Sequential(*blocks) and ModuleList(blocks) may be given the same list by another name.
        is_list = any(
            isinstance(one, ast.Name) or (isinstance(one, ast.Attribute) and last_name(one.value) == "self")
            for one in given
        )
        if is_list or last_name(call.func) in ("add_module", "register_module", "setattr"):
            yield last_name(call.func)


def _holds_layers(program: Program, made: ast.ClassDef, name: str, value: ast.expr) -> bool:
    found = value
    if isinstance(value, ast.Name):
        known = [one.node for one in values(program, value)]
        found = known[0] if len(known) == 1 else value
    if isinstance(found, (ast.ListComp, ast.GeneratorExp)):
        return isinstance(found, ast.ListComp) and _is_made_layer(program, found.elt)
    if isinstance(found, ast.DictComp):
        return _is_made_layer(program, found.value)
    parts = (
        found.elts
        if isinstance(found, (ast.List, ast.Tuple))
        else found.values
        if isinstance(found, ast.Dict)
        else None
    )
    if parts:
        return any(_is_made_layer(program, part) for part in parts)
    if parts is None:
        return False
    # self.blocks = [], and layers are appended to it.
    added = [
        call
        for call, receiver in method_calls(made, "append")
        if ast.unparse(receiver) in (f"self.{name}", ast.unparse(value))
    ]
    return any(_is_made_layer(program, one) for call in added for one in call.args)


def _is_made_layer(program: Program, expr: ast.expr) -> bool:
    call = made_by(program, expr) if isinstance(expr, ast.Call) else None
    return (
        call is not None
        and is_layer(program, call)
        and not last_name(call.func).startswith(("ReLU", "MaxPool", "AvgPool"))
    )


@fault("CD42", "the divergence gets probabilities where it needs their logarithms")
def divergence_of_probabilities(program: Program) -> Iterator[Spot]:
    """kl_div takes logarithms of the student's probabilities and the probabilities of the teacher. It is given
    something else, so that the student is not drawn to the teacher. Write log_softmax for the first and softmax for the
    second."""
    named = program.called("kl_div") if "kl_div" not in program.functions else []
    made = [*named, *(call for call in program.every(ast.Call) if _is_divergence(program, call))]
    for call in made:
        first, second = (option(program, call, name, place).exprs for place, name in enumerate(("input", "target")))
        if first and _ends_in(program, first[0]) == "softmax":
            yield Spot(line=call.lineno, fix="log_softmax in place of softmax for the first argument")
        elif second and _ends_in(program, second[0]) == "log_softmax" and not _is_log_target(program, call):
            yield Spot(line=call.lineno, fix="softmax in place of log_softmax for the second argument")


def _is_divergence(program: Program, call: ast.Call) -> bool:
    made = [
        call.func,
        *(value.node for value in values(program, call.func) if isinstance(call.func, (ast.Name, ast.Attribute))),
    ]
    return any(isinstance(one, ast.Call) and last_name(one.func) == "KLDivLoss" for one in made)


def _is_log_target(program: Program, call: ast.Call) -> bool:
    return any(keyword.arg == "log_target" for keyword in program.every(ast.keyword)) or not call.args


def _ends_in(program: Program, expr: ast.expr) -> str:
    """softmax or log_softmax, if that is what computes every value of an expression."""
    found = set()
    for value in values(program, expr):
        name = last_name(value.node.func) if isinstance(value.node, ast.Call) else ""
        if isinstance(value.node, ast.Call) and isinstance(value.node.func, ast.Call):
            name = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}.get(last_name(value.node.func.func), "")
        found.add(name)
    return found.pop() if len(found) == 1 else ""


@fault("CD43", "the pixels are scrambled by a reshape")
def reshaped_to_channels(program: Program) -> Iterator[Spot]:
    """The images have their channels last, and reshape only cuts the same order of numbers in another way. Each channel
    then has pixels of all colours from a part of the image, in wrong places. Use permute or transpose, which move the
    axis."""
    if any(name in program.calls or f"{name}s" in program.calls for name in _TO_FRONT):
        return
    is_cifar = any(name.startswith("CIFAR") for name in program.calls)
    is_read = [call for call in program.called(*_CHANNELS_LAST) if last_name(call.func) != "open" or _is_image(call)]
    for call in program.called("reshape", "view") if is_read or is_cifar else ():
        sizes = (
            call.args[0].elts if len(call.args) == 1 and isinstance(call.args[0], (ast.Tuple, ast.List)) else call.args
        )
        if (
            isinstance(call.func, ast.Attribute)
            and last_name(call.func.value) in ("np", "numpy", "torch")
            and len(call.args) > 1
        ):
            shape = call.args[1]
            sizes = shape.elts if isinstance(shape, (ast.Tuple, ast.List)) else []
        is_front = len(sizes) in (3, 4) and _is_three(program, sizes[-3]) and not _is_three(program, sizes[-1])
        if is_front and (is_read or _is_data_of_set(call)):
            yield Spot(line=call.lineno, fix="permute(0, 3, 1, 2), or np.transpose with (0, 3, 1, 2)")


def _is_image(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and last_name(call.func.value) in ("Image", "PIL")


def _is_data_of_set(call: ast.Call) -> bool:
    return any(inner.attr == "data" for inner in within(call.func, ast.Attribute))


def _is_three(program: Program, size: ast.expr) -> bool:
    return constants(program, size) == [3]


@fault("CD44", "the average of the weights leaves out batch norm")
def average_without_buffers(program: Program) -> Iterator[Spot]:
    """The averaged copy of the net follows the parameters, and batch norm also has statistics, which are buffers. Those
    of the copy stay as they were at the start, so that it is evaluated with wrong ones. Copy the buffers, too, or
    average state_dict()."""
    has_norm = any("BatchNorm" in name or name.startswith(_WITH_STATISTICS) for name in program.calls)
    if not has_norm or {"buffers", "named_buffers", "update_bn", "AveragedModel"} & set(program.calls):
        return
    for loop in program.every(ast.For):
        pairs = loop.iter.args if isinstance(loop.iter, ast.Call) and last_name(loop.iter.func) == "zip" else []
        made = [pair.func for pair in pairs if isinstance(pair, ast.Call) and last_name(pair.func) == "parameters"]
        nets = {last_name(func.value) for func in made if isinstance(func, ast.Attribute)}
        is_averaged = called_names(loop.body) & {"mul_", "lerp_"} and passes_of(program).level(loop)
        # A copy that is called itself, as in contrastive learning, has statistics of its own.
        if len(pairs) == len(made) == 2 and is_averaged and not nets <= set(program.calls):
            fix = "copy the buffers, too: for a, b in zip(copy.buffers(), net.buffers()): a.copy_(b)"
            yield Spot(line=loop.lineno, fix=fix)


@fault("CD45", "the teacher is in training mode")
def teacher_in_training_mode(program: Program) -> Iterator[Spot]:
    """A net that only serves as a teacher is never put into evaluation mode. Its dropout is on and its batch norm takes
    the statistics of each batch, and changes its own. Call teacher.eval() before training."""
    quiet = {last_name(receiver) for _, receiver in method_calls(program.tree, "eval")}
    trained = {last_name(receiver) for _, receiver in method_calls(program.tree, "train")}
    is_made_quiet = {one for one in program.functions_in_order if calls_within(one, "eval")}
    seen: set[str] = set()
    # A teacher that follows the student, by an average of weights, may train with it.
    if any(last_name(call.func) == "zip" and "teacher" in ast.unparse(call).lower() for call in program.called("zip")):
        return
    for loop in passes_of(program).loops(BATCH):
        for call in within(loop.body, ast.Call):
            name = last_name(call.func)
            if "teacher" not in name.lower() or name in quiet | trained | seen or name in program.functions:
                continue
            seen.add(name)
            given = [one for one in origins(program, call.func) if one is not call.func]
            if {last_name(one) for one in given} & quiet or any(calls_within(one, "eval") for one in given):
                continue
            made_quiet = {made.name for made in is_made_quiet}
            if any(called_names(one) & made_quiet for one in given) or not given:
                continue
            yield Spot(line=call.lineno, fix=f"write {ast.unparse(call.func)}.eval() before the training")


@fault("CD46", "the images are mixed, and only one of the targets counts")
def mixed_with_one_target(program: Program) -> Iterator[Spot]:
    """Pairs of images are mixed, and the loss has the targets of the first of them only. The other image is noise to
    the net, under a wrong label. Weight the losses of both targets by their shares."""
    for assign, target in targets(program.every(ast.Assign)):
        made = assign.value
        is_mixing = isinstance(made, ast.Call) and any(
            word in last_name(made.func).lower() for word in ("mixup", "cutmix", "mix_up", "mixed", "mix_data")
        )
        # With three results the target may be mixed itself.
        if not is_mixing or not isinstance(target, ast.Tuple) or len(target.elts) < 4:
            continue
        scope = program.scope(assign)
        read = {name.id for name in within(scope, ast.Name) if isinstance(name.ctx, ast.Load)}
        unread = [one.id for one in target.elts[1:] if isinstance(one, ast.Name) and one.id not in read]
        if unread:
            fix = "loss = lam * criterion(output, y_a) + (1 - lam) * criterion(output, y_b)"
            yield Spot(line=assign.lineno, fix=fix, detail=f"not used: {', '.join(unread)}")


@fault("CD47", "weights that do not fit are left out in silence", severity="warning")
def loaded_without_a_word(program: Program) -> Iterator[Spot]:
    """The weights of a wrapped net have names that begin with 'module.', and they are loaded into a plain net with
    strict=False. None of them fits, and nothing says so: the net stays as it was made. Save model.module.state_dict(),
    and load without strict=False."""
    saved = [receiver for _, receiver in method_calls(program.tree, "state_dict")]
    is_wrapped = bool(program.called("DataParallel", "DistributedDataParallel", "DDP"))
    if not is_wrapped or any(last_name(one) == "module" for one in saved) or _strips(program):
        return
    for call in program.called("load_state_dict"):
        given = option(program, call, "strict", 1).exprs
        is_lax = any(isinstance(one, ast.Constant) and one.value is False for one in given)
        if is_lax and isinstance(program.parents[call][0], ast.Expr):
            yield Spot(line=call.lineno, fix="leave out strict=False, and save model.module.state_dict()")


def _strips(program: Program) -> bool:
    return any(isinstance(one.value, str) and one.value.startswith("module.") for one in program.every(ast.Constant))


FAULTS: Final[tuple[Fault, ...]] = (
    layers_in_a_list,
    divergence_of_probabilities,
    reshaped_to_channels,
    average_without_buffers,
    teacher_in_training_mode,
    mixed_with_one_target,
    loaded_without_a_word,
)
