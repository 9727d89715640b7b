"""Runs in MLflow: at MLFLOW_TRACKING_URI, or else in a SQLite file under the home; identified by the id of the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flyweight.records.record import EpochRecord, RunRecord
from flyweight.trackers.content import (
    collection,
    epoch_ends,
    flattened,
    identity,
    label,
    measured,
    parameters,
    results,
)

STATUSES: Final = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "lost": "KILLED",
}
# Values set by the user come first. MLflow would retry a missing server for minutes; `sync` sends later anyway.
SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
# Limits of MLflow per request.
PARAMS_AT_ONCE: Final = 100
METRICS_AT_ONCE: Final = 1000
TAG_CHARACTERS: Final = 500


@dataclass
class _SentRun:
    """A run in MLflow, and the metrics that it has there: name, step and value."""

    mlflow_id: str
    figures: set[tuple[str, int, float]] = field(default_factory=set)


class MlflowRuns:
    """One experiment per study, or else per recipe. The active run of MLflow is not changed."""

    def __init__(self, home: Path) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        # It logs each new table to the terminal.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        folder = home / "trackers"
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=address or f"sqlite:///{folder / 'mlflow.db'}")
        # The default would be ./mlruns in the current folder.
        self._artifacts = None if address else (folder / "mlflow-artifacts").as_uri()
        self._sent: dict[str, _SentRun] = {}

    def send(self, run: RunRecord, epochs: Sequence[EpochRecord]) -> None:
        """Add metrics that MLflow does not have yet. It deletes nothing: a changed metric is added to the old one."""
        if run.id not in self._sent:
            self._sent[run.id] = self._find(run) or self._create(run)
        sent = self._sent[run.id]
        self._add(sent, _figures_of_epochs(run, epochs))
        if run.finished_at is not None:
            self._end(run, sent)
            del self._sent[run.id]

    def close(self) -> None:
        """Nothing is open: the client connects for each request."""

    def _find(self, run: RunRecord) -> _SentRun | None:
        """The run if it is in MLflow already, reopened if it had ended."""
        experiment = self._client.get_experiment_by_name(collection(run))
        if experiment is None:
            return None
        wanted = f"tags.`flyweight.run_id` = '{run.id}'"
        found = self._client.search_runs([experiment.experiment_id], wanted, max_results=1)
        if not found:
            return None
        there, mlflow_id = found[0], found[0].info.run_id
        self._describe(mlflow_id, run, known=there.data.params)
        if there.info.status != STATUSES[run.status]:
            self._client.update_run(mlflow_id, status=STATUSES[run.status])
        history = (self._client.get_metric_history(mlflow_id, name) for name in there.data.metrics)
        return _SentRun(mlflow_id, {(one.key, one.step, one.value) for metrics in history for one in metrics})

    def _create(self, run: RunRecord) -> _SentRun:
        created = self._client.create_run(
            self._experiment(collection(run)),
            start_time=_milliseconds(run.started_at.timestamp()),
            tags=_tags(run),
            run_name=label(run),
        )
        self._describe(created.info.run_id, run, known={})
        return _SentRun(created.info.run_id)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=self._artifacts))
            except MlflowException:
                found = self._client.get_experiment_by_name(name)  # another process created it first
                if found is None:
                    raise
        return str(found.experiment_id)

    def _describe(self, mlflow_id: str, run: RunRecord, *, known: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        missing = [Param(name, str(value)) for name, value in flattened(parameters(run)).items() if name not in known]
        for start in range(0, len(missing), PARAMS_AT_ONCE):
            self._log(mlflow_id, params=missing[start : start + PARAMS_AT_ONCE])
        self._log(mlflow_id, tags=[RunTag(name, value) for name, value in _tags(run).items()])

    def _add(self, sent: _SentRun, figures: Iterable[tuple[str, int, float, float]]) -> None:
        from mlflow.entities import Metric

        new = [(name, step, value, at) for name, step, value, at in figures if (name, step, value) not in sent.figures]
        for start in range(0, len(new), METRICS_AT_ONCE):
            some = new[start : start + METRICS_AT_ONCE]
            metrics = [Metric(name, value, _milliseconds(at), step) for name, step, value, at in some]
            self._log(sent.mlflow_id, metrics=metrics)
            sent.figures |= {(name, step, value) for name, step, value, _ in some}

    def _log(self, mlflow_id: str, **some: Any) -> None:
        self._client.log_batch(mlflow_id, **some, synchronous=True)  # synchronous whatever the settings of MLflow

    def _end(self, run: RunRecord, sent: _SentRun) -> None:
        from mlflow.entities import RunTag

        assert run.finished_at is not None
        ended = run.finished_at.timestamp()
        self._add(sent, [(name, run.epochs_done, value, ended) for name, value in results(run).items()])
        self._log(sent.mlflow_id, tags=[RunTag(name, value) for name, value in _tags(run).items()])
        self._client.set_terminated(sent.mlflow_id, STATUSES[run.status], _milliseconds(ended))


def _tags(run: RunRecord) -> dict[str, str]:
    words = {**identity(run), "status": run.status, "message": run.message[:TAG_CHARACTERS]}
    return {f"flyweight.{name}": value for name, value in words.items()}


def _figures_of_epochs(run: RunRecord, epochs: Sequence[EpochRecord]) -> Iterator[tuple[str, int, float, float]]:
    """Name, step, value and time of each metric."""
    for epoch, ended in zip(epochs, epoch_ends(run, epochs), strict=True):
        for name, value in measured(epoch).items():
            yield name, epoch.epoch, value, ended


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
