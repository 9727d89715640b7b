"""`flyweight runs` and `flyweight report`: what was trained, and one run in full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from flyweight.cli.output import Flag, Form, Place, print_rows, say, say_json, talk
from flyweight.errors import UsageError

MOST_LISTED: Final = 20


def runs(
    *,
    name: str | None = None,
    status: Literal["running", "finished", "diverged", "interrupted", "failed", "lost"] | None = None,
    study: str | None = None,
    purpose: Literal["all", "run", "trial", "remedy", "reproduction", "certification"] = "run",
    limit: int | None = None,
    out: Path | None = None,
    form: Form | None = None,
    place: Place | None = None,
) -> None:
    """List the runs that people asked for, newest first; `--purpose` shows the others.

    $ flyweight runs

    $ flyweight runs --status finished --name own/20k-fast --csv

    $ flyweight runs --purpose all --out runs.csv

    Parameters
    ----------
    name
        Only runs of this recipe.
    status
        Only runs that stand so.
    study
        Only runs of this study.
    purpose
        Only runs made for this: run (a person asked for it), trial (it tries a change), remedy (a recipe that the
        doctor fixed), reproduction (a step of a document), certification; or all.
    limit
        At most so many: 20 unless told, and all with --out.
    out
        Write them into this file instead, one row a run with every key of its recipe; .csv, .json or .parquet.
    """
    from flyweight.report.run.summary import run_rows, short_run_rows

    store = (place or Place()).store()
    store.mark_lost()
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be 1 or more, found {limit}.")
    most = limit if limit is not None or out is not None else MOST_LISTED
    records = store.runs(name=name, status=status, study=study, purpose=purpose, limit=most)
    if out is not None:
        from flyweight.trackers import write_table

        say(str(write_table(records, out)))
        return
    if not records:
        others = store.runs(name=name, status=status, study=study, purpose="all")
        known = sorted({record.name for record in store.runs(purpose=purpose)})
        if others:
            purposes = sorted({record.purpose for record in others})
            talk(f"no such runs of purpose {purpose}; there are of {', '.join(purposes)}: add --purpose {purposes[0]}.")
        elif known:
            talk(f"no such runs; there are runs of {', '.join(known)}.")
        else:
            talk("no runs yet; `flyweight train` makes one.")
    form = form or Form()
    print_rows(run_rows(records) if form.name in ("json", "csv") else short_run_rows(records), form, gap=1)


def report(
    run: str = "@latest",
    /,
    *,
    json: Annotated[bool, Flag] = False,
    place: Place | None = None,
) -> None:
    """Write a run's pictures and its page, and print its summary, and that of the seeds beside it.

    $ flyweight report @best

    $ flyweight report @latest --json

    Parameters
    ----------
    run
        A run's id or the beginning of it, @latest, or @best (by validation).
    json
        Print the run's figures as JSON.
    """
    from flyweight.report.run.page import write_report
    from flyweight.report.run.summary import group_summary, run_summary

    place = place or Place()
    store = place.store()
    record = store.get(run)
    folder = store.folder(record.id)
    result = folder.result()
    folder.verify()
    page = write_report(folder)
    if json:
        say_json(result.as_dict() | {"report": str(page)})
    else:
        say(run_summary(result, folder, options=place.options()))
        beside = [] if record.group_id is None else [one for one in store.group(record.group_id) if one.test_count]
        if len(beside) > 1:
            results = [store.folder(one.id).result() for one in beside]
            say("\n" + group_summary(results, options=place.options()))
