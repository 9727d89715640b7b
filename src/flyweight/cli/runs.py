"""`flyweight runs` and `flyweight report`: the list of runs, and one run in full."""

from __future__ import annotations

import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from flyweight.cli.output import Flag, OutputFormat, StoreLocation, page_or_reason, print_rows, say, say_json, talk
from flyweight.errors import DataError, UsageError
from flyweight.tables import counted, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyweight.records.record import RunRecord
    from flyweight.records.store import Store

DEFAULT_LIMIT: Final = 20
OPTIONAL: Final = ("started", "params")  # columns that a narrow terminal leaves out


def runs(
    *,
    name: str | None = None,
    status: Literal["running", "finished", "diverged", "interrupted", "failed", "lost"] | None = None,
    study: str | None = None,
    data: str | None = None,
    seed: int | None = None,
    purpose: Literal["all", "run", "trial", "remedy", "reproduction", "certification", "search"] = "run",
    limit: int | None = None,
    out: Path | None = None,
    verify: Annotated[bool, Flag] = False,
    output: OutputFormat | None = None,
    location: StoreLocation | None = None,
) -> int:
    """List the runs that you started, newest first; --purpose shows others.

    $ flyweight runs

    $ flyweight runs --status finished --name own/20k-fast --csv

    $ flyweight runs --purpose all --out runs.csv

    $ flyweight runs --purpose all --verify

    Parameters
    ----------
    name
        Only runs of this recipe.
    status
        Only runs with this status.
    study
        Only runs of this study.
    data
        Only runs on this image set.
    seed
        Only runs of this seed.
    purpose
        Why a run was made: run (you started it), trial (to test a change), remedy (recipe fixed by the doctor),
        reproduction (step of a document), certification, search (a trial of a search), or all.
    limit
        Maximum number of runs. Default: 20, and all with --out.
    out
        Write the runs to this .csv, .json or .parquet file instead, one row per run with every key of its recipe.
    verify
        Check the runs instead: their figures, curves and recipe in the database against the files of their folders,
        and these against their checksums. Exit code 6 if any differ.
    """
    from flyweight.records.record import RunFilter
    from flyweight.report.run.listing import run_rows, short_run_rows
    from flyweight.report.run.variant import titles

    store = (location or StoreLocation()).store(only_reads=True)
    store.mark_lost()
    wanted: RunFilter = {"name": name, "status": status, "study": study, "data_name": data, "seed": seed}
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be 1 or more, found {limit}.")
    if limit is None and out is None and not verify:
        limit = DEFAULT_LIMIT
    records = store.runs(**wanted, purpose=purpose, limit=limit)
    if verify:
        if out is not None:
            raise UsageError("--verify checks runs, --out writes them; use one of them.")
        return _verify(records, store, output or OutputFormat())
    if out is not None:
        from flyweight.trackers import write_table

        say(str(write_table(records, out)))
        return 0
    if not records:
        others = store.runs(**wanted, purpose="all")
        known = sorted({record.name for record in store.runs(purpose=purpose)})
        if others:
            purposes = sorted({record.purpose for record in others})
            talk(f"no matching runs of purpose {purpose}; there are runs of --purpose {' and '.join(purposes)}.")
        elif known:
            talk(f"no matching runs; there are runs of {', '.join(known)}.")
        else:
            talk("no runs yet; start one with: flyweight train")
    output = output or OutputFormat()
    rows = run_rows(records) if output.name in ("json", "csv") else short_run_rows(records, titles(records, store))
    print_rows(rows, output, gap=1, wraps=output.name == "text", optional=OPTIONAL)
    return 0


def _verify(records: Sequence[RunRecord], store: Store, output: OutputFormat) -> int:
    """Print each disagreement of the runs that are over; returns the exit code."""
    from flyweight.evidence.integrity import faults_of
    from flyweight.records.record import OVER

    ended = [record for record in records if record.status in OVER]
    rows = [
        {"run": record.id, "name": record.name, "fault": fault}
        for record in ended
        for fault in faults_of(record, store)
    ]
    print_rows(rows, output, wraps=output.name == "text")
    n_faulty = len({row["run"] for row in rows})
    left_out = len(records) - len(ended)
    others = f"; {counted(left_out, 'run')} without a result left out" if left_out else ""
    talk(f"{counted(len(ended), 'run')} checked, {n_faulty} not as recorded{others}")
    return DataError.exit_code if rows else 0


def rm(
    *runs: str,
    restore: Annotated[bool, Flag] = False,
    empty: Annotated[bool, Flag] = False,
    yes: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> None:
    """Remove runs: they go into the trash in the home folder, from where they can be restored.

    $ flyweight rm @latest

    Parameters
    ----------
    runs
        Ids of runs or the start of them, or @latest.
    restore
        Put these runs back instead, by their ids.
    empty
        Delete what is in the trash for good; needs --yes.
    yes
        With --empty: really delete.
    """
    from flyweight.records import trash

    store = (location or StoreLocation()).store()
    if empty:
        n = len(trash.removed(store.home))
        if runs or restore:
            raise UsageError("--empty takes no runs; it deletes all that is in the trash.")
        if not yes:
            raise UsageError(f"--empty deletes {counted(n, 'run')} for good; add --yes.")
        say(f"deleted: {counted(trash.empty(store.home), 'run')}")
        return
    if not runs:
        raise UsageError("no runs given; expected: flyweight rm RUN..., as in flyweight rm @latest")
    for selector in runs:
        if restore:
            record = store.restore(selector)
            say(f"restored {record.id}  {plain(record.name)} seed {record.seed}")
        else:
            record = store.get(selector)
            store.remove(record.id)
            say(f"removed {record.id}  {plain(record.name)} seed {record.seed}")
            talk(f"undo: flyweight rm --restore {record.id}{(location or StoreLocation()).options()}")


def report(
    run: str = "@latest",
    /,
    *,
    open: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> None:
    """Write the report page of a run, and print a summary of the run and of the seeds trained with it.

    The page and --json have precision and recall of each class.

    $ flyweight report @best

    $ flyweight report @latest --json

    Parameters
    ----------
    run
        Id of a run or the start of it, @latest, @best (best validation accuracy on the images of the latest run), or
        @best:DATA, as in @best:mnist.
    open
        Also open the page in the web browser.
    json
        Print the results of the run as JSON.
    """
    from flyweight.report.run.page import write_report
    from flyweight.report.run.summary import class_rows, group_summary, run_summary
    from flyweight.report.run.variant import equal_run, titles

    location = location or StoreLocation()
    store = location.store(only_reads=True)
    record = store.get(run)
    folder = store.folder(record.id)
    result = folder.result()
    folder.verify()
    title = titles([record], store)[record.id]
    page = page_or_reason(partial(write_report, folder, title=title))
    if open and page is not None and not webbrowser.open(page.as_uri()):
        talk(f"no web browser found; the page is {page}")
    if json:
        say_json(result.as_dict() | {"report": page and str(page), "classes": class_rows(folder, result)})
    else:
        same = equal_run(record, store)
        say(run_summary(result, folder, title=title, equal_run=same, options=location.options()))
        beside = [] if record.group_id is None else [one for one in store.group(record.group_id) if one.test_count]
        if len(beside) > 1:
            results = [store.folder(one.id).result() for one in beside]
            say("\n" + group_summary(results, title=title, options=location.options()))
