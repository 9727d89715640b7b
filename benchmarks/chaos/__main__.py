"""Try the worst, and count what held: takes about an hour on two cores, a minute with --small.

    python -m benchmarks.chaos --out benchmarks/chaos/record.json

It can be stopped; the same command continues it. With --postgres it needs the address of a server that may be written.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App

from benchmarks.chaos.hostile import hostile
from benchmarks.chaos.laboratory import Laboratory
from benchmarks.chaos.record import Trials, carry_out
from benchmarks.chaos.stopped import stopped
from benchmarks.chaos.stores import stores
from benchmarks.chaos.table import misses, table
from flyweight.cli.output import Flag, say, talk


def chaos(
    *,
    out: Path | None = None,
    small: Annotated[bool, Flag] = False,
    only: str = "",
    postgres: str | None = None,
    folder: Path | None = None,
) -> int:
    """Kill trainings, fill disks, flip bits, and give hostile files; exit code 1 if anything did not hold.

    Parameters
    ----------
    out
        JSON file for the record, which a stopped command continues. Default: a new one in the folder.
    small
        A few trials of each kind: a check that it works.
    only
        Only trials whose name has this text.
    postgres
        Address of a PostgreSQL database for the writers; rows are added to it.
    folder
        Where the trials happen. Default: a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        lab = Laboratory(folder or Path(place))
        chosen = (trials for trials in _all(lab, postgres) if only in trials.name)
        parts = carry_out(chosen, out or lab.folder / "record.json", is_small=small, say=talk)
    say(f"{table(parts)}\n\n{misses(parts)}")
    return int(any(part.misses for part in parts))


def _all(lab: Laboratory, postgres: str | None) -> Iterator[Trials]:
    yield from hostile(lab)
    yield from stores(lab, postgres=postgres)
    yield from stopped(lab)


if __name__ == "__main__":
    app = App(default_command=chaos, result_action="return_value")
    sys.exit(app())
