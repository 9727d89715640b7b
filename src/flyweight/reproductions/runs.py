"""What came out when a step was trained: small values without weights or images, kept as JSON, read from anywhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from flyweight.errors import DataError
from flyweight.records.results import Figures, ReportedEpoch
from flyweight.records.run_folder import validated

FORMAT: Final = 3
READABLE: Final = (1, 2, FORMAT)


@dataclass(frozen=True, kw_only=True)
class Clean(Figures):
    """The net that the recipe keeps, on the test images as they are; nothing about it was chosen by them."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One seed of one step. clean is None where the run diverged. class_counts: of what the document calls its test
    images, by which a net that predicts one class for all of them is known. seconds: of training."""

    step: str
    seed: int
    recipe_hash: str
    status: str
    message: str
    seconds: float
    epochs: tuple[ReportedEpoch, ...]
    clean: Clean | None = None
    class_counts: tuple[int, ...]
    test_openings: int
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_diverged(self) -> bool:
        return self.status == "diverged"


def to_json(replays: Iterable[Replay]) -> str:
    """One line a replay, in the order of step and seed, so that a change is a small difference."""
    ordered = sorted(replays, key=lambda replay: (replay.step, replay.seed))
    lines = [json.dumps(_small(asdict(replay)), ensure_ascii=False, allow_nan=False) for replay in ordered]
    return f'{{"format": {FORMAT}, "replays": [\n' + ",\n".join(lines) + "\n]}\n"


def from_json(text: str, label: str) -> tuple[Replay, ...]:
    """The inverse of `to_json`; `label` is what the text is called in an error.

    Raises:
        DataError: another format, or a text that is not whole.
    """
    try:
        kept = json.loads(text)
        if kept["format"] not in READABLE:
            raise DataError(
                f"{label}: must be of format 1 to {FORMAT}, found {kept['format']!r}; use the version that wrote it."
            )
        rows = kept["replays"] if kept["format"] == FORMAT else map(_of_before, kept["replays"])
        replays = validated(tuple[Replay, ...], list(rows))
        _check(replays, label)
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DataError(
            f"{label}: must hold replays as `flyweight journey report` keeps them, found something else ({error!r})."
        ) from error
    return replays


def read(path: Path) -> tuple[Replay, ...]:
    """The replays of a file; none where there is no file."""
    try:
        return from_json(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}.") from error


def merged(kept: Iterable[Replay], new: Iterable[Replay], *, replace: bool = False) -> tuple[Replay, ...]:
    """Both, one for each step, recipe and seed; where both have it the kept one, or with `replace` the new one."""
    by_key = {_key(one): one for one in ((*kept, *new) if replace else (*new, *kept))}
    return tuple(by_key[key] for key in sorted(by_key))


def differences(kept: Iterable[Replay], new: Iterable[Replay]) -> tuple[tuple[Replay, Replay], ...]:
    """The kept and the new replay of each step, recipe and seed that both have and that are not equal."""
    by_key = {_key(one): one for one in kept}
    return tuple(
        (by_key[_key(one)], one)
        for one in new
        if _key(one) in by_key and _small(asdict(by_key[_key(one)])) != _small(asdict(one))
    )


def _key(replay: Replay) -> tuple[str, str, int]:
    return replay.step, replay.recipe_hash, replay.seed


def _check(replays: Sequence[Replay], label: str) -> None:
    """Refuse figures that no run can give, and a run that is there twice."""
    keys = Counter(map(_key, replays))
    for (step, _, seed), n in keys.items():
        if n > 1:
            raise DataError(f"{label}: {step} seed {seed} must be there once, found {n} times; leave all but one out.")
    for one in replays:
        figures = [part for epoch in one.epochs for part in (epoch.train, epoch.validation, epoch.test) if part]
        for figure in (*figures, *([one.clean] if one.clean else [])):
            if not 0 <= figure.accuracy <= 1:
                raise DataError(
                    f"{label}: {one.step} seed {one.seed}: an accuracy must be a fraction from 0 to 1, found "
                    f"{figure.accuracy:g}; the file was changed, restore it."
                )


def _small(value: Any) -> Any:
    """Without what is empty, and with nine digits: more than a float32 of a loss has."""
    if isinstance(value, dict):
        return {key: _small(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_small(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _of_before(row: Mapping[str, Any]) -> dict[str, Any]:
    """Formats 1 and 2 have an accuracy and its images, and format 1 calls the clean figure "honest"."""

    def counted(figure: Mapping[str, Any]) -> dict[str, Any]:
        return {**figure, "correct": round(figure["accuracy"] * figure["images"]), "count": figure["images"]}

    splits = ("validation", "test")
    epochs = [epoch | {split: counted(epoch[split]) for split in splits if split in epoch} for epoch in row["epochs"]]
    return {**row, "epochs": epochs, "clean": row.get("clean") or row.get("honest")}
