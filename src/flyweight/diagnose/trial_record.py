"""The result of a trial, and its file in a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from flyweight.doctor.diagnosis import Tried
from flyweight.doctor.finding import Gain
from flyweight.errors import DataError
from flyweight.evidence.paired import Paired
from flyweight.records.run_folder import RunFolder, validated


@dataclass(frozen=True, kw_only=True)
class Expense:
    """The cost of a net: parameters that it uses, parameters that it registers, MACs per image."""

    params: int
    registered_params: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The result of a trial.

    before, after: validation accuracy of each seed; empty if the gain is honesty. reported, clean: a figure of the same
    runs by the protocol and by a clean evaluation; only if the gain is honesty. paired: None if nothing could be
    compared. line: all of it in one line. budget: the images and epochs of the runs, in words.
    """

    code: str
    gain: Gain
    changes: tuple[str, ...]
    seeds: tuple[int, ...]
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    reported: tuple[float, ...] = ()
    clean: tuple[float, ...] = ()
    cost_before: Expense
    cost_after: Expense
    paired: Paired | None
    has_helped: bool
    line: str
    budget: str
    run_ids: tuple[str, ...]

    @property
    def tried(self) -> Tried:
        """The part that a diagnosis needs."""
        return Tried(code=self.code, has_helped=self.has_helped, line=self.line)


# Old keys, still read.
_OLD_KEYS: Final[Mapping[str, str]] = {"told": "reported", "honest": "clean"}


def keep_trials(folder: RunFolder, trials: Sequence[Trial]) -> None:
    """Add trials to a run folder, the newest of each code. A damaged file is replaced."""
    known = {trial.code: trial for trial in (*_read_if_whole(folder), *trials)}
    folder.write_json("trials", [asdict(known[code]) for code in sorted(known)])


def read_trials(folder: RunFolder) -> tuple[Trial, ...]:
    """The trials in a run folder.

    Raises:
        DataError: the file is damaged.
    """
    return folder.read_json("trials", _parsed, holds="trials of remedies") or ()


def _parsed(value: object) -> tuple[Trial, ...]:
    rows = validated(tuple[dict[str, object], ...], value)
    return validated(tuple[Trial, ...], [{_OLD_KEYS.get(key, key): row[key] for key in row} for row in rows])


def read_tried(folder: RunFolder) -> tuple[Tried, ...]:
    """The results of trials for a diagnosis; empty if the file is damaged."""
    return tuple(trial.tried for trial in _read_if_whole(folder))


def _read_if_whole(folder: RunFolder) -> tuple[Trial, ...]:
    try:
        return read_trials(folder)
    except DataError:
        return ()
