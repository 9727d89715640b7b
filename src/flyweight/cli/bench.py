"""`flyweight bench`: how fast this machine trains and predicts, side by side, in one run."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from flyweight.cli.output import Flag, Form, Place, print_rows, say, say_json, talk

if TYPE_CHECKING:
    from flyweight.bench.record import Benchmark
    from flyweight.bench.regression import RegressionCheck

Section = Literal["train", "limit", "predict", "seeds", "scaling", "time-to", "startup"]


def bench(
    *sections: Section,
    quick: Annotated[bool, Flag] = False,
    threads: int | None = None,
    seeds: int | None = None,
    against: Path | None = None,
    to: Path | None = None,
    form: Form | None = None,
    place: Place | None = None,
) -> int:
    """Measure speed side by side.

    $ flyweight bench

    $ flyweight bench predict --quick --md

    Parameters
    ----------
    sections
        What to measure. Default: all of train (against pictures transformed one by one in a DataLoader), limit (the
        machine's ceilings and where a step's time goes), predict (against eager torch and onnxruntime), seeds (one
        after the other against side by side), scaling (with images, batch, parameters, threads, epochs), time-to
        (seconds to 99.0 % and 99.4 %), startup (help, a table, the first line of a training).
    quick
        Few and short rounds, two minutes or so in all: enough to see that it works, not to quote.
    threads
        Threads for the engine. Default: train has rows for 1 and for all cores, limit and predict take all cores,
        the others what `flyweight train` takes.
    seeds
        Seeds for seeds and time-to. Default: 5, 2 with --quick.
    against
        A record to compare ratios with, never seconds; the exit code is 1 if one fell below 0.6 of the stored one.
        Ratios of another machine are shown, not judged.
    to
        Keep the record in this file. Default: a new one in the home's folder of benchmarks.
    """
    from flyweight.bench.record import SECTIONS, keep, measure, read, write
    from flyweight.bench.regression import check_regression

    stored = read(against) if against else None
    found = measure(sections or tuple(SECTIONS), quick=quick, threads=threads, seeds=seeds, on_progress=talk)
    path = write(found, to) if to else keep(found, home=(place or Place()).store().home)
    comparison = check_regression(found, stored) if stored else None
    talk(f"kept in {path}")
    return print_result(found, comparison, form or Form())


def print_result(found: Benchmark, comparison: RegressionCheck | None, form: Form) -> int:
    """Print what was found, or how it compares; the exit code says whether a ratio fell."""
    if form.name == "json":
        say_json({**found.as_dict(), **({"regression": comparison.as_dict()} if comparison else {})})
    elif comparison:
        print_rows([one.as_row() for one in comparison.verdicts], form, gap=1)
    else:
        _print(found, form)
    if comparison:
        talk(f"compared with the stored one: {comparison.summary()}")
    return 1 if comparison and comparison.fallen else 0


def _print(found: Benchmark, form: Form) -> None:
    from flyweight.bench.format import formatted_rows, text_tables
    from flyweight.tables import WIDTH

    if form.name == "csv":
        print_rows(found.as_dict()["rows"], form)
    elif form.name == "md":
        print_rows(formatted_rows(found.rows), form)
    else:
        for section, rows, notes in text_tables(found.rows):
            say(f"{section}\n{'-' * len(section)}")
            print_rows(rows, form, gap=1)
            for note in notes:
                say(textwrap.fill(note, WIDTH, subsequent_indent="    "))
            say("")
