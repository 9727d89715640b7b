"""Measurements that need the images, a new net or the trained net of a run; stored in the run folder.

In: a recipe and a seed, or a run. Out: `Probes`, plain numbers. Rules of the doctor interpret them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from flyweight.data.imageset import ImageSet
from flyweight.diagnose.probes.images import probe_images
from flyweight.doctor.probes import Probes, ReadProbe, StartProbe, TrainedProbe
from flyweight.errors import DataError, FlyweightError, needs_torch
from flyweight.experiment.recorded import recipe_of
from flyweight.experiment.resolved import source_of
from flyweight.experiment.splits import split_of
from flyweight.model.count import count
from flyweight.model.notation import is_own_module
from flyweight.model.own_code import require_same, require_trusted
from flyweight.recipe import Recipe
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder, validated
from flyweight.records.store import Store

if TYPE_CHECKING:
    from flyweight.experiment.setup import Workbench

FIELDS: Final = ("images", "reads", "start", "trained")
FORMAT: Final = 1  # increase it when a probe changes: stored probes are then measured again

# Only ended runs: a run that continues writes its files and their checksums at its end.
STORED_FOR: Final = ("finished", "diverged", "failed")

# Errors of images, nets or machines of users; any other error is a bug and is raised.
EXPECTED: Final = (FlyweightError, MemoryError, OSError)


def probe(recipe: Recipe, *, seed: int, folder: RunFolder | None = None) -> Probes:
    """All probes of one seed of a recipe; `folder`: of its run, for the trained net.

    Deterministic in recipe, seed and weights; the global random state does not change.
    """
    try:
        image_set = source_of(recipe).images
    except EXPECTED as error:
        return Probes(failed=dict.fromkeys(FIELDS, _reason(error)))
    return _probe_loaded(recipe, image_set, seed=seed, folder=folder)


def probes_of(record: RunRecord, store: Store) -> Probes:
    """The probes of a run: from its folder, else measured now and stored there."""
    folder = store.folder(record.id)
    made_for = {"format": FORMAT, "recipe": record.recipe_hash, "weights": folder.weights_digest() or "none"}
    kept = _kept(folder, made_for)
    if kept is not None:
        return kept
    if is_own_module(record.recipe["model"]["net"]):
        require_same(record.recipe["model"]["net"], record.own_code)
        require_trusted(record.recipe["model"]["net"])
    found = _probe_run(record, folder)
    if _is_worth_storing(record, found, folder):
        _keep(folder, {"made_for": made_for, "probes": asdict(found)})
    return found


def _probe_run(record: RunRecord, folder: RunFolder) -> Probes:
    try:
        recipe = recipe_of(record)
        image_set = source_of(recipe).images
        if image_set.fingerprint != record.data_hash:
            raise DataError(
                f"the images must be those of the run ({record.data_name}, hash {record.data_hash[:12]}), found hash "
                f"{image_set.fingerprint[:12]}; restore them"
            )
    except EXPECTED as error:
        return Probes(failed=dict.fromkeys(FIELDS, _reason(error)))
    return _probe_loaded(recipe, image_set, seed=record.seed, folder=folder)


def _probe_loaded(recipe: Recipe, image_set: ImageSet, *, seed: int, folder: RunFolder | None) -> Probes:
    @functools.cache
    def bench() -> Workbench:
        from flyweight.experiment.setup import set_up

        return set_up(recipe, image_set, seed=seed, device="cpu", threads=None)

    def reads() -> ReadProbe:
        from flyweight.diagnose.probes.reads import probe_reads

        return probe_reads(recipe, bench())

    def start() -> StartProbe:
        from flyweight.diagnose.probes.start import probe_start

        return probe_start(recipe, bench(), macs=count(recipe.model.net, image_set.shape).macs)

    makers: dict[str, Callable[[], object]] = {
        "images": lambda: probe_images(recipe, image_set, split_of(recipe, image_set, seed)),
        "reads": reads,
        "start": start,
        "trained": lambda: _probe_trained(recipe, bench(), folder),
    }
    made: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with _own_threads():
        for name, make in makers.items():
            try:
                with needs_torch("this check"):
                    made[name] = make()
            except (*EXPECTED, RuntimeError) as error:
                if not isinstance(error, EXPECTED) and "allocate memory" not in str(error):
                    raise
                failed[name] = _reason(error)
    return Probes(**made, failed=failed or None)


def _probe_trained(recipe: Recipe, bench: Workbench, folder: RunFolder | None) -> TrainedProbe:
    if folder is None:
        raise DataError("nothing is trained yet")
    if not folder.has("weights"):
        raise DataError("its weights are missing")
    from flyweight.diagnose.probes.trained import MAX_IMAGES, probe_trained
    from flyweight.inference.net import from_run_folder

    image_set, rows = bench.image_set, bench.batches.rows.numpy()[:MAX_IMAGES]
    names = {row.path: row.name for row in count(recipe.model.net, image_set.shape).rows}
    images, labels = image_set.train_images[rows], image_set.train_labels[rows]
    return probe_trained(from_run_folder(folder), images, labels, names=names)


@contextmanager
def _own_threads() -> Iterator[None]:
    """A context that restores the number of torch threads at its end."""
    if not find_spec("torch"):
        yield
        return
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError | RuntimeError):  # torch has no type of its own for it
        return "not enough memory"
    return str(error).rstrip(".") or type(error).__name__


def _kept(folder: RunFolder, made_for: dict[str, Any]) -> Probes | None:
    """The stored probes, if they are of these weights and not damaged."""

    def parse(tables: Any) -> Probes | None:
        return validated(Probes, tables["probes"]) if tables["made_for"] == made_for else None

    try:
        return folder.read_json("probes", parse, holds="measurements of the doctor")
    except DataError:
        return None


def _is_worth_storing(record: RunRecord, found: Probes, folder: RunFolder) -> bool:
    """Whether to store probes: not if one failed that may succeed later."""
    is_whole = not found.failed or (set(found.failed) == {"trained"} and not folder.has("weights"))
    return is_whole and record.status in STORED_FOR and folder.path.is_dir()


def _keep(folder: RunFolder, tables: dict[str, Any]) -> None:
    try:
        folder.write_json("probes", tables)
    except OSError:
        return  # for example a read-only folder: the next diagnosis measures again
