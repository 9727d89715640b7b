"""`flyweight bench`: measure how fast this machine trains and predicts."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from flyweight.cli.output import Flag, OutputFormat, StoreLocation, print_rows, say, say_json, talk

if TYPE_CHECKING:
    from flyweight.bench.benchmark import Benchmark
    from flyweight.bench.regression import RegressionCheck

Section = Literal["train", "roofline", "predict", "seeds", "scaling", "time-to", "startup", "device"]


def bench(
    *sections: Section,
    quick: Annotated[bool, Flag] = False,
    threads: int | None = None,
    seeds: int | None = None,
    baseline: Path | None = None,
    out: Path | None = None,
    output: OutputFormat | None = None,
    location: StoreLocation | None = None,
) -> int:
    """Measure the speed of training and prediction, and compare it with other libraries.

    $ flyweight bench

    $ flyweight bench predict --quick --md

    Parameters
    ----------
    sections
        What to measure. Default: all of train (compared with a DataLoader that transforms one picture at a time),
        roofline (limits of this machine, and the time of each part of a training step), predict (compared with eager
        torch and onnxruntime), seeds (one after another or at the same time), scaling (with images, batch size,
        parameters, threads, epochs), time-to (seconds to 99.0 % and 99.4 % accuracy), startup (time of --help, of a
        table, and to the first line of a training), device (training on a CUDA GPU: captured steps, seeds as one
        stacked net, seconds to an accuracy; under 4 minutes, and only where there is such a GPU).
    quick
        Few and short rounds, about two minutes in total: a check that it works, too inexact to quote.
    threads
        Threads of flyweight. Default: 1 and all cores in train, all cores in roofline and predict, and otherwise the
        number that `flyweight train` uses.
    seeds
        Number of seeds in the sections seeds and time-to. Default: 5, or 2 with --quick.
    baseline
        Earlier result (a file written with --out) to compare ratios with. The exit code is 1 if a ratio is below 0.6
        of the earlier one. Ratios of another machine are shown but do not count.
    out
        Write the result to this JSON file. Default: a new file in the folder benchmarks under --home.
    """
    from flyweight.bench.benchmark import read, write
    from flyweight.bench.record import measure, save
    from flyweight.bench.regression import check_regression

    stored = read(baseline) if baseline else None
    found = measure(sections, quick=quick, threads=threads, seeds=seeds, on_progress=talk)
    path = write(found, out) if out else save(found, home=(location or StoreLocation()).store().home)
    comparison = check_regression(found, stored) if stored else None
    talk(f"written to {path}")
    return print_result(found, comparison, output or OutputFormat())


def print_result(found: Benchmark, comparison: RegressionCheck | None, output: OutputFormat) -> int:
    """Print the result or its comparison with the earlier one; the exit code is 1 if a ratio fell."""
    if output.name == "json":
        say_json({**found.as_dict(), **({"regression": comparison.as_dict()} if comparison else {})})
    elif comparison:
        print_rows([one.as_row() for one in comparison.verdicts], output, gap=1)
    else:
        _print(found, output)
    if comparison:
        talk(f"compared with the baseline: {comparison.summary()}")
    return 1 if comparison and comparison.fallen else 0


def _print(found: Benchmark, output: OutputFormat) -> None:
    from flyweight.bench.format import formatted_rows, text_tables
    from flyweight.tables import WIDTH

    if output.name == "csv":
        print_rows(found.as_dict()["rows"], output)
    elif output.name == "md":
        print_rows(formatted_rows(found.rows), output)
    else:
        for section, rows, notes in text_tables(found.rows):
            say(f"{section}\n{'-' * len(section)}")
            print_rows(rows, output, gap=1)
            for note in notes:
                say(textwrap.fill(note, WIDTH, subsequent_indent="    "))
            say("")
