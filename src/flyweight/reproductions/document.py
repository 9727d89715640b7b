"""A document: what it reports step by step, and how sure each piece of it is. Values, read from TOML.

What a step trains is a recipe of the catalogue, called by the name of the step; what came out of it is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from flyweight.errors import DataError, UsageError, nearest
from flyweight.recipe import Recipe, catalogue, flat, load
from flyweight.records.results import Split

Mark: TypeAlias = Literal["stated", "source", "derived", "assumed"]
What: TypeAlias = Literal["parameters", "net", "accuracy", "loss", "outcome"]
Outcome: TypeAlias = Literal["diverges", "converges", "does not converge", "unchanged"]
LossKind: TypeAlias = Literal["mean per image", "last batch", "divided twice"]

MARKS: Final[dict[str, str]] = {
    "stated": "in the document",
    "source": "in the code or output that it came from",
    "derived": "forced by arithmetic or by other facts",
    "assumed": "chosen here",
}
WHATS: Final[tuple[What, ...]] = get_args(What)
COUNTED: Final[tuple[What, ...]] = ("parameters", "net")  # judged by counting alone, without a run
# The columns of a log that may be claimed epoch by epoch, with the fixed part of their claims.
_LOGGED: Final[dict[str, dict[str, Any]]] = {
    "train": {"what": "accuracy", "on": "train"},
    "validation": {"what": "accuracy", "on": "validation"},
    "test": {"what": "accuracy", "on": "test"},
    "test_loss": {"what": "loss", "on": "test", "kind": "mean per image"},
}
NOT_A_NUMBER: Final = "not a number"
_FIGURE = re.compile(r"(about |above )?(\d+(?:\.\d+)?)( %)?")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One thing that a document says of a step, as it says it.

    reported: a count, a loss, an accuracy with its percent sign ("95.68 %", "about 95 %", "above 95 %"), NOT_A_NUMBER
    for a loss, an `Outcome`, or a property of the net ("3 convolutions", "dropout 0.15": `verdicts.net_has`). on: the
    images as the document calls them. is_best: the epoch was picked for this figure. images, correct: how many were
    measured, and how many were right, where that is known.
    """

    what: What
    reported: str
    mark: Mark
    on: Split | None = None
    epoch: int | None = None
    is_best: bool = False
    images: int | None = None
    correct: int | None = None
    kind: LossKind | None = None

    @property
    def value(self) -> float:
        """The figure: a count, a loss, or an accuracy as a fraction.

        >>> Claim(what="accuracy", reported="about 9.9 %", mark="stated").value
        0.099

        Raises:
            ValueError: an outcome or a property of the net has none.
        """
        _, digits, percent = self._parts()
        return round(float(digits) / 100, 10) if percent else float(digits)

    @property
    def sense(self) -> Literal["exactly", "about", "above"]:
        return cast("Literal['exactly', 'about', 'above']", (self._parts()[0] or "exactly").strip())

    @property
    def unit(self) -> float:
        """One of the last digit that was given: 0.0001 for "95.68 %", 1 for a count."""
        _, digits, percent = self._parts()
        decimals = len(digits.partition(".")[2])
        return float(f"1e{-decimals - (2 if percent else 0)}")

    @property
    def rounded(self) -> str:
        """A count of parameters with commas between thousands, and its sense."""
        return f"{'' if self.sense == 'exactly' else f'{self.sense} '}{self.value:,.0f}"

    @property
    def subject(self) -> str:
        """What the claim is about, in words.

        >>> Claim(what="loss", reported="0.0274", mark="stated", on="train", epoch=14, kind="last batch").subject
        'training loss of the last batch, epoch 14'
        """
        if self.what in COUNTED:
            return self.what
        of = "training" if self.on == "train" else self.on or ""
        kind = {"last batch": "of the last batch", "divided twice": "divided twice"}.get(self.kind or "", "")
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        epoch += ", picked by test accuracy" if self.is_best else ""
        return " ".join(word for word in (of, self.what, kind) if word) + epoch

    def _parts(self) -> tuple[str | None, str, str | None]:
        match = _FIGURE.fullmatch(self.reported)
        if match is None:
            raise ValueError(f"the claim {self.reported!r} is no figure.")
        return cast("tuple[str | None, str, str | None]", match.groups())


@dataclass(frozen=True, kw_only=True)
class Step:
    """One experiment: the recipe of this name, what is said of it, and how sure each key is.

    marks, alternatives: by the dotted key of the recipe, those of the steps it came from included. log: what the
    original printed, a row per epoch with accuracies in percent. link: where its source is.
    """

    name: str
    label: str
    notes: str = ""
    extends: str | None = None
    marks: Mapping[str, Mark] = field(default_factory=dict)
    alternatives: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    log: tuple[Mapping[str, float], ...] = ()
    link: str | None = None

    @property
    def recipe(self) -> Recipe:
        return load(self.name)

    @property
    def parent(self) -> Recipe | None:
        """The recipe of the step that this one was changed from."""
        return load(self.extends) if self.extends else None

    @property
    def is_reported(self) -> bool:
        """Whether anything is reported of a run of it, and not of its layers alone."""
        return any(claim.what not in COUNTED for claim in self.claims)

    @property
    def assumed(self) -> tuple[str, ...]:
        """The keys that had to be chosen here."""
        return tuple(key for key, mark in self.marks.items() if mark == "assumed")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the document set out for: accuracy is a fraction, the limits are inclusive."""

    params: int
    accuracy: float
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document as steps. related: no experiments of it, but runs of the same author that it does not report, or
    settings of which it says something without an experiment. ours: recipes of the catalogue that go for the same
    goal. lesson: what a reader learns, when all of it has been run."""

    name: str
    title: str
    about: str
    source: str
    goal: Goal
    steps: tuple[Step, ...]
    related: tuple[Step, ...] = ()
    ours: tuple[str, ...] = ()
    lesson: str = ""

    @property
    def all_steps(self) -> tuple[Step, ...]:
        return (*self.steps, *self.related)

    def select(self, names: Sequence[str]) -> tuple[Step, ...]:
        """The steps of these names, in the order of the document; all of them where none is named.

        A step may be called by what follows the document's own name: "17" for "003-17".

        Raises:
            UsageError: no such step; the message lists all.
        """
        by_name = {step.name: step for step in self.all_steps}
        short = {name.removeprefix(f"{self.name}-"): name for name in by_name}
        wanted = {short.get(name, name) for name in names}
        for name in names:
            if short.get(name, name) not in by_name:
                raise UsageError(
                    f"the document {self.name} has no step {name!r}.{nearest(name, [*by_name, *short])} "
                    f"Steps are {', '.join(by_name)}."
                )
        return tuple(step for step in self.all_steps if not wanted or step.name in wanted)


def documents() -> tuple[Document, ...]:
    """All documents, by name."""
    return tuple(document(name) for name in catalogue.document_names())


def document(name: str) -> Document:
    """The document of this name.

    >>> len(document("003").steps)
    18

    Raises:
        UsageError: no such document; the message lists them.
    """
    tables = catalogue.document_tables(name)
    known: dict[str, Step] = {}
    for table in (*tables["steps"], *tables.get("related", ())):
        known[table["name"]] = _step(table, known, tables.get("alternatives", {}), tables.get("link"))
    n_steps = len(tables["steps"])
    return Document(
        name=name,
        title=tables["title"],
        about=tables["about"],
        source=tables["source"],
        goal=Goal(**tables["goal"]),
        steps=tuple(known.values())[:n_steps],
        related=tuple(known.values())[n_steps:],
        ours=tuple(tables.get("ours", ())),
        lesson=tables.get("lesson", ""),
    )


def _step(table: Mapping[str, Any], known: Mapping[str, Step], usual: Mapping[str, str], link: str | None) -> Step:
    """usual: the alternatives of assumed keys by key or section, where the step gives none of its own. link: to the
    source of a commit, with a place for it."""
    came_from = known.get(table.get("extends", ""))
    written = flat(table.get("recipe", {}))
    marks = dict(came_from.marks) if came_from else {}
    marks |= {key: mark for mark, keys in table.get("marks", {}).items() for key in keys}
    # What was written anew is no longer what its alternatives were given for.
    inherited = {key: text for key, text in (came_from.alternatives if came_from else {}).items() if key not in written}
    alternatives = inherited | table.get("alternatives", {})
    assumed = [key for key, mark in marks.items() if mark == "assumed" and key not in alternatives]
    alternatives |= {key: usual[at] for key in assumed for at in (key.partition(".")[0], key) if at in usual}
    claims = tuple(_claim(claim, table["name"]) for claim in table.get("claims", ()))
    log = _log(table.get("log", {}))
    return Step(
        name=table["name"],
        label=table["label"],
        notes=table.get("notes", ""),
        extends=table.get("extends"),
        marks=marks,
        alternatives=alternatives,
        claims=claims + _logged_claims(claims, log, table.get("log", {}).get("claimed", {})),
        log=log,
        link=table.get("link") or (link.format(commit=table["commit"]) if link and "commit" in table else None),
    )


def _logged_claims(
    claims: Sequence[Claim], log: Sequence[Mapping[str, float]], claimed: Mapping[str, Mark]
) -> tuple[Claim, ...]:
    """Every epoch of these columns of a log as a claim, but for those that are claimed already."""
    known = {(claim.what, claim.on, claim.epoch) for claim in claims}
    found = []
    for row in log:
        for column, mark in claimed.items():
            fixed, epoch = _LOGGED[column], int(row["epoch"])
            if (fixed["what"], fixed["on"], epoch) not in known:
                figure = f"{row[column]:.2f} %" if fixed["what"] == "accuracy" else f"{row[column]:.4f}"
                found.append(Claim(reported=figure, mark=mark, epoch=epoch, **fixed))
    return tuple(found)


def _claim(table: Mapping[str, Any], step: str) -> Claim:
    given = [what for what in WHATS if what in table]
    if len(given) != 1:
        raise DataError(f"step {step}: a claim must be of one of {', '.join(WHATS)}, found {', '.join(table)}.")
    rest = {key: value for key, value in table.items() if key not in (given[0], "best")}
    return Claim(what=given[0], reported=str(table[given[0]]), is_best=table.get("best", False), **rest)


def _log(table: Mapping[str, Any]) -> tuple[Mapping[str, float], ...]:
    """Rows by column; a cell that was not printed is left out."""
    return tuple(
        {column: cell for column, cell in zip(table["columns"], row, strict=True) if cell != "-"}
        for row in table.get("rows", ())
    )
