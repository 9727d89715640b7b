"""Runs in Weights & Biases: stored offline under the home unless WANDB_MODE is set; `wandb sync` uploads them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from flyweight.records.record import EpochRecord, RunRecord
from flyweight.trackers.content import collection, epoch_ends, identity, label, measured, parameters, results

# Send nothing about the machine except the record, and print nothing.
SETTINGS: Final = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
PROJECT_CHARACTERS: Final = 128
TAG_CHARACTERS: Final = 64


class WandbRuns:
    """One project per study, or else per recipe; the seeds of a result are a group. Several runs can be open."""

    def __init__(self, home: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # otherwise it reports its errors to its developers
        self._folder = home / "trackers" / "wandb"
        self._open: dict[str, tuple[Any, tuple[EpochRecord, ...]]] = {}

    def send(self, run: RunRecord, epochs: Sequence[EpochRecord]) -> None:
        """Log new epochs; a run that is not open is started, and files left by an earlier process are deleted."""
        live, sent = self._open.get(run.id, (None, ()))
        if live is not None and tuple(epochs[: len(sent)]) != sent:
            live.finish(exit_code=1)  # a logged step cannot be changed
            live, sent = None, ()
        if live is None:
            live = self._begin(run)
            self._open[run.id] = (live, ())
        for epoch, ended in list(zip(epochs, epoch_ends(run, epochs), strict=True))[len(sent) :]:
            live.log({**measured(epoch), "_timestamp": ended}, step=epoch.epoch, commit=True)
        self._open[run.id] = (live, tuple(epochs))
        if run.finished_at is not None:
            live.summary.update({**results(run), "status": run.status, "message": run.message})
            live.finish(exit_code=0 if run.status == "finished" else 1)
            del self._open[run.id]

    def close(self) -> None:
        """Close what is still open as not finished."""
        for live, _ in self._open.values():
            live.finish(exit_code=1)
        self._open.clear()

    def _begin(self, run: RunRecord) -> Any:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")  # W&B checks the value
        self._folder.mkdir(parents=True, exist_ok=True)  # otherwise W&B writes to another folder
        for leftover in (self._folder / "wandb").glob(f"offline-run-*-{run.id}"):
            shutil.rmtree(leftover)
        return wandb.init(
            id=run.id,
            project=os.environ.get("WANDB_PROJECT") or project_name(run),
            name=label(run),
            group=run.group_id,
            tags=[run.study[:TAG_CHARACTERS]] if run.study else None,
            config={**parameters(run), "flyweight": identity(run)},
            dir=str(self._folder),
            mode=mode,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**SETTINGS),
        )


def project_name(run: RunRecord) -> str:
    """The study or recipe, without characters that W&B refuses in a project name."""
    return re.sub(r"[/\\#?%:]+", "-", collection(run))[:PROJECT_CHARACTERS]
