"""`flyweight bench`: how fast this machine trains, against the notebook's way, in one run."""

from __future__ import annotations

from typing import Annotated, Literal

from flyweight.cli.output import Flag, Form, Place, print_rows, say_json, talk

Section = Literal["training", "seeds", "answers"]


def bench(
    *sections: Section,
    quick: Annotated[bool, Flag] = False,
    threads: int | None = None,
    form: Form | None = None,
    place: Place | None = None,
) -> None:
    """Measure speed side by side: contenders take turns, and medians are compared as ratios.

    $ flyweight bench

    $ flyweight bench training --quick --md

    Parameters
    ----------
    sections
        What to measure, all unless told: training (against pictures transformed one by one in a DataLoader),
        seeds (one after the other against side by side), answers (help, a table, the first line of a training).
    quick
        Few and short rounds: enough to see that it works, not to quote.
    threads
        Threads for training, on both sides; 1 unless told.
    """
    from flyweight.bench.record import keep, measure

    found = measure(sections or ("training", "seeds", "answers"), quick=quick, threads=threads, told=talk)
    path = keep(found, home=(place or Place()).store().home)
    form = form or Form()
    if form.name == "json":
        say_json(found.as_dict())
    else:
        print_rows(found.shown(), form)
    talk(f"kept in {path}")
