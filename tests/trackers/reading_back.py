"""What trackers show of a run, read through their own interfaces and put into the same words for all of them."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Shown:
    """`epochs` maps each figure's name to its values by epoch; settings are text, as MLflow knows no other."""

    settings: dict[str, str]
    identity: dict[str, str]
    epochs: dict[str, dict[int, float]]
    results: dict[str, float]
    status: str
    epoch_moments: tuple[float, ...]


def mlflow_runs(home: Path, run_id: str) -> list[Shown]:
    """All MLflow runs that say they are this run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'trackers' / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`flyweight.run_id` = '{run_id}'")
    return [_mlflow_run(client, run) for run in found]


def _mlflow_run(client: Any, run: Any) -> Shown:
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    for name, history in histories.items():
        assert len({point.step for point in history}) == len(history), f"{name} is there twice"
    tags = {key.removeprefix("flyweight."): value for key, value in run.data.tags.items() if "flyweight." in key}
    tags = {key: value for key, value in tags.items() if key not in ("status", "message")}
    return Shown(
        settings=run.data.params,
        identity=tags,
        epochs={
            name: {point.step: point.value for point in history}
            for name, history in histories.items()
            if not name.startswith("result/")
        },
        results={name: value for name, value in run.data.metrics.items() if name.startswith("result/")},
        status=run.info.status,
        epoch_moments=tuple(point.timestamp / 1000 for point in histories.get("seconds", ())),
    )


def tensorboard_runs(home: Path, run_id: str) -> list[Shown]:
    """All folders of event files of this run."""
    return [_tensorboard_run(folder) for folder in (home / "trackers" / "tensorboard").glob(f"*{run_id}")]


def _tensorboard_run(folder: Path) -> Shown:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import api_pb2, metadata

    events = EventAccumulator(str(folder))
    events.Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    plugin = events.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(plugin[metadata.SESSION_START_INFO_TAG])
    status = "STATUS_RUNNING"
    if metadata.SESSION_END_INFO_TAG in plugin:
        end = metadata.parse_session_end_info_plugin_data(plugin[metadata.SESSION_END_INFO_TAG])
        status = api_pb2.Status.Name(end.status)
    asked = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    ours = {name: asked.pop(name) for name in list(asked) if name.startswith("flyweight.")}
    return Shown(
        settings={name: _text(value) for name, value in asked.items()},
        identity={name.removeprefix("flyweight."): value for name, value in ours.items()},
        epochs={
            name: {point.step: point.value for point in points}
            for name, points in scalars.items()
            if not name.startswith("result/")
        },
        results={name: points[-1].value for name, points in scalars.items() if name.startswith("result/")},
        status=status,
        epoch_moments=tuple(point.wall_time for point in scalars.get("seconds", ())),
    )


def _text(value: object) -> str:
    """TensorBoard has no whole numbers."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def wandb_runs(home: Path, run_id: str) -> list[Shown]:
    """All offline runs of this id."""
    return [
        _wandb_run(_when_whole(path)) for path in (home / "trackers" / "wandb" / "wandb").glob(f"*{run_id}/run-*.wandb")
    ]


def _when_whole(path: Path) -> Path:
    """The path, once W&B's service has written what it was handed: some milliseconds after it has taken it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if any(record.WhichOneof("record_type") == "exit" for record in _wandb_records(path)):
            break
        time.sleep(0.005)
    return path


def _wandb_run(path: Path) -> Shown:
    settings: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    exit_code = None
    for record in _wandb_records(path):
        match record.WhichOneof("record_type"):
            case "run":
                settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            case "history":
                items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                history.append({**items, "_step": record.history.step.num})
            case "summary":
                summary |= {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
                }
            case "exit":
                exit_code = record.exit.exit_code
    identity = settings.pop("flyweight")
    names = {name for line in history for name in line if not name.startswith("_")}
    return Shown(
        settings={name: str(value) for name, value in _flat(settings)},
        identity=identity,
        epochs={name: {line["_step"]: line[name] for line in history if name in line} for name in names},
        results={name: value for name, value in summary.items() if name.startswith("result/")},
        status={None: "running", 0: "finished"}.get(exit_code, "failed"),
        epoch_moments=tuple(line["_timestamp"] for line in history),
    )


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: a LevelDB log of protobuf messages, in blocks of 32 KiB after a header of 7 bytes.

    W&B reads it in its own service only, so this is the one reader here that is not the tracker's.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, message = path.read_bytes(), 7, b""
    while at + 7 <= len(data):  # what is not written whole yet is not there yet
        left_in_block = 32_768 - at % 32_768
        if left_in_block < 7:
            at += left_in_block
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):
            return
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""
