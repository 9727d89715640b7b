"""`flyweight compare`: which of two or more results is better, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flyweight.cli.output import Flag, Place, say, say_json, talk
from flyweight.cli.tracking import Tracking, both, telling
from flyweight.errors import UsageError

if TYPE_CHECKING:
    from flyweight.evidence.compare import Comparison
    from flyweight.execute.executor import Executor
    from flyweight.records.record import Part
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
    place: Place | None = None,
) -> int:
    """Hold results against each other: what differs, what it costs, what it gives, and how sure that is.

    A result is all seeds of a recipe; any of its runs names it, and so does the recipe.

    $ flyweight compare own/20k-fast own/8k

    $ flyweight compare own/20k-fast mine.toml --on validation --json

    $ flyweight compare own/20k-fast mine.toml --until-sure --max-seeds 8

    Parameters
    ----------
    baseline
        The result that the others are held against: a run, the name of a recipe, or a recipe file.
    changed
        One or more results.
    on
        The images that count: test, or validation to choose by.
    until_sure
        Train seeds of both, two runs at a time, until the answer is clear; the plan for it is kept.
    max_seeds
        With --until-sure: at most so many seeds a side, 10 unless told.
    study
        Look for the results in this study; with --until-sure, the study that new runs belong to.
    device
        With --until-sure: where to compute.
    at_once
        With --until-sure: how many seeds train side by side; by default one per core.
    json
        Print everything as JSON.
    """
    place = place or Place()
    store = place.store()
    if until_sure:
        from flyweight.execute.process_executor import Processes

        if len(changed) != 1:
            raise UsageError(f"--until-sure compares two results, found {1 + len(changed)}; ask for them one by one.")
        comparison, code = _until_sure(
            store,
            tracking,
            (baseline, changed[0]),
            part=on,
            study=study,
            max_seeds=max_seeds,
            executor=Processes(device=device, at_once=at_once),
        )
        comparisons: tuple[Comparison, ...] = () if comparison is None else (comparison,)
        if comparison is None:
            talk("stopped and saved before there was anything to compare; the same command goes on")
    else:
        if max_seeds is not None:
            raise UsageError("--max-seeds goes with --until-sure; give both or neither.")
        from flyweight.studies.results import compare as compare_on_record

        comparisons, code = compare_on_record(baseline, *changed, store=store, part=on, study=study), 0
    _told(comparisons, store, place, as_json=json)
    return code


def _until_sure(
    store: Store,
    tracking: Tracking | None,
    sides: tuple[str, str],
    *,
    part: Part,
    study: str | None,
    max_seeds: int | None,
    executor: Executor,
) -> tuple[Comparison | None, int]:
    """The comparison, if there was time for one, and the exit code of whoever stopped it."""
    from flyweight.cli.watch import watching
    from flyweight.execute.signals import stopping_on_signals
    from flyweight.studies.until_sure import until_sure

    with telling(tracking, store) as tell, stopping_on_signals() as stop, watching(named=True) as show:
        comparison = until_sure(
            *sides,
            store=store,
            part=part,
            study=study,
            max_seeds=max_seeds,
            executor=executor,
            watch=both(show, tell),
            on_look=_tell,
            should_stop=stop,
        )
    return comparison, stop.exit_code if stop() else 0


def _tell(look: Look) -> None:
    """What a look saw."""
    found = look.comparison
    if look.was_stopped:
        talk(f"stopped at {found.baseline.n} and {found.changed.n} seeds; the same command goes on")
        return
    talk(f"look {look.number} of {look.of}, {found.baseline.n} and {found.changed.n} seeds: {found.verdict.sentence}")


def _told(comparisons: tuple[Comparison, ...], store: Store, place: Place, *, as_json: bool) -> None:
    from flyweight.report.comparison.page import write_comparison
    from flyweight.report.comparison.text import comparison_text

    options = place.options()
    pages = [write_comparison(store, comparison, options=options) for comparison in comparisons]
    if as_json:
        found = [
            comparison.as_dict() | {"page": str(page)} for comparison, page in zip(comparisons, pages, strict=True)
        ]
        say_json(found)
        return
    for number, (comparison, page) in enumerate(zip(comparisons, pages, strict=True)):
        say(("\n" if number else "") + comparison_text(comparison, page=page, options=options))
