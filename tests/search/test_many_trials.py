"""A search of 20,000 trials is shown in under a second, and is small on the disk."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from test_searching import Here

from flyweight.experiment.run import run
from flyweight.model.budget import Budget
from flyweight.records.database import reading, writing
from flyweight.records.ids import new_run_id
from flyweight.records.store import Store
from flyweight.records.tables import epochs, runs, trials
from flyweight.report.search.text import best_rows, search_text
from flyweight.search.searching import SearchRequest, search
from tiny import tiny_recipe, write_images

N_TRIALS = 20_000


@pytest.mark.slow
def test_twenty_thousand_trials(tmp_path: Path) -> None:
    store = Store.open(home=tmp_path / "home")
    images = write_images(tmp_path, is_small=True)
    asked = SearchRequest(
        budget=Budget(params=600),
        minutes=60,
        name="s",
        epochs=20,
        overrides=(f"data.name={images}", "data.validation=40"),
    )
    assert search(asked, store=store, executor=Here(), should_stop=lambda: bool(store.searches.names())) is None
    record = run(tiny_recipe(tmp_path), store=store, device="cpu", purpose="search", opens_test=False)
    fill(store, record.id)

    began = time.process_time()
    found = store.searches.trials("s")
    text = search_text(store.searches.get("s"), found)
    rows = best_rows(found)
    seconds = time.process_time() - began

    assert len(found) == N_TRIALS
    assert "20000: 20000 stopped early; 0 twice" in text
    assert len(rows) == 10
    size = sum(path.stat().st_size for path in store.home.glob("flyweight.db*"))
    assert size < 500e6
    assert seconds < 2, "under 1 s on an idle core of 2026"


def fill(store: Store, run_id: str) -> None:
    """Trials with a run and a curve of seven epochs each."""
    with reading(store._engine) as connection:
        row = dict(connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one())
    with writing(store._engine) as connection:
        for start in range(0, N_TRIALS, 1_000):
            numbers = range(start + 1, start + 1_001)
            ids = [new_run_id() for _ in numbers]
            groups = [new_run_id() for _ in numbers]
            made = zip(numbers, ids, groups, strict=True)
            connection.execute(insert(runs), [row | {"id": new, "group_id": group} for _, new, group in made])
            line = {"train_loss": 0.5, "train_accuracy": 0.5, "validation_loss": 0.5, "validation_accuracy": 0.5}
            line |= {"lr": 0.1}
            connection.execute(
                insert(epochs),
                [
                    {"run_id": new, "epoch": epoch, "lr": 0.1, "seconds": 3.0} | line
                    for new in ids
                    for epoch in range(1, 8)
                ],
            )
            connection.execute(
                insert(trials),
                [trial(number, group) for number, group in zip(numbers, groups, strict=True)],
            )


def trial(number: int, group: str) -> dict[str, object]:
    net = "c5/5nb m2 bn silu c5nb bn silu c4nb bn silu c5nb bn silu m2 c4nb bn silu flat fc10"
    settings = {"train.lr": 0.1, "train.optimizer": "sgd", "train.weight_decay": 2e-4, "augment.rotate": 8.0}
    return {
        "search": "s",
        "number": number,
        "design": {"net": net, "settings": settings},
        "design_hash": f"{number:064}",
        "origin": "random",
        "parent": None,
        "params": 986,
        "macs": 100_000,
        "activation_bytes": 20_000,
        "flash_bytes": 4_000,
        "status": "halved",
        "accuracies": [0.5 + number / 100_000, 0.6],
        "seconds": 20.0,
        "group_id": group,
        "attempt": 1,
        "lease": 0.0,
        "host": "here",
        "pid": 1,
        "process_started": "",
        "message": "",
    }
