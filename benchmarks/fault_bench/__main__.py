"""How many planted faults the doctor finds: takes about an hour on two cores, a few minutes with --quick.

    python -m benchmarks.fault_bench --out benchmarks/fault_bench/records.json

Trains the missing runs in its own store under --home, examines them and tries remedies. It can be stopped; the same
command continues it. Ranks in the runs of the documents need `flyweight journey run` first.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Annotated

from cyclopts import App

from benchmarks.fault_bench import tables
from benchmarks.fault_bench.record import FaultBench, measure, write
from flyweight.cli.output import Flag, OutputFormat, StoreLocation, print_rows, say, say_json, talk
from flyweight.errors import FlyweightError
from flyweight.execute.signals import stopping_on_signals


def fault_bench(
    *,
    quick: Annotated[bool, Flag] = False,
    out: Path | None = None,
    home: Path | None = None,
    output: OutputFormat | None = None,
) -> int:
    """Plant faults in healthy recipes, train them, and count how often the doctor is right.

    Parameters
    ----------
    quick
        Only one in eight of the faults: a check that it works, too inexact to quote.
    out
        JSON file for the result. Default: benchmarks/fault-bench.json under --home.
    home
        Folder of runs and their database. Default: $FLYWEIGHT_HOME, or else the user data folder of this system.
    """
    output, folder = output or OutputFormat(), StoreLocation(home=home).store().home
    with stopping_on_signals() as stop:
        found = measure(home=folder, quick=quick, on_progress=talk, should_stop=stop)
    if stop():
        talk("stopped; finished runs are stored. Continue with the same command.")
        return stop.exit_code
    path = write(found, out or folder / "benchmarks" / "fault-bench.json")
    talk(f"written to {path}")
    if output.name == "json":
        say_json(found.as_dict())
    elif output.name == "csv":
        print_rows(tables.score_rows(found.outcomes), output)
    else:
        _print_tables(found, output)
    return 0


def _print_tables(found: FaultBench, output: OutputFormat) -> None:
    say(textwrap.fill(tables.summary(found.outcomes), 80))
    if found.is_quick:
        say("quick: a check that it works, too inexact to quote")
    for title, rows in tables.by_title(found).items():
        say(f"\n### {title}\n" if output.name == "md" else f"\n{title}\n{'-' * len(title)}")
        print_rows(rows, output, gap=1)


def main() -> int:
    app = App(name="python -m benchmarks.fault_bench", default_command=fault_bench, result_action="return_value")
    try:
        return int(app() or 0)
    except FlyweightError as error:
        talk(f"fault bench: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
