"""What came of trying a remedy, and the file of a run that keeps it."""

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
    """What a recipe's net costs: parameters that run, parameters that it holds, multiplications an image."""

    params: int
    registered_params: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of trying a remedy.

    before, after: validation accuracies, one a seed; empty where the gain is honesty. reported, clean: a figure of the
    same runs, as the protocol reports it and by a clean evaluation; empty where the gain is another. paired is None
    where no figure could be compared. line: all of it in one line. budget: how long was trained, in words.
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
        """As much of it as a diagnosis needs."""
        return Tried(code=self.code, has_helped=self.has_helped, line=self.line)


# Keys of the file until version 0.1.0.
_OLD_KEYS: Final[Mapping[str, str]] = {"told": "reported", "honest": "clean"}


def keep_trials(folder: RunFolder, trials: Sequence[Trial]) -> None:
    """Write trials beside a run; of each code the newest is kept. What was damaged is written anew."""
    known = {trial.code: trial for trial in (*_read_if_whole(folder), *trials)}
    folder.write_json("trials", [asdict(known[code]) for code in sorted(known)])


def read_trials(folder: RunFolder) -> tuple[Trial, ...]:
    """The trials that were kept beside a run; none where there are none.

    Raises:
        DataError: a file that holds something else.
    """
    return folder.read_json("trials", _parsed, holds="trials of remedies") or ()


def _parsed(value: object) -> tuple[Trial, ...]:
    rows = validated(tuple[dict[str, object], ...], value)
    return validated(tuple[Trial, ...], [{_OLD_KEYS.get(key, key): row[key] for key in row} for row in rows])


def read_tried(folder: RunFolder) -> tuple[Tried, ...]:
    """What came of the remedies that were tried, for a diagnosis; a damaged file does not stop it."""
    return tuple(trial.tried for trial in _read_if_whole(folder))


def _read_if_whole(folder: RunFolder) -> tuple[Trial, ...]:
    try:
        return read_trials(folder)
    except DataError:
        return ()
