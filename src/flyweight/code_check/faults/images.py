"""Faults of the images: the part that is read, its transform, its order, and the seed of the split."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Final

from flyweight.code_check.data import (
    DataSet,
    Loader,
    UsedFor,
    all_data_sets,
    data_sets,
    has_sampler,
    is_true,
    loader_calls,
    loaders,
    name_given,
    normalisation,
    normalising,
    part_line,
    part_of_name,
    part_read,
    random_steps,
    read_by,
    steps_of,
    transform_of,
)
from flyweight.code_check.findings import Fault, Spot, fault
from flyweight.code_check.loops import functions_called, is_net_class, training_loops
from flyweight.code_check.program import (
    Program,
    begin,
    called_names,
    key_of,
    last_name,
    option,
    remembered,
    targets,
    values,
    within,
)


@fault("CD01", "the test set is the training set")
def test_set_is_training_set(program: Program) -> Iterator[Spot]:
    """The test set is read from the training images. The test accuracy then says how well the net remembers them, and
    nothing about new images. Read the test images (train=False)."""
    # A test loader, or a test set, of the training images.
    for loader in loaders(program):
        if loader.part not in ("test", "validation") or has_sampler(program, loader.call):
            continue
        for data_set in read_by(program, loader.call):
            if data_set.split is None and part_read(program, data_set.call) == "train":
                yield _read_as(program, loader.call, data_set.call, loader.part)
    for call in all_data_sets(program):
        name = name_given(program, call)
        if part_of_name(name) == "test" and part_read(program, call) == "train" and not _is_divided(program, name):
            yield Spot(line=part_line(call), fix=_of_test(program, call))


def _read_as(program: Program, loader: ast.Call, data_set: ast.Call, part: UsedFor) -> Spot:
    """At the data set if it is named after this part or not at all, else at the loader."""
    name = name_given(program, data_set)
    if not name or part_of_name(name) == part:
        return Spot(line=part_line(data_set), fix=_of_test(program, data_set))
    fix = f"{part}_data = {_as_test_set(data_set)}, and give {part}_data to this loader"
    return Spot(line=loader.lineno, fix=fix, detail=f"{name} are the training images")


def _of_test(program: Program, call: ast.Call) -> str:
    name = name_given(program, call)
    return (f"{name} = " if name else "") + _as_test_set(call)


def _as_test_set(call: ast.Call) -> str:
    """The call of a data set, changed to read the test images."""
    changed = copy.deepcopy(call)
    if len(changed.args) > 1 and isinstance(changed.args[1], ast.Constant):
        changed.args[1] = ast.Constant(value=False)
    for keyword in changed.keywords:
        if keyword.arg in ("train", "split"):
            keyword.value = ast.Constant(value=False if keyword.arg == "train" else "test")
    return ast.unparse(changed)


def _is_divided(program: Program, name: str) -> bool:
    """Whether parts of a data set are taken, by a split or by a sampler."""
    return name in _divided(program)


@remembered
def _divided(program: Program) -> frozenset[str]:
    takers = program.called("random_split", "Subset")
    takers += [call for call in program.called("DataLoader") if has_sampler(program, call)]
    return frozenset(last_name(call.args[0]) for call in takers if call.args)


@fault("CD04", "the split shares the training transform")
def shared_by_split(program: Program) -> Iterator[Spot]:
    """The parts of a split share one data set object, which has one transform. Random steps that are meant for training
    then change the validation images, too. Make the data set twice, with and without augmentation, and take a part of
    each."""
    # Validation images that have the random transform of the training images they were split from.
    replaced = {data_set.split for _, data_set in _replaced(program)}
    for call in program.called("random_split", "Subset"):
        parts = {part_of_name(name) for name in _names_given(program, call)}
        if call in replaced or not parts & {"validation", "test"}:
            continue
        whole = option(program, call, "dataset", 0).exprs
        for data_set in data_sets(program, whole[0]) if whole else []:
            yield from _randomly_transformed(program, call, data_set)
    yield from _shared_by_samplers(program)


def _randomly_transformed(program: Program, call: ast.Call, data_set: DataSet) -> Iterator[Spot]:
    steps = random_steps(program, transform_of(program, data_set.call))
    if steps:
        kind = ast.unparse(data_set.call.func)
        fix = f"make {kind} twice, with and without augmentation, and take a Subset of each"
        yield Spot(line=call.lineno, fix=fix, detail=f"validation images pass through {_listed(steps)}, too")


def _shared_by_samplers(program: Program) -> Iterator[Spot]:
    """Two loaders of one data set that choose their images with samplers."""
    sampled = [loader for loader in loaders(program) if has_sampler(program, loader.call) and loader.call.args]
    training = {key_of(loader.call.args[0]) for loader in sampled if loader.part == "train"}
    for loader in sampled:
        if loader.part in ("validation", "test") and key_of(loader.call.args[0]) in training - {None}:
            for data_set in read_by(program, loader.call):
                yield from _randomly_transformed(program, loader.call, data_set)


def _names_given(program: Program, call: ast.Call) -> list[str]:
    parent = program.parents[call][0]
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], (ast.Tuple, ast.List)):
        return [last_name(part) for part in parent.targets[0].elts]
    return [name_given(program, call)]


def _replaced(program: Program) -> Iterator[tuple[ast.Assign, DataSet]]:
    """Each `part.dataset.transform = ...`, with the split that the part is of."""
    for assign, target in targets(program.every(ast.Assign)):
        if not isinstance(target, ast.Attribute) or target.attr not in ("transform", "transforms"):
            continue
        if isinstance(target.value, ast.Attribute) and target.value.attr == "dataset":
            for data_set in _data_sets_of(program, target.value.value):
                if data_set.split is not None:
                    yield assign, data_set


def _data_sets_of(program: Program, part: ast.expr) -> list[DataSet]:
    """The data set of a part, or of the loader of a part (loader.dataset)."""
    if isinstance(part, ast.Attribute) and part.attr == "dataset":
        return [one for call in loader_calls(program, part.value) for one in read_by(program, call)]
    return data_sets(program, part)


@fault("CD05", "a transform is replaced for all parts of a split")
def replaced_for_all_parts(program: Program) -> Iterator[Spot]:
    """The parts of a split share one data set object, so a transform that is set on one part is set for all of them.
    Training silently loses its augmentation, or validation gets it, and overfitting is then blamed on something else.
    Make the data set twice, each with its own transform, and take a part of each."""
    # A transform that is set on one part of a split, and so on the data set that all parts read.
    for assign, data_set in _replaced(program):
        if _is_copied(program, assign) or not _has_other_part(program, data_set):
            continue
        given = transform_of(program, data_set.call)
        old, new = random_steps(program, given), random_steps(program, assign.value)
        is_known = given is not None and steps_of(program, given) is not None
        if is_known and steps_of(program, assign.value) is not None and not old and not new:
            continue
        lost = f"; training loses {_listed(old)}" if old and not new else ""
        kind = ast.unparse(data_set.call.func)
        fix = f"make {kind} twice, each with its own transform, and take a Subset of each"
        yield Spot(line=assign.lineno, fix=fix, detail=f"all parts of the split read the same object{lost}")


def _is_copied(program: Program, assign: ast.Assign) -> bool:
    """Whether the part got a data set of its own (`part.dataset = copy(...)`)."""
    target = assign.targets[0]
    inner = target.value if isinstance(target, ast.Attribute) else target
    part = inner.value if isinstance(inner, ast.Attribute) else inner
    return ast.unparse(part) in _with_own_data_set(program)


@remembered
def _with_own_data_set(program: Program) -> frozenset[str]:
    assigned = (target for _, target in targets(program.every(ast.Assign)) if isinstance(target, ast.Attribute))
    return frozenset(ast.unparse(target.value) for target in assigned if target.attr == "dataset")


def _has_other_part(program: Program, data_set: DataSet) -> bool:
    if data_set.split is not None and last_name(data_set.split.func) == "random_split":
        return True
    subsets = [call for call in program.called("Subset") if call.args and key_of(call.args[0]) == data_set.key]
    return data_set.key is not None and len(subsets) > 1


@fault("CD06", "test images are normalised differently from training images")
def normalised_otherwise(program: Program) -> Iterator[Spot]:
    """The training and the test images are shifted and scaled by different numbers. The net gets a brightness and a
    contrast that it was not trained on, and its accuracy falls. Use the numbers of the training images in both
    transforms."""
    # Test images that are normalised with other numbers than the training images.
    found = list(_transforms(program))
    training = [transform for part, transform in found if part == "train"]
    norms = sorted({str(norm) for one in training if (norm := normalisation(program, one)) is not None})
    steps = [step for one in training for step in normalising(program, one)]
    fix = ast.unparse(steps[0]) if steps else "leave Normalize out here, or have the same one in training"
    for part, transform in found:
        norm = normalisation(program, transform)
        if part != "train" and norm is not None and norms and str(norm) not in norms:
            line = _normalising_line(program, transform)
            yield Spot(line=line, fix=fix, detail=f"training has {norms[0]}, here is {norm}")
    yield from _unused_normalisation(program)


def _transforms(program: Program) -> Iterator[tuple[UsedFor, ast.expr]]:
    """The part and the transform of every data set whose part is known."""
    by_loader = _parts_by_loader(program)
    for call in all_data_sets(program):
        named = [part for _, part in by_loader.get(call, ()) if part is not None]
        part = named[-1] if named else part_of_name(name_given(program, call)) or part_read(program, call)
        transform = transform_of(program, call)
        if part is not None and transform is not None:
            yield part, transform


def _parts_by_loader(program: Program) -> dict[ast.Call, list[tuple[Loader, UsedFor | None]]]:
    """The loaders that read each data set as a whole, with the parts that they are named after."""
    found: dict[ast.Call, list[tuple[Loader, UsedFor | None]]] = {}
    for loader in loaders(program):
        for data_set in read_by(program, loader.call):
            if data_set.split is None:
                found.setdefault(data_set.call, []).append((loader, loader.part))
    return found


def _normalising_line(program: Program, transform: ast.expr) -> int:
    return next((step.lineno for step in normalising(program, transform)), transform.lineno)


def _unused_normalisation(program: Program) -> Iterator[Spot]:
    """A transform for the test images that has other numbers, and that no data set uses."""
    composed = set(program.called("Compose"))
    made = [
        (last_name(assign.targets[0]), assign.value)
        for assign in program.every(ast.Assign)
        if any(value.node in composed for value in values(program, assign.value))
    ]
    training = [normalisation(program, value) for name, value in made if part_of_name(name) == "train"]
    if not training or not isinstance(training[0], tuple):
        return
    used = {name.id for name in program.every(ast.Name) if isinstance(name.ctx, ast.Load)}
    for name, value in made:
        norm = normalisation(program, value)
        if part_of_name(name) in ("test", "validation") and name not in used and norm not in (None, "none", *training):
            yield Spot(
                line=_normalising_line(program, value),
                fix=f"give {name} to the test set, with the numbers of the training images {training[0]}",
                detail=f"{name} has {norm} and is not used",
                severity="note",
            )


@fault("CD03", "test images are augmented")
def test_images_augmented(program: Program) -> Iterator[Spot]:
    """The transform of the test images has random steps, such as a rotation. Each evaluation then has other, harder
    images, so that the accuracy varies and is too low. Give the test images a transform without random steps."""
    # Test images whose transform has random steps.
    by_loader = _parts_by_loader(program)
    for call in all_data_sets(program):
        name = name_given(program, call)
        parts = {part for loader, part in by_loader.get(call, ()) if not has_sampler(program, loader.call)}
        parts = parts or {part_of_name(name) or part_read(program, call)}
        transform = transform_of(program, call)
        if "train" in parts or not parts & {"test", "validation"} or transform is None or "tta" in name.lower():
            continue
        if _is_divided(program, name) and part_read(program, call) != "test":
            continue
        steps = random_steps(program, transform)
        if steps:
            fix = "give the test images a transform of their own: ToTensor and the Normalize of training"
            yield Spot(line=transform.lineno, fix=fix, detail=f"test images pass through {_listed(steps)}")


@fault("CD07", "training images are not shuffled", severity="warning")
def not_shuffled(program: Program) -> Iterator[Spot]:
    """The training loader gives the images in the order of the file, the same in each epoch. Each epoch then has the
    same batches, and in a file sorted by class a batch has few classes, which makes each step noisier. Write
    shuffle=True for the training loader; it costs nothing."""
    # The loader of a training loop that gives the images in the order of the file.
    for loop in training_loops(program):
        found = loader_calls(program, loop.over)
        for loader in found:
            given = option(program, loader, "shuffle", 2)
            is_ordered = given.is_known and all(is_true(program, expr) is False for expr in given.exprs)
            # A function for training and evaluation is called with the loaders of both.
            if len(found) > 1 and part_of_name(name_given(program, loader)) != "train":
                continue
            if is_ordered and not has_sampler(program, loader) and _has_order(program, loader):
                yield Spot(line=loader.lineno, fix="write shuffle=True into the DataLoader of the training images")


def _has_order(program: Program, loader: ast.Call) -> bool:
    """Whether the data set of a loader is known, and does not stream (a stream cannot be shuffled)."""
    if read_by(program, loader):
        return True
    given = option(program, loader, "dataset", 0)
    made = [value.node for expr in given.exprs for value in values(program, expr)]
    known = [program.classes.get(last_name(one.func), ()) for one in made if isinstance(one, ast.Call)]
    bases = [last_name(base) for classes in known for one in classes for base in one.bases]
    return bool(made) and len(known) == len(made) and bases == ["Dataset"] * len(made)


@fault("CD08", "the seed is set after the split", severity="warning")
def seeded_after_split(program: Program) -> Iterator[Spot]:
    """The split draws its random numbers before the seed is set. Each run then trains and validates on other images, so
    that two runs with one seed differ. Set the seed first, or give the split a generator of its own."""
    # A split that draws its random numbers before the seed is set.
    seeds = [call for name, calls in program.calls.items() if "seed" in name.lower() for call in calls]
    for call in program.called("random_split"):
        generator, scope = option(program, call, "generator", 2), program.scope(call)
        if generator.exprs or not generator.is_known:
            continue
        after = [seed for seed in seeds if program.scope(seed) is scope and begin(seed) > begin(call)]
        if after and len(after) == len(seeds) and not _seeds_before(program, call):
            seed = ast.unparse(after[0])
            yield Spot(line=call.lineno, fix=f"write {seed} above this line", detail=f"{seed} comes after the split")


@fault("CD09", "no seed is set", severity="note")
def never_seeded(program: Program) -> Iterator[Spot]:
    """No line sets a seed for the random numbers. The same program gives another result each time, and a small
    improvement cannot be distinguished from chance. Set a seed at the top, and compare over several seeds."""
    # A program that trains and sets no seed.
    trains = [loop.node for loop in training_loops(program)]
    if not trains or _names_a_seed(program):
        return
    names = {made.name for made in program.every(ast.ClassDef) if is_net_class(program, made)}
    nets = [call for call in program.called(*names) if isinstance(call.func, ast.Name)]
    first = min(call.lineno for call in [*program.called("random_split"), *nets] or trains)
    yield Spot(line=first, fix="write torch.manual_seed(0) above this line")


def _names_a_seed(program: Program) -> bool:
    names = [*program.calls]
    names += [keyword.arg or "" for keyword in program.every(ast.keyword)]
    names += [alias.name for alias in program.every(ast.alias)]
    return any("seed" in name.lower() or name in ("random_state", "generator") for name in names)


def _seeds_before(program: Program, call: ast.Call) -> bool:
    """Whether a function that is called before sets a seed."""
    return any(
        any("seed" in name.lower() for name in called_names(made))
        for before in within(program.scope(call), ast.Call)
        if begin(before) < begin(call)
        for made in functions_called(program, before)
    )


def _listed(steps: list[ast.Call]) -> str:
    return ", ".join(dict.fromkeys(last_name(step.func) for step in steps))


FAULTS: Final[tuple[Fault, ...]] = (
    test_set_is_training_set,
    shared_by_split,
    replaced_for_all_parts,
    normalised_otherwise,
    test_images_augmented,
    not_shuffled,
    seeded_after_split,
    never_seeded,
)
