"""`flyweight train`: train a recipe, evaluate the net and record the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import dumps as to_json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypedDict

from cyclopts import Parameter

from flyweight.cli.output import Flag, StoreLocation, say, say_json, talk
from flyweight.cli.settings import Settings, TrustCode, is_named
from flyweight.cli.tracking import Tracking, both, tracked
from flyweight.cli.watch import announce_compiling
from flyweight.errors import DivergedError, FlyweightError, TargetMissedError, UsageError, require_counts
from flyweight.records.ids import SHORT_ID
from flyweight.tables import plain

if TYPE_CHECKING:
    from flyweight.execute.automatic import Automatic
    from flyweight.execute.signals import StopRequest
    from flyweight.experiment.events import Event
    from flyweight.experiment.monitor import MakeMonitor
    from flyweight.experiment.resolved import ResolvedRecipe
    from flyweight.recipe import Recipe
    from flyweight.records.record import RunRecord
    from flyweight.records.results import RunResult
    from flyweight.records.store import Store
    from flyweight.train.device import DeviceName

DEFAULT_RECIPE = "own/20k-fast"

# A page takes about as long as a seed on a GPU; of more runs, `flyweight report` writes those that are looked at.
MAX_PAGES: Final = 8


def train(
    recipe: Annotated[str | None, Parameter(show_default=False)] = None,
    /,
    *,
    seed: int = 0,
    seeds: int | None = None,
    settings: Settings | None = None,
    start: Annotated[str | None, Parameter(name="--from", show_default=False)] = None,
    resume: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    threads: int | None = None,
    at_once: int | None = None,
    study: str | None = None,
    expect: str | None = None,
    doctor: Literal["off", "warn", "stop"] = "off",
    tracking: Tracking | None = None,
    trust_code: TrustCode = False,
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> int:
    """Train a recipe, evaluate the net, and store the run with its report.

    $ flyweight train own/20k-fast --seeds 5

    $ flyweight train own/8k --lr 0.05 --budget 8k --study parts

    $ flyweight train "c16 bn r m2 c32 bn r gap flat fc10" --epochs 5

    $ flyweight train --resume @latest

    $ flyweight train --from @latest --epochs 2 --lr 0.01

    Parameters
    ----------
    recipe
        Name of a recipe (see `flyweight recipes`), a TOML file, a net in notation, or your own module as FILE:CLASS
        (the last two with default settings). Default: own/20k-fast.
    seed
        Seed of initialisation, image order, augmentation and dropout; with --seeds, the first seed.
    seeds
        Train this many seeds at the same time, and report the mean and its 95 % interval: on a GPU as one stacked net,
        elsewhere one thread each.
    start
        Start from the weights of this run (id, @latest or @best), by default with its recipe: to train longer, or on
        other images.
    resume
        Continue a stopped run (id, or @latest) and its other seeds; the weights are the same as without the stop.
    device
        Device to train on; auto takes a GPU if there is one.
    threads
        Threads for a single run; other numbers change rounding. Default: 1, which is enough for a small net.
    at_once
        With --seeds: maximum number of runs that train at the same time. Default: one per core, or as many as the
        memory of the GPU can hold.
    study
        Add the runs to this study; `flyweight journal NAME` prints its log.
    expect
        Note for the journal, written before the first run starts: what you expect.
    doctor
        Check each epoch for faults: warn only, or also stop the run at a fault (--resume continues it).
    trust_code
        Run the file of an own module that the recipe names, and remember its hash. One that you type is run anyway.
    json
        Print the results as JSON.
    """
    from flyweight.execute.automatic import Automatic
    from flyweight.experiment.plan import budget_overrides, plan
    from flyweight.recipe import load, parent
    from flyweight.records.database import storable

    require_counts(seed=seed, seeds=seeds, threads=threads)
    for name, text in (("--study", study), ("--expect", expect)):
        if text is not None and storable(text) != text:
            raise UsageError(f"{name} must be text in UTF-8 without passwords, found {text!r}.")
    executor = Automatic(device=device, at_once=at_once)
    location, settings = location or StoreLocation(), settings or Settings()
    store, monitor = location.store(), _monitor(doctor)
    if resume is not None:
        options = {"a recipe": recipe, **settings.given(), "--seeds": seeds, "--study": study}
        _refuse_with_resume(options | {"--expect": expect, "--from": start}, resume)
        found = _resume(resume, store, tracking, executor, trust_code=trust_code, monitor=monitor)
        return _report(*found, location=location, as_json=json)
    overrides = (*settings.overrides(), *budget_overrides(settings.budget))
    chosen: str | Path = recipe or DEFAULT_RECIPE
    if start is not None:
        folder = store.folder(store.get(start).id)
        folder.weights()  # a run without weights is an error of its own
        chosen = recipe or folder.file("recipe")
        overrides = (*overrides, f"model.start={to_json(str(folder.file('weights')))}")
    trusted = trust_code or is_named(recipe, settings.changes)
    resolved = plan(load(chosen, overrides=overrides), trust_code=trusted).require()
    _announce(resolved, seeds, device)
    lineage = _lineage(resolved, parent(chosen, overrides=overrides), study)
    if expect is not None:
        _note_expectation(resolved, expect, store, study)
    if seeds is None:
        found = _one(resolved, store, tracking, lineage, seed=seed, device=device, threads=threads, monitor=monitor)
    else:
        all_seeds = range(seed, seed + seeds)
        found = _several(resolved, store, tracking, lineage, executor, seeds=all_seeds, monitor=monitor)
    return _report(*found, location=location, as_json=json)


class Lineage(TypedDict):
    """The position of a run in a journal: arguments of `run` and `run_seeds`."""

    study: str | None
    parent_hash: str | None


def _lineage(resolved: ResolvedRecipe, parent: Recipe | None, study: str | None) -> Lineage:
    """The study, and the hash of the recipe that was changed, if any."""
    from flyweight.experiment.resolved import canonical_hash

    if study is not None and study.strip() in ("", "note"):  # `journal note` is a verb
        raise UsageError(f"--study must be a name other than 'note', found {study!r}; leave it out for no study.")
    changed = None if parent is None else canonical_hash(parent, resolved.source)
    return {"study": study, "parent_hash": None if changed == resolved.hash else changed}


def _note_expectation(resolved: ResolvedRecipe, text: str, store: Store, study: str | None) -> None:
    from flyweight.records.author import author_or_default

    if not text.strip():
        raise UsageError("the text of --expect is empty; write what you expect, or leave it out.")
    store.notebook.write_note(resolved.hash, "before", text.strip(), author=author_or_default(), study=study)


def _refuse_with_resume(options: Mapping[str, object], run: str) -> None:
    """A resumed run keeps its recipe and seed."""
    given = [name for name, value in options.items() if value]
    if given:
        raise UsageError(
            f"--resume continues a run with its own settings; leave out {', '.join(given)}. For other settings or more "
            f"epochs start from its weights: flyweight train --from {run} --epochs N"
        )


def _announce(resolved: ResolvedRecipe, seeds: int | None, device: DeviceName) -> None:
    """The first line, before torch is loaded."""
    from flyweight.experiment.resolved import data_notes

    recipe, cost = resolved.recipe, resolved.cost
    allowed = f" of {recipe.budget.params:,}" if recipe.budget.params else ""
    epochs = f"{recipe.train.epochs} epoch{'' if recipe.train.epochs == 1 else 's'}"
    many = "" if seeds is None else f", {seeds} seed{'' if seeds == 1 else 's'}"
    talk(f"{plain(recipe.name)}: {cost.params:,}{allowed} parameters, {epochs}{many}")
    for note in data_notes(recipe, resolved.source):
        talk(f"note: {note}.")
    announce_compiling(device)


def _monitor(doctor: Literal["off", "warn", "stop"]) -> MakeMonitor | None:
    if doctor == "off":
        return None
    from flyweight.diagnose.monitor import monitor

    return monitor(may_stop=doctor == "stop")


Found = tuple["tuple[RunRecord, ...]", "StopRequest"]


def _one(
    resolved: ResolvedRecipe,
    store: Store,
    tracking: Tracking | None,
    lineage: Lineage,
    *,
    seed: int,
    device: DeviceName,
    threads: int | None,
    monitor: MakeMonitor | None,
) -> Found:
    from flyweight.experiment.run import run

    with _attended(store, tracking) as (watch, stop):
        settings: dict[str, Any] = {"device": device, "threads": threads, "monitor": monitor}
        record = run(resolved, seed=seed, store=store, watch=watch, should_stop=stop, **settings, **lineage)
    return (record,), stop


def _several(
    resolved: ResolvedRecipe,
    store: Store,
    tracking: Tracking | None,
    lineage: Lineage,
    executor: Automatic,
    *,
    seeds: Sequence[int],
    monitor: MakeMonitor | None,
) -> Found:
    from flyweight.execute.seeds import run_seeds

    with _attended(store, tracking) as (watch, stop):
        settings: dict[str, Any] = {"executor": executor, "monitor": monitor}
        records = run_seeds(resolved, seeds=seeds, store=store, watch=watch, should_stop=stop, **settings, **lineage)
    return records, stop


def _resume(
    selector: str,
    store: Store,
    tracking: Tracking | None,
    executor: Automatic,
    *,
    trust_code: bool,
    monitor: MakeMonitor | None,
) -> Found:
    from flyweight.execute.seeds import resume_seeds
    from flyweight.experiment.run import resume
    from flyweight.records.ids import SHORT_ID
    from flyweight.records.record import OVER

    store.mark_lost()
    record = store.get(selector)
    if record.group_id is None and record.status in OVER:
        raise UsageError(
            f"run {record.id[:SHORT_ID]} is {record.status}, so there is nothing to resume; start from its weights "
            f"instead: flyweight train --from {record.id[:SHORT_ID]} --epochs N"
        )
    talk(
        f"{plain(record.name)}: run {record.id[:SHORT_ID]}, {record.status} after {record.epochs_done} of "
        f"{record.epochs_planned} epochs"
    )
    with _attended(store, tracking) as (watch, stop):
        settings: dict[str, Any] = {"store": store, "trust_code": trust_code, "monitor": monitor}
        settings |= {"watch": watch, "should_stop": stop}
        if record.group_id is None:
            return (resume(record.id, device=executor.device, **settings),), stop
        return resume_seeds(record.group_id, executor=executor, **settings), stop


@contextmanager
def _attended(store: Store, tracking: Tracking | None) -> Iterator[tuple[Callable[[Event], None], StopRequest]]:
    """A function that shows and tracks events, and a flag that Ctrl-C sets."""
    from flyweight.cli.watch import watching
    from flyweight.execute.signals import STOPPING, stopping_on_signals

    with tracked(tracking, store) as track, stopping_on_signals(STOPPING) as stop, watching() as show:
        yield both(show, track), stop


def _report(records: Sequence[RunRecord], stop: StopRequest, *, location: StoreLocation, as_json: bool) -> int:
    """Write the reports of completed runs, print the results, and return the exit code."""
    from flyweight.records.record import OVER
    from flyweight.report.run.page import write_report
    from flyweight.report.run.summary import group_summary, run_summary
    from flyweight.report.run.variant import equal_run, titles

    store = location.store()
    over = [record for record in records if record.status in OVER]
    folders = [store.folder(record.id) for record in over]
    named = titles(over, store)
    for folder in folders if len(folders) <= MAX_PAGES else ():
        write_report(folder, title=named[folder.run_id])
    results = [folder.result() for folder in folders]
    if as_json:
        say_json([result.as_dict() for result in results])
    elif len(results) == 1:
        same = equal_run(over[0], store)
        say(run_summary(results[0], folders[0], title=named[over[0].id], equal_run=same, options=location.options()))
    elif results:
        say(group_summary(results, title=named[over[0].id], options=location.options()))
    if stop() and not _all_over(records):
        _print_resume_command(records, location)
        return stop.exit_code
    stopped = _print_stopped_by_doctor(records, location)
    return _exit_code(results, location) or stopped


def _all_over(records: Sequence[RunRecord]) -> bool:
    """Whether a stop came too late to stop anything: each run, and each seed of a group, has its result."""
    n_seeds = len(records[0].environment.get("group_seeds", ())) if records else 1
    return len(records) >= n_seeds and all(record.status in ("finished", "diverged") for record in records)


def _print_resume_command(records: Sequence[RunRecord], location: StoreLocation) -> None:
    """The command that finishes the stopped runs; any run of a group of seeds resumes the group."""
    stopped = [record for record in records if record.status == "interrupted"]
    if stopped:
        talk(f"stopped and saved: {', '.join(record.id[:SHORT_ID] for record in stopped)}")
    named = [*stopped, *(record for record in records if record.group_id is not None)]
    if named:
        talk(f"continue with: flyweight train --resume {named[0].id[:SHORT_ID]}{location.options()}")


def _print_stopped_by_doctor(records: Sequence[RunRecord], location: StoreLocation) -> int:
    """Why the doctor stopped runs, and the commands for details and for continuing; 0 if it stopped none."""
    stopped = [record for record in records if record.status == "interrupted"]
    for record in stopped:
        talk(f"flyweight: run {record.id[:SHORT_ID]} {record.message}.")
    if not stopped:
        return 0
    talk(f"why: flyweight doctor {stopped[0].id[:SHORT_ID]}{location.options()}")
    talk(f"continue anyway: flyweight train --resume {stopped[0].id[:SHORT_ID]}{location.options()}")
    return FlyweightError.exit_code


def _exit_code(results: Sequence[RunResult], location: StoreLocation) -> int:
    """Diverged comes before target missed; a target is compared with the mean over the seeds."""
    from flyweight.report.run.summary import judged_on

    diverged = [result for result in results if result.status == "diverged"]
    if diverged:
        for result in diverged:
            talk(f"flyweight: run {result.run} diverged: {result.message}.")
            talk(f"why: flyweight doctor {result.run}{location.options()}")
        return DivergedError.exit_code
    if not results:
        return FlyweightError.exit_code
    target = results[0].target
    shares = [result.validation.accuracy for result in results if result.validation is not None]
    if target is not None and fmean(shares) < target:
        talk(f"flyweight: {judged_on(results[0])} must reach {target:.2%}, found {fmean(shares):.2%}; runs are stored.")
        return TargetMissedError.exit_code
    return 0
