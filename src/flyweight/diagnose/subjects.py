"""Collect what is known about a recipe or a run into a `Subject` for the doctor.

In: a recipe, or a record and its store. Missing parts are noted with the reason. Without probes torch is not loaded,
unless the net is a module of the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flyweight.data.facts import DataFacts, ImageSource
from flyweight.diagnose.claims import claims_of_recipe, claims_of_run, step_of
from flyweight.doctor.subject import Ending, Need, Parent, Subject
from flyweight.errors import DataError, FlyweightError, NotationError
from flyweight.experiment.plan import plan, resolve
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.resolved import ResolvedRecipe, canonical_hash, data_facts, source_of
from flyweight.experiment.schedule import learning_rate
from flyweight.model.cost import Cost, Row
from flyweight.model.notation import is_own_module, parse_net
from flyweight.model.spec import Block, RowKind, kind_of, kind_of_module
from flyweight.recipe import ProtocolSection, Recipe, diff_stored, factor
from flyweight.records.results import SPLITS

if TYPE_CHECKING:
    from flyweight.records.record import RunRecord
    from flyweight.records.run_folder import RunFolder
    from flyweight.records.store import Store

OF_A_RUN: Final[tuple[Need, ...]] = ("history", "ending", "predictions", "reported", "parent")
OF_PROBES: Final[tuple[Need, ...]] = ("images", "reads", "start", "trained")

Piece = TypeVar("Piece")


def subject_of_recipe(recipe: Recipe | ResolvedRecipe) -> Subject:
    """What is known before a run; needs no torch and, for a named set, no images.

    Raises:
        RecipeError, OverBudgetError: the recipe cannot be trained.
    """
    resolved = resolve(recipe)
    return Subject(
        recipe=resolved.recipe,
        cost=resolved.cost,
        data=resolved.data,
        lr_curve=_lr_curve(resolved.recipe),
        claims=claims_of_recipe(resolved.recipe, resolved.cost),
        why_missing=dict.fromkeys((*OF_A_RUN, *OF_PROBES), "this is a recipe, not a run"),
    )


def subject_of_run(record: RunRecord, store: Store, *, with_probes: bool = True) -> Subject:
    """What is known about a run with any status.

    Raises:
        RecipeError: this version cannot read its recipe. DataError: neither its images nor its figures exist.
    """
    recipe = recipe_of(record)
    source = source_of(recipe)
    folder = store.folder(record.id)
    cost = _cost_of_run(recipe, source, folder)
    subject = Subject(
        recipe=recipe,
        cost=cost,
        data=_data_of_run(recipe, source, folder),
        lr_curve=_lr_curve(recipe),
        why_missing=dict.fromkeys(OF_PROBES, "probes are switched off (--no-probes)"),
    )
    subject = _with_files(subject, record, folder)
    subject = replace(subject, claims=claims_of_run(recipe, cost, record, store, ending=subject.ending))
    subject = _with_parent(subject, record, store)
    return _with_probes(subject, record, store) if with_probes else subject


def _lr_curve(recipe: Recipe) -> tuple[float, ...]:
    return tuple(learning_rate(percent / 100, recipe=recipe) for percent in range(101))


def _with_files(subject: Subject, record: RunRecord, folder: RunFolder) -> Subject:
    """The subject with the contents of the run folder; each file is read on its own."""
    from flyweight.doctor import reading

    why: dict[Need, str] = {}
    absent = _why_absent(record)

    def read(need: Need, reader: Callable[[], Piece | None]) -> Piece | None:
        try:
            found = reader()
        except DataError as error:
            why[need] = str(error)
            return None
        if not found:
            why[need] = absent[need] if folder.path.is_dir() else f"its folder {folder.path} is missing"
        return found or None

    def read_reported() -> Mapping[str, Any] | None:
        return reading.read_reported(folder)

    protocol = subject.recipe.protocol
    ending = read("ending", lambda: reading.read_ending(folder)) or _ending(record)
    if ending is not None:
        why.pop("ending", None)  # the record has it
    return replace(
        subject,
        history=read("history", lambda: reading.read_history(folder)),
        ending=ending,
        predictions=read("predictions", lambda: reading.read_predictions(folder, split=protocol.evaluate_on)),
        reported={} if protocol == ProtocolSection() else read("reported", read_reported),
        why_missing={**subject.why_missing, **why},
    )


def _why_absent(record: RunRecord) -> dict[Need, str]:
    """Why a file may be absent from a run folder that is there."""
    became = _became(record)
    no_epoch = None if record.epochs_done else f"no epoch was finished: {became}"
    finished = record.status == "finished"
    return {
        "ending": "the run is unfinished",
        "history": no_epoch or "its history is missing",
        "reported": no_epoch or "its reported metrics are missing",
        "predictions": "its predictions are missing" if finished else f"{became} and has no predictions",
    }


def _became(record: RunRecord) -> str:
    return "the run diverged" if record.status == "diverged" else f"the run is {record.status}"


def _ending(record: RunRecord) -> Ending | None:
    """How a run ended according to its record; None for a running one. Used where result.json is missing."""
    if record.status == "running":
        return None
    figures = {split: record.figures(split) for split in SPLITS}
    return Ending(status=record.status, message=record.message, best_epoch=record.best_epoch, **figures)


def _with_parent(subject: Subject, record: RunRecord, store: Store) -> Subject:
    parent_hash = record.parent_hash or _hash_of_step_before(subject.recipe)
    if parent_hash is None:
        return _lacking(subject, {"parent": "the recipe is not recorded as a change of another"})
    runs = store.runs(recipe_hash=parent_hash, data_hash=record.data_hash, status="finished", purpose="all")
    measured = ((run, found) for run in reversed(runs) if (found := run.figures("test")) is not None)
    first, figures = next(measured, (None, None))
    if first is None or figures is None:
        return _lacking(subject, {"parent": "the recipe that was changed has no finished run on record"})
    factors = tuple(dict.fromkeys(factor(change.key) for change in diff_stored(first.recipe, record.recipe)))
    parent = Parent(name=first.name, factors=factors, correct=figures.correct, count=figures.count)
    return replace(subject, parent=parent)


def _hash_of_step_before(recipe: Recipe) -> str | None:
    """The hash of the step that a step of a document changes."""
    found = step_of(recipe.name)
    before = found[1].parent if found else None
    return canonical_hash(before) if before else None


def _with_probes(subject: Subject, record: RunRecord, store: Store) -> Subject:
    from flyweight.diagnose.probes.collect import probes_of

    found = probes_of(record, store)
    subject = replace(subject, images=found.images, reads=found.reads, start=found.start, trained=found.trained)
    failed = found.failed or {}
    why = {need: reason for need, reason in subject.why_missing.items() if need not in OF_PROBES}
    why |= {need: failed[need] for need in OF_PROBES if need in failed}
    if "trained" in why and record.status != "finished":
        why["trained"] = f"{_became(record)} and has no weights"
    return replace(subject, why_missing=why)


def _lacking(subject: Subject, why: Mapping[Need, str]) -> Subject:
    return replace(subject, why_missing={**subject.why_missing, **why})


def _cost_of_run(recipe: Recipe, source: ImageSource, folder: RunFolder) -> Cost:
    """Counted now; as it was counted then, where the net is a module of the user's own or its images are gone."""
    stored = _stored_cost(folder, source)
    if stored is not None and is_own_module(recipe.model.net):
        return stored
    try:
        found = plan(recipe, source)
    except FlyweightError:
        if stored is None:
            raise
        return stored
    return found.cost or stored or found.require().cost


def _data_of_run(recipe: Recipe, source: ImageSource, folder: RunFolder) -> DataFacts:
    try:
        return data_facts(recipe, source.sizes)
    except FlyweightError:
        stored = _stored_data(folder)
        if stored is None:
            raise
        return stored


def _stored_cost(folder: RunFolder, source: ImageSource) -> Cost | None:
    """The cost stored in the result of the run; the first layer of an own module need not read the image itself."""
    try:
        result = folder.result()
        rows = tuple(_row(row) for row in result.layers)
        shape = rows[0].in_shape
        return Cost(net=result.net, input_shape=shape if len(shape) == 3 else source.sizes.shape, rows=rows)
    except (DataError, KeyError, TypeError, IndexError):
        return None


def _row(table: Mapping[str, Any]) -> Row:
    """A row of the stored table: shapes are lists, unknown values null; old files have no kind, and `jump`."""
    found = dict(table)
    found.setdefault("kind", _kind_of_text(found["layer"]))
    found.setdefault("effective_stride", found.pop("jump", None))
    for key in ("receptive_field", "effective_stride"):
        found[key] = tuple(nan if side is None else side for side in found[key])
    return Row(**{**found, "in_shape": tuple(found["in_shape"]), "out_shape": tuple(found["out_shape"])})


def _kind_of_text(layer: str) -> RowKind:
    """The kind of a layer by its token, or by the class name of a module."""
    try:
        (node,) = parse_net(layer).nodes
    except NotationError:
        return kind_of_module([layer])
    return "other" if isinstance(node, Block) else kind_of(node)


def _stored_data(folder: RunFolder) -> DataFacts | None:
    """The data sizes stored in the result of the run."""
    try:
        result = folder.result()
        channels, height, width = result.layers[0]["in_shape"]
    except (DataError, KeyError, TypeError, IndexError, ValueError):
        return None
    if result.train is None or result.validation is None:
        return None
    return DataFacts(
        n_train=result.train.count,
        n_validation=result.validation.count,
        n_classes=len(result.class_names),
        shape=(channels, height, width),
    )
