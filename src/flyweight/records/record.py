"""A run and its epochs as values of the database, without SQLAlchemy."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict, get_args

from flyweight.records.results import Figures, Split

Ending: TypeAlias = Literal["finished", "diverged", "interrupted", "failed", "lost"]
Status: TypeAlias = Literal["running"] | Ending

OVER: tuple[Ending, ...] = ("finished", "diverged")  # with a result
STOPPED: tuple[Ending, ...] = ("interrupted", "lost")  # to be continued

ENDINGS: tuple[str, ...] = get_args(Ending)
STATUSES: tuple[str, ...] = ("running", *ENDINGS)

NoteKind: TypeAlias = Literal["before", "after"]
HeldOut: TypeAlias = Literal["validation", "test"]  # splits that nothing is trained on; plans call one their part

# Why a run was made. run: a person started it. trial: tests a change, for the doctor. remedy: a recipe that
# the doctor fixed. reproduction: a step of a document. certification: published figures. search: a trial of a search.
Purpose: TypeAlias = Literal["run", "trial", "remedy", "reproduction", "certification", "search"]
PurposeFilter: TypeAlias = Purpose | Literal["all"] | tuple[Purpose, ...]

NOTE_KINDS: tuple[str, ...] = get_args(NoteKind)
HELD_OUT: tuple[str, ...] = get_args(HeldOut)
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
# The purposes whose runs count as results of their recipe.
RESULTS: tuple[Purpose, ...] = ("run", "reproduction", "certification")

# What determines the bits of a run: if all of it is equal, the weights are equal (docs/architecture.md). "step" and
# "stacked" (how many runs trained as one stacked net) are on record of runs on a GPU and of stacked ones.
FINGERPRINT: Final = ("torch", "kernels", "precision", "cpu_capability", "threads", "device", "step", "stacked")


OWN_CODE: Final = "own_code"  # the key of the environment
TEST_CLOSED: Final[Mapping[str, str]] = {"test": "closed"}  # in the environment of a run without a test figure


class NewRun(TypedDict):
    """The values of a run at its start. parent_hash: `recipe_hash` of the recipe that was changed."""

    name: str
    seed: int
    recipe: dict[str, Any]
    recipe_hash: str
    params: int
    macs: int
    registered_params: int
    data_name: str
    data_hash: str
    split_hash: str
    environment: dict[str, Any]
    epochs_planned: int
    group_id: NotRequired[str | None]
    study: NotRequired[str | None]
    parent_hash: NotRequired[str | None]
    purpose: NotRequired[Purpose]


class RunFilter(TypedDict, total=False):
    """A filter of runs; None or a missing key is no condition."""

    status: str | None
    name: str | None
    group_id: str | None
    study: str | None
    recipe_hash: str | None
    data_hash: str | None
    split_hash: str | None
    data_name: str | None
    seed: int | None


class Result(TypedDict, total=False):
    """The values of a run at its end; a missing key leaves its column unchanged."""

    epochs_done: int
    best_epoch: int | None
    train_correct: int | None
    train_count: int | None
    train_loss: float | None
    validation_correct: int | None
    validation_count: int | None
    validation_loss: float | None
    test_correct: int | None
    test_count: int | None
    test_loss: float | None
    train_seconds: float | None
    message: str


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """A run without its recipe and environment, so that thousands load fast.

    Accuracies are fractions. A loss of None was not measured or not a number, see `status`. parent_hash: the
    `recipe_hash` of the recipe that was changed.
    """

    id: str
    name: str
    group_id: str | None
    status: Status
    seed: int
    recipe_hash: str
    params: int
    data_name: str
    data_hash: str
    split_hash: str
    started_at: datetime
    epochs_done: int
    validation_correct: int | None
    validation_count: int | None
    validation_loss: float | None
    test_correct: int | None
    test_count: int | None
    test_loss: float | None
    test_openings: int
    train_seconds: float | None
    study: str | None = None
    parent_hash: str | None = None
    purpose: Purpose = "run"

    def figures(self, split: Split) -> Figures | None:
        """The figures of the kept net on a split; None if not measured, for example before the test set is opened."""
        correct, count, loss = (getattr(self, f"{split}_{name}") for name in ("correct", "count", "loss"))
        return Figures(correct=correct, count=count, loss=loss) if correct is not None and count else None

    def accuracy(self, split: Split) -> float | None:
        """The accuracy of the kept net on a split, as a fraction; None if not measured."""
        found = self.figures(split)
        return None if found is None else found.accuracy

    @property
    def validation_accuracy(self) -> float | None:
        return self.accuracy("validation")

    @property
    def test_accuracy(self) -> float | None:
        return self.accuracy("test")


@dataclass(frozen=True, kw_only=True)
class RunRecord(RunFigures):
    """One run in full: figures, recipe and environment."""

    recipe: dict[str, Any]
    registered_params: int
    macs: int
    environment: dict[str, Any]
    epochs_planned: int
    host: str
    pid: int
    process_started: str
    finished_at: datetime | None
    best_epoch: int | None
    train_correct: int | None
    train_count: int | None
    train_loss: float | None
    message: str

    @property
    def own_code(self) -> str | None:
        """The SHA-256 of the file of its own module, if it has one."""
        return self.environment.get(OWN_CODE)

    @property
    def opens_test(self) -> bool:
        """Whether the run ends with a test figure, or leaves the test images closed."""
        return not TEST_CLOSED.items() <= self.environment.items()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What determines the bits of the run, as far as recorded."""
        return {name: self.environment[name] for name in FINGERPRINT if name in self.environment}

    @property
    def other_precision(self) -> str | None:
        """The precision of the computation if it is not that of the recipe."""
        return other_precision(self.environment, self.recipe)

    @property
    def train_accuracy(self) -> float | None:
        return self.accuracy("train")

    def _repr_html_(self) -> str:
        """The HTML table for notebooks; all text is escaped."""
        facts: dict[str, object] = {
            "run": self.id,
            "recipe": self.name,
            "seed": self.seed,
            "status": f"{self.status}: {self.message}" if self.message else self.status,
            "parameters": f"{self.params:,}",
            "epochs": f"{self.epochs_done} of {self.epochs_planned}",
            "data": self.data_name,
        }
        accuracies = {"validation": self.validation_accuracy, "test": self.test_accuracy}
        facts |= {f"{part} accuracy": f"{found:.2%}" for part, found in accuracies.items() if found is not None}
        if self.train_seconds is not None:
            facts["training"] = f"{self.train_seconds:.1f} s"
        rows = (f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items())
        return f"<table>{''.join(rows)}</table>"


def other_precision(environment: Mapping[str, Any], recipe: Mapping[str, Any]) -> str | None:
    """The recorded precision if it is not that of the recipe.

    >>> other_precision({"precision": "float32"}, {"train": {"precision": "bfloat16"}})
    'float32'
    """
    ran, wanted = environment.get("precision"), recipe.get("train", {}).get("precision")
    return None if ran is None or wanted is None or str(ran).startswith(wanted) else str(ran)


@dataclass(frozen=True, kw_only=True)
class Note:
    """A note about a recipe in a study; study: None for a note about the recipe in general.

    kind: an expectation (before) or a conclusion (after). A journal shows the last note of each kind; all are stored.
    """

    id: str
    study: str | None
    recipe_hash: str
    kind: NoteKind
    text: str
    author: str
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class SeedPlan:
    """The plan of a sequential comparison, made before seeds are added.

    looks: pairs (seeds of the baseline, seeds of the changed recipe) at which it is tested. level: threshold of p.
    """

    id: str
    baseline_hash: str
    changed_hash: str
    data_hash: str
    part: HeldOut
    looks: list[list[int]]
    level: float
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of one run; None for values that were not measured or not a number."""

    run_id: str
    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float | None
    seconds: float | None
