"""How many planted faults the doctor finds: an hour or so on two cores, a few minutes with --quick.

    python -m benchmarks.fault_bench --to benchmarks/fault_bench/records.json

Trains the runs that are not on record yet in a store of its own below the home, examines them and tries remedies. It
can be stopped and goes on with what is missing. Ranks in the documents' runs need `flyweight journey run` first.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Annotated

from cyclopts import App

from benchmarks.fault_bench import tables
from benchmarks.fault_bench.record import FaultBench, measure, write
from flyweight.cli.output import Flag, Form, Place, print_rows, say, say_json, talk
from flyweight.errors import FlyweightError
from flyweight.execute.signals import stopping_on_signals


def fault_bench(
    *, quick: Annotated[bool, Flag] = False, to: Path | None = None, home: Path | None = None, form: Form | None = None
) -> int:
    """Plant faults in healthy recipes, train them, and count how often the doctor is right.

    Parameters
    ----------
    quick
        One in eight of the faults: enough to see that it works, not to quote.
    to
        File of the record. Default: fault-bench.json in the home's folder of benchmarks.
    home
        Folder of runs and database. Default: FLYWEIGHT_HOME, else the platform's folder for a user's data.
    """
    form, folder = form or Form(), Place(home=home).store().home
    with stopping_on_signals() as stop:
        found = measure(home=folder, quick=quick, on_progress=talk, should_stop=stop)
    if stop():
        talk("stopped; the runs are kept, and the same command goes on with the others.")
        return stop.exit_code
    path = write(found, to or folder / "benchmarks" / "fault-bench.json")
    talk(f"kept in {path}")
    if form.name == "json":
        say_json(found.as_dict())
    elif form.name == "csv":
        print_rows(tables.score_rows(found.outcomes), form)
    else:
        _print_tables(found, form)
    return 0


def _print_tables(found: FaultBench, form: Form) -> None:
    say(textwrap.fill(tables.summary(found.outcomes), 80))
    if found.is_quick:
        say("quick: enough to see that it works, not to quote")
    for title, rows in tables.by_title(found).items():
        say(f"\n### {title}\n" if form.name == "md" else f"\n{title}\n{'-' * len(title)}")
        print_rows(rows, form, gap=1)


def main() -> int:
    app = App(name="python -m benchmarks.fault_bench", default_command=fault_bench, result_action="return_value")
    try:
        return int(app() or 0)
    except FlyweightError as error:
        talk(f"fault bench: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
