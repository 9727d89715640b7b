"""Runs as TensorBoard event files, one per run: created from the record each time; only new events are appended."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flyweight import files
from flyweight.records.record import EpochRecord, RunRecord
from flyweight.trackers.content import epoch_ends, flattened, identity, measured, parameters, results

# Names of tensorboard.plugins.hparams.api_pb2.Status; a run that can be resumed has none.
STATUSES: Final = {"finished": "STATUS_SUCCESS", "diverged": "STATUS_FAILURE", "failed": "STATUS_FAILURE"}


class TensorBoardFiles:
    """`tensorboard --logdir HOME/trackers/tensorboard` shows scalars and, under HPARAMS, parameters."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "trackers" / "tensorboard"

    def send(self, run: RunRecord, epochs: Sequence[EpochRecord]) -> None:
        """Write the event file of the run, or append new events."""
        name = f"events.out.tfevents.{int(run.started_at.timestamp())}.flyweight"
        _grow(self._folder / folder_name(run) / name, event_file(run, epochs))

    def close(self) -> None:
        """Nothing is open."""


def folder_name(run: RunRecord) -> str:
    """The name of the run in TensorBoard: that of its recipe, with the characters of a folder name, and its id."""
    return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', run.name)[:80].strip('-.')}-{run.id}".lstrip("-")


def event_file(run: RunRecord, epochs: Sequence[EpochRecord]) -> bytes:
    """The content of the event file: equal for equal records, and only extended when the run continues."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in _events(run, epochs):
        writer.write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()


def _events(run: RunRecord, epochs: Sequence[EpochRecord]) -> Iterator[Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    started = run.started_at.timestamp()
    yield Event(wall_time=started, file_version="brain.Event:2")
    yield Event(wall_time=started, summary=Summary(value=[_session_start(run)]))
    for epoch, ended in zip(epochs, epoch_ends(run, epochs), strict=True):
        yield Event(wall_time=ended, step=epoch.epoch, summary=_scalars(measured(epoch)))
    if run.finished_at is not None:
        ended = run.finished_at.timestamp()
        yield Event(wall_time=ended, step=run.epochs_done, summary=_scalars(results(run)))
        yield Event(wall_time=ended, summary=Summary(value=[_session_end(run, ended)]))


def _scalars(values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def _session_start(run: RunRecord) -> Any:
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

    info = SessionStartInfo(group_name=run.id, start_time_secs=run.started_at.timestamp())
    for name, value in flattened({**parameters(run), "flyweight": identity(run)}).items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = value
    return _hparams_value(metadata.SESSION_START_INFO_TAG, session_start_info=info)


def _session_end(run: RunRecord, ended: float) -> Any:
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

    status = Status.Value(STATUSES.get(run.status, "STATUS_UNKNOWN"))
    return _hparams_value(
        metadata.SESSION_END_INFO_TAG, session_end_info=SessionEndInfo(status=status, end_time_secs=ended)
    )


def _hparams_value(tag: str, **info: Any) -> Any:
    """A value for the HPARAMS page. The function of TensorBoard for it has a random order of keys."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **info)
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString(deterministic=True)
    )
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR)


def _grow(path: Path, content: bytes) -> None:
    """Append new content, which a running TensorBoard reads; replace a file with different content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.read_bytes() if path.exists() else b""
    if not content.startswith(there):
        files.write_bytes(path, content)
    elif len(there) < len(content):
        with path.open("ab") as file:
            file.write(content[len(there) :])
