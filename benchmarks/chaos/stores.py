"""Records: many writers at once, and bits that flip in the files of a run."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from benchmarks.chaos.laboratory import Laboratory
from benchmarks.chaos.record import Trials
from flyweight.errors import FlyweightError
from flyweight.evidence.integrity import faults_of
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

WRITERS, ROWS = 16, 200
# Made from the other files at any time again, or gone when a run is over.
MADE_ANEW: Final = (".html", ".png")
NO_SERVER: Final = "no address of a PostgreSQL server was given"


def stores(lab: Laboratory, *, postgres: str | None) -> Iterator[Trials]:
    """Writers on both kinds of database, and flipped bits."""
    for name, url in (("SQLite", None), ("PostgreSQL", postgres)):

        def write(_number: int, _draw: Random, url: str | None = url) -> tuple[str, str]:
            return _write_at_once(lab, url)

        yield Trials(
            name=f"{WRITERS} writers x {ROWS} rows on {name}",
            promise="every row is there once",
            n=1,
            n_small=int(url is None),
            one=write,
            skipped=NO_SERVER if name == "PostgreSQL" and url is None else "",
        )
    found: list[tuple[Store, RunRecord]] = []

    def flip(_number: int, draw: Random) -> tuple[str, str]:
        if not found:
            found.append(lab.finished_run())
        return _flip(*found[0], draw)

    yield Trials(
        name="flipped bit in a file of a run", promise="noticed, or the file is made anew", n=300, n_small=20, one=flip
    )


def _write_at_once(lab: Laboratory, url: str | None) -> tuple[str, str]:
    home = lab.home()
    before = len(Store.open(url, home=home).runs(purpose="all"))
    context = multiprocessing.get_context("spawn")
    with context.Pool(WRITERS) as pool:
        faults = pool.starmap(_write_rows, [(url, str(home), writer) for writer in range(WRITERS)])
    runs = Store.open(url, home=home).runs(purpose="all")
    miss = "; ".join(filter(None, faults))
    if not miss and (len(runs) - before != WRITERS * ROWS or len({run.id for run in runs}) != len(runs)):
        miss = f"{len(runs) - before} rows, expected {WRITERS * ROWS}"
    shutil.rmtree(home)
    return f"{len(runs) - before} rows", miss


def _write_rows(url: str | None, home: str, writer: int) -> str:
    store = Store.open(url, home=home)
    row: dict[str, Any] = {
        "name": f"writer {writer}",
        "recipe": {},
        "recipe_hash": "0" * 64,
        "params": 1,
        "macs": 1,
        "registered_params": 1,
        "data_name": "digits",
        "data_hash": "1" * 64,
        "split_hash": "2" * 64,
        "environment": {},
        "epochs_planned": 1,
    }
    try:
        for seed in range(ROWS):
            run = store.start(**row, seed=seed)
            store.log_epoch(run.id, 1, {"validation_accuracy": 0.5, "lr": 0.1})
            store.finish(run.id, "finished", epochs_done=1)
    except FlyweightError as error:
        return f"writer {writer}: {error}"
    return ""


def _flip(store: Store, record: RunRecord, draw: Random) -> tuple[str, str]:
    """Flip one bit of one file, look, and put it back."""
    paths = sorted(path for path in store.folder(record.id).path.iterdir() if path.is_file())
    path = draw.choice(paths)
    content = path.read_bytes()
    position, bit = draw.randrange(len(content)), draw.randrange(8)
    flipped = bytearray(content)
    flipped[position] ^= 1 << bit
    path.write_bytes(flipped)
    try:
        noticed = _is_noticed(store, record)
    finally:
        path.write_bytes(content)
    if noticed:
        return "noticed", ""
    if path.suffix in MADE_ANEW:
        return "made anew", ""
    return "not noticed", f"{Path(path).name}: bit {bit} of byte {position:,}"


def _is_noticed(store: Store, record: RunRecord) -> bool:
    return bool(faults_of(record, store))
