"""`flyweight compare`: which of two or more results is better, and how certain that is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flyweight.cli.output import Flag, StoreLocation, page_or_reason, say, say_json, talk
from flyweight.cli.tracking import Tracking, both, tracked
from flyweight.errors import UsageError

if TYPE_CHECKING:
    from flyweight.evidence.compare import Comparison
    from flyweight.execute.executor import Executor
    from flyweight.records.record import HeldOut
    from flyweight.records.store import Store
    from flyweight.studies.until_sure import Look


def compare(
    baseline: str,
    /,
    *changed: str,
    on: Annotated[Literal["test", "validation"], Parameter(name="--on")] = "test",
    until_sure: Annotated[bool, Flag] = False,
    max_seeds: int | None = None,
    study: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    at_once: int | None = None,
    tracking: Tracking | None = None,
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> int:
    """Compare results: what differs, the change in cost and accuracy, and how certain it is.

    A result is a recipe with all its seeds. Name it by the recipe or by any of its runs.

    $ flyweight compare own/20k-fast own/8k

    $ flyweight compare own/20k-fast mine.toml --on validation --json

    $ flyweight compare own/20k-fast mine.toml --until-sure --max-seeds 8

    Parameters
    ----------
    baseline
        The result to compare the others with: a run, the name of a recipe, or a recipe file.
    changed
        One or more results to compare with it.
    on
        Images whose accuracy is compared: test, or validation (while you still choose between recipes).
    until_sure
        Train seeds of both recipes until one is clearly better or --max-seeds is reached; the plan is stored.
    max_seeds
        With --until-sure: maximum number of seeds per recipe. Default: 10.
    study
        Use only the runs of this study; with --until-sure, new runs are added to it.
    device
        With --until-sure: device to train on.
    at_once
        With --until-sure: maximum number of runs that train at the same time. Default: one per core, or as many as
        the memory of the GPU can hold.
    json
        Print JSON.
    """
    location = location or StoreLocation()
    store = location.store(only_reads=not until_sure)
    if until_sure:
        from flyweight.execute.automatic import Automatic

        if len(changed) != 1:
            raise UsageError(f"--until-sure compares two results, found {1 + len(changed)}; compare them in pairs.")
        comparison, code = _until_sure(
            store,
            tracking,
            (baseline, changed[0]),
            part=on,
            study=study,
            max_seeds=max_seeds,
            executor=Automatic(device=device, at_once=at_once),
        )
        comparisons: tuple[Comparison, ...] = () if comparison is None else (comparison,)
        if comparison is None:
            talk("stopped and saved before both results had a run; continue with the same command")
    else:
        if max_seeds is not None:
            raise UsageError("--max-seeds needs --until-sure; add it or leave --max-seeds out.")
        from flyweight.studies.results import compare as compare_on_record

        comparisons, code = compare_on_record(baseline, *changed, store=store, part=on, study=study), 0
    _print(comparisons, store, location, as_json=json)
    return code


def _until_sure(
    store: Store,
    tracking: Tracking | None,
    sides: tuple[str, str],
    *,
    part: HeldOut,
    study: str | None,
    max_seeds: int | None,
    executor: Executor,
) -> tuple[Comparison | None, int]:
    """The comparison (None if stopped before there was one) and the exit code (of the signal, if it was stopped)."""
    from flyweight.cli.watch import watching
    from flyweight.execute.signals import STOPPING, stopping_on_signals
    from flyweight.studies.until_sure import until_sure

    with tracked(tracking, store) as track, stopping_on_signals(STOPPING) as stop, watching(named=True) as show:
        comparison = until_sure(
            *sides,
            store=store,
            part=part,
            study=study,
            max_seeds=max_seeds,
            executor=executor,
            watch=both(show, track),
            on_look=_print_look,
            should_stop=stop,
        )
    return comparison, stop.exit_code if stop() else 0


def _print_look(look: Look) -> None:
    found = look.comparison
    if look.was_stopped:
        talk(f"stopped at {found.baseline.n} and {found.changed.n} seeds; continue with the same command")
        return
    talk(f"test {look.number} of {look.of}, {found.baseline.n} and {found.changed.n} seeds: {found.verdict.sentence}")


def _print(comparisons: tuple[Comparison, ...], store: Store, location: StoreLocation, *, as_json: bool) -> None:
    from flyweight.report.comparison.page import write_comparison
    from flyweight.report.comparison.text import comparison_text

    options = location.options()
    pages = [
        page_or_reason(partial(write_comparison, store, comparison, options=options)) for comparison in comparisons
    ]
    if as_json:
        found = [
            comparison.as_dict() | {"page": page and str(page)}
            for comparison, page in zip(comparisons, pages, strict=True)
        ]
        say_json(found)
        return
    for number, (comparison, page) in enumerate(zip(comparisons, pages, strict=True)):
        say(("\n" if number else "") + comparison_text(comparison, page=page, options=options))
