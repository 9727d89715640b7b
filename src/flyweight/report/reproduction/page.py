"""A document as Markdown: a page for each, and a page that lists them.

Go in: a document, the verdicts on its steps, and what our own recipes did for the same goal. Comes out: text, the same
for the same values. Where the runs lie, and how they were made, is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, TypeAlias, TypeVar

from flyweight.evidence.stats import Summary
from flyweight.model.count import count
from flyweight.recipe import Change, Recipe, all_in_words, flat, load, net_in_words, protocol_words
from flyweight.recipe.toml import format_value
from flyweight.report.reproduction.rows import headline_figures, subject
from flyweight.report.wording import by_their_ends
from flyweight.reproductions.document import MARKS, Claim, Document, Step
from flyweight.reproductions.runs import Replay
from flyweight.reproductions.verdicts import INPUT_SHAPE, KINDS, ClaimVerdict, Kind, StepVerdict, clean_accuracy
from flyweight.tables import Markdown, as_markdown, counted, table_of

DASH: Final = "\N{EN DASH}"  # stands for nothing, and between the ends of an interval
NOTHING: Final = DASH
# What a document did otherwise without a protocol: settings of the training that an experiment should not have.
OTHERWISE: Final[dict[tuple[str, str | bool], str]] = {
    ("train.loss_reduction", "sum"): "the loss of a batch is summed and not averaged, which multiplies the learning "
    "rate by the size of the batch",
    ("train.shuffle", False): "the training images come in the order of the file, not shuffled",
}
UNUSED: Final = "the net registers layers that it never uses; they are not counted here"
MACHINE: Final = ("processor", "threads", "precision", "torch", "flyweight", "kernels")

WRITTEN_BY: Final = "<!-- written by `flyweight journey report`, which may write it again -->"


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A recipe of our own on the way to the same goal, with its seeds."""

    name: str
    params: int
    epochs: int
    replays: tuple[Replay, ...]

    @property
    def clean(self) -> Summary | None:
        """Accuracy on the clean test images, over the seeds that did not diverge."""
        return clean_accuracy(self.replays)

    @property
    def seconds(self) -> float | None:
        """Median seconds of training a seed."""
        return median(replay.seconds for replay in self.replays) if self.replays else None

    def n_reaching(self, accuracy: float) -> int:
        """How many seeds have at least this accuracy on the clean test images."""
        return sum(replay.clean is not None and replay.clean.accuracy >= accuracy for replay in self.replays)


T = TypeVar("T")

# A document with its verdicts and our recipes for the same goal.
Judged: TypeAlias = tuple[Document, Sequence[StepVerdict], Sequence[Ours]]


def ours(document: Document, replays: Sequence[Replay]) -> tuple[Ours, ...]:
    """Our recipes for the goal of a document, with those of the replays that are theirs."""
    return tuple(_ours(load(name), name, replays) for name in document.ours)


def _ours(recipe: Recipe, name: str, replays: Sequence[Replay]) -> Ours:
    return Ours(
        name=name,
        params=count(recipe.model.net, INPUT_SHAPE).params,
        epochs=recipe.train.epochs,
        replays=tuple(replay for replay in replays if replay.step == name),
    )


def document_markdown(
    document: Document, verdicts: Sequence[StepVerdict], ours: Sequence[Ours], *, picture: str
) -> str:
    """The page of a document. picture: the file of `document_picture`, as the page links to it."""
    sections = [
        f"{WRITTEN_BY}\n\n# {document.title}",
        document.about,
        f"Source: {document.source}.  \nGoal: {_goal(document)}.",
        f"![What the document reports and what its reproduction gave, step by step]({picture})",
        *([f"## What one learns\n\n{document.lesson}"] if document.lesson else []),
        f"## The steps\n\n{_steps(document, verdicts, ours)}",
        *_remarks(verdicts),
        f"## Claims\n\n{_claims(verdicts)}",
        *_measured_otherwise(verdicts),
        f"## What had to be assumed or derived\n\n{_assumed(verdicts)}",
        f"## How to run it\n\n{_commands(document)}",
        f"## How the figures were made\n\n{_method(verdicts, ours)}",
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def index_markdown(documents: Sequence[Judged]) -> str:
    """All documents in one table, each linked to its page NAME.md beside this one."""
    claims = [claim for _, verdicts, _ in documents for claim in _claims_of(verdicts)]
    kinds = [kind for kind in KINDS if kind != "not run" or any(one.kind == kind for one in claims)]
    rows = [_index_row(*judged, kinds) for judged in documents]
    n_steps = sum(len(document.steps) for document, _, _ in documents)
    return (
        f"{WRITTEN_BY}\n\n# Documents\n\n"
        f"{counted(len(documents), 'document')} about small nets for MNIST, {counted(n_steps, 'experiment')}, "
        f"{counted(len(claims), 'claim')}. Each experiment is a recipe that anyone can train again, and each "
        "claim has a verdict. Steps behind the plus sign are no experiments of the document: runs of the same author "
        "that it does not report, and settings of which it says something without an experiment.\n\n"
        f"{_table(rows)}\n\n"
        "*Best as reported* is the step that the document gives the highest test accuracy within the goal's limit of "
        "parameters; *clean* is the accuracy of that step on the clean test images, with its 95 % interval; *ours* "
        "is that of our recipe for the same goal.\n\n"
        "`flyweight journey` lists the documents, `flyweight journey run 003` trains one again, and "
        "`flyweight journey verify 003` judges it by its runs.\n"
    )


def percent(accuracy: float) -> str:
    """
    >>> percent(0.9948)
    '99.48 %'
    """
    return f"{100 * accuracy:.2f} %"


def step_range(names: Iterable[str], of: Sequence[str]) -> str:
    """The names of steps in short.

    >>> step_range(["a", "c", "d", "e"], "abcdef"), step_range("ab", "ab")
    ('a, c to e', 'all steps')
    """
    wanted = set(names)
    if len(of) > 1 and wanted >= set(of):
        return "all steps"
    places = {name: place for place, name in enumerate(of)}
    return by_their_ends((name for name in of if name in wanted), places.__getitem__)


def _goal(document: Document) -> str:
    goal = document.goal
    return f"{100 * goal.accuracy:g} % with at most {goal.params:,} parameters, within {counted(goal.epochs, 'epoch')}"


def _steps(document: Document, verdicts: Sequence[StepVerdict], ours: Sequence[Ours]) -> str:
    table = _table(_step_rows(document, verdicts, ours))
    if not document.related:
        return table
    names = ", ".join(step.name for step in document.related)
    return f"{table}\n\nNot among the experiments of the document: {names}. The remarks say what they are."


def _step_rows(document: Document, verdicts: Sequence[StepVerdict], ours: Sequence[Ours]) -> list[dict[str, str]]:
    before = ["", *(verdict.step.name for verdict in verdicts)]
    rows = [_step_row(verdict, previous) for verdict, previous in zip(verdicts, before, strict=False)]
    return rows + [_our_row(one, document.goal.accuracy) for one in ours]


def _step_row(verdict: StepVerdict, previous: str) -> dict[str, str]:
    is_refuted = any(one.kind == "refuted" for one in verdict.claims)
    return {
        "step": _linked(verdict.step),
        "change": _change(verdict, previous),
        "parameters": _parameters(verdict),
        "reported": _reported(verdict.headline.claim) if verdict.headline else NOTHING,
        "replayed as reported": _replayed(verdict),
        "clean": _interval(verdict.clean),
        "verdict": f"**{verdict.summary}**" if is_refuted else verdict.summary,
        "seconds per seed": _seconds(verdict.seconds),
    }


def _linked(step: Step) -> str:
    return f"[{step.name}]({step.link})" if step.link else step.name


def _our_row(ours: Ours, goal: float) -> dict[str, str]:
    n = len(ours.replays)
    reached = f"{ours.n_reaching(goal)} of {n} seeds reach {100 * goal:g} %" if n else "not run"
    return {
        "step": "ours",
        "change": f"`{ours.name}`, {counted(ours.epochs, 'epoch')}",
        "parameters": f"{ours.params:,}",
        "reported": NOTHING,
        "replayed as reported": NOTHING,
        "clean": _interval(ours.clean),
        "verdict": reached,
        "seconds per seed": _seconds(ours.seconds),
    }


def _change(verdict: StepVerdict, previous: str) -> str:
    """The name of the step in the document and the changed keys; for the first step, its settings."""
    step = verdict.step
    if step.extends is None:
        return f"*{step.label}*: {_start(step.recipe)}"
    origin = "" if step.extends == previous else f"from {step.extends}: "
    return f"*{step.label}*: {origin}{changes_in_words(verdict.changes)}"


def _start(recipe: Recipe) -> str:
    train = recipe.train
    return (
        f"`{recipe.model.net}`, {train.optimizer}, lr {train.lr:g}, batch {train.batch_size:,}, "
        f"{counted(train.epochs, 'epoch')}"
    )


def changes_in_words(changes: Sequence[Change]) -> str:
    """`all_in_words`, with the whole new net if it is shorter than its changes.

    >>> changes_in_words([Change(key="model.net", old="c8 r m2 gap flat", new="c8 m2 r flat")])
    'net → `c8 m2 r flat`'
    """
    words = []
    for change in changes:
        old, new = str(change.old), str(change.new)
        is_new_net = change.key == "model.net" and len(net_in_words(old, new)) > len(new)
        words.append(f"net → `{new}`" if is_new_net else all_in_words([change]))
    return ", ".join(words) or all_in_words(())


def _parameters(verdict: StepVerdict) -> str:
    params = f"{verdict.cost.params:,}"
    reported = [one.claim.rounded for one in verdict.claims if one.claim.what == "parameters"]
    other = [text for text in reported if text != params]
    return f"{params}, reported {', '.join(other)}" if other else params


def _reported(claim: Claim) -> str:
    words = [claim.reported]
    if claim.epoch is not None:
        words.append(f"epoch {claim.epoch}")
    if claim.is_best:
        words.append("picked by test")
    return ", ".join(words)


def _replayed(verdict: StepVerdict) -> str:
    if not verdict.replays:
        return "not run"
    n, diverged = len(verdict.replays), verdict.n_diverged
    summary = headline_figures(verdict)
    words = [f"{diverged} of {n} diverged"] if diverged else []
    if summary:
        words.append(_spread(summary))
    return ", ".join(words) or NOTHING


def _spread(summary: Summary) -> str:
    """Mean and sample standard deviation; the figure alone for a single seed."""
    if summary.sd is None:
        return percent(summary.mean)
    return f"{100 * summary.mean:.2f} ± {100 * summary.sd:.2f} % (n={summary.n})"


def _interval(summary: Summary | None) -> str:
    """The mean with its 95 % interval, limited to 0 and 100 %."""
    if summary is None:
        return NOTHING
    if summary.low is None or summary.high is None:
        return f"{percent(summary.mean)} (n={summary.n})"
    low, high = max(summary.low, 0.0), min(summary.high, 1.0)
    return f"{percent(summary.mean)} ({100 * low:.2f}{DASH}{100 * high:.2f}, n={summary.n})"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _remarks(verdicts: Sequence[StepVerdict]) -> list[str]:
    noted = [f"- {verdict.step.name}: {verdict.step.notes}" for verdict in verdicts if verdict.step.notes]
    return ["Remarks:\n\n" + "\n".join(noted)] if noted else []


def _claims_of(verdicts: Sequence[StepVerdict]) -> list[ClaimVerdict]:
    return [one for verdict in verdicts for one in verdict.claims]


def _claims(verdicts: Sequence[StepVerdict]) -> str:
    counts = Counter(one.kind for one in _claims_of(verdicts))
    if not counts:
        return "The document has no claims about these steps."
    found = {one.claim.mark for one in _claims_of(verdicts)}
    marks = "; ".join(f"*{mark}*: {meaning}" for mark, meaning in MARKS.items() if mark in found)
    summed = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
    rows = [
        {
            "step": verdict.step.name,
            "claim": subject(verdict.step, one.claim),
            "reported": one.claim.rounded if one.claim.what == "parameters" else one.claim.reported,
            "mark": one.claim.mark,
            "verdict": f"**{one.kind}**" if one.kind == "refuted" else one.kind,
            "why": one.sentence,
        }
        for verdict in verdicts
        for one in verdict.claims
    ]
    return (
        f"{counted(counts.total(), 'claim')}: {summed}. The mark is where a claim is from: {marks}.\n\n{_table(rows)}"
    )


def _measured_otherwise(verdicts: Sequence[StepVerdict]) -> list[str]:
    concerned = _by_steps(
        verdicts, lambda one: otherwise(one.step.recipe, one.cost.registered_params > one.cost.params)
    )
    lines = [f"- {sentence} ({steps})" for sentence, steps in concerned.items()]
    return ["## Differences from a clean evaluation\n\n" + "\n".join(lines)] if lines else []


def _by_steps(verdicts: Sequence[StepVerdict], said_of: Callable[[StepVerdict], Iterable[T]]) -> dict[T, str]:
    """Each text once, with the steps that it is about."""
    found: dict[T, list[str]] = {}
    for verdict in verdicts:
        for said in said_of(verdict):
            found.setdefault(said, []).append(verdict.step.name)
    names = [verdict.step.name for verdict in verdicts]
    return {said: step_range(steps, names) for said, steps in found.items()}


def otherwise(recipe: Recipe, has_unused: bool) -> list[str]:
    """A sentence for each difference of a recipe from a clean evaluation."""
    values = flat(recipe.model_dump())
    found = [sentence for (key, value), sentence in OTHERWISE.items() if values[key] == value]
    return [*protocol_words(recipe), *found, *([UNUSED] if has_unused else [])]


def _assumed(verdicts: Sequence[StepVerdict]) -> str:
    concerned = _by_steps(verdicts, lambda one: _unsure(one.step))
    if not concerned:
        return "Nothing: the document or its code gives every setting."
    # Settings of the same steps are listed together, where the same could stand in their place.
    lines: dict[tuple[str, str], list[str]] = {}
    for (setting, alternative), steps in concerned.items():
        lines.setdefault((steps, alternative), []).append(setting)
    return "\n".join(
        f"- {where}: {', '.join(settings)}{alternative and f'. Alternative: {alternative}'}"
        for (where, alternative), settings in lines.items()
    )


def _unsure(step: Step) -> list[tuple[str, str]]:
    """Settings that were assumed or are ambiguous, each with its alternative."""
    values = flat(step.recipe.model_dump())
    keys = [*step.assumed, *(key for key in step.alternatives if key not in step.assumed)]
    return [(_setting(key, values[key]), step.alternatives.get(key, "")) for key in keys]


def _setting(key: str, value: Any) -> str:
    return f"`{key}` none" if value is None else f"`{key} = {format_value(value)}`"


def _commands(document: Document) -> str:
    width = len(f"flyweight journey verify {document.name}")
    run = f"flyweight journey run {document.name}".ljust(width)
    return (
        "```console\n"
        f"$ {run}  # trains the steps that have no run yet; a stopped run continues\n"
        f"$ flyweight journey verify {document.name}  # judges every claim by the runs\n"
        "```"
    )


def _method(verdicts: Sequence[StepVerdict], ours: Sequence[Ours]) -> str:
    replays = [replay for verdict in verdicts for replay in verdict.replays]
    replays += [replay for one in ours for replay in one.replays]
    counts = sorted({replay.clean.count for replay in replays if replay.clean})
    images = f"{' or '.join(f'{count:,}' for count in counts)} images" if counts else "the test images"
    return "\n".join(
        [
            "- *Replayed as reported* is measured as in the document: the same images, augmentation and kind of loss. "
            "Mean ± standard deviation over the seeds, or the figure of a single seed.",
            "- *Clean* is measured on unchanged test images. The epoch is selected on validation images if the "
            "document held some out; otherwise it is the last epoch. Test figures of earlier epochs never select it.",
            f"- The 95 % interval of a single seed is Wilson's for {images}; that of several seeds is "
            "Student's, of their mean.",
            "- *Confirmed*: the figure is inside the 95 % range of further runs. *Not contradicted*: it is inside, but "
            "the range is so wide that hardly any figure would be outside. *Consistent by construction*: the net was "
            "chosen to have this count. *Not reproduced*: it is outside. "
            "*Refuted*: counting, or another figure of the document itself, contradicts it. *Not derivable*: it "
            "depends on something that the document does not say. *Undecided*: it is outside the sampling error of the "
            "images, and one seed does not show how much others differ. Diverged runs are results. About one in twenty "
            "true claims is outside by chance.",
            f"- {_machines(replays)}",
        ]
    )


def _machines(replays: Sequence[Replay]) -> str:
    """The number of runs by machine."""
    if not replays:
        return "There is no run yet."
    counts = Counter(_machine(replay.machine) for replay in replays)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    where = [machine if len(ordered) == 1 else f"{n:,} with {machine}" for machine, n in ordered]
    return f"{counted(len(replays), 'run')}: {'; '.join(where)}."


def _machine(machine: Mapping[str, Any]) -> str:
    shown = {key: str(machine[key]) for key in MACHINE if key in machine}
    if "threads" in shown:
        shown["threads"] += " thread per run" if shown["threads"] == "1" else " threads per run"
    named = ("torch", "flyweight", "kernels")
    words = [f"{key} {text}" if key in named else text for key, text in shown.items()]
    return ", ".join(words) or "an unknown machine"


def _index_row(
    document: Document, verdicts: Sequence[StepVerdict], ours: Sequence[Ours], kinds: Sequence[Kind]
) -> dict[str, str]:
    counts = Counter(one.kind for one in _claims_of(verdicts))
    related = f" + {len(document.related)}" if document.related else ""
    best = _best_reported(document, verdicts)
    return {
        "document": f"[{document.name}]({document.name}.md)",
        "about": document.title,
        "steps": f"{len(document.steps)}{related}",
        **{kind: str(counts[kind]) for kind in kinds},
        "best as reported": NOTHING
        if best is None or best.headline is None
        else f"{best.step.name}: {best.headline.claim.reported}",
        "clean": NOTHING if best is None or best.clean is None else _interval(best.clean),
        "ours": "; ".join(f"`{one.name}`: {_interval(one.clean)}" for one in ours if one.clean) or NOTHING,
    }


def _best_reported(document: Document, verdicts: Sequence[StepVerdict]) -> StepVerdict | None:
    """The step with the highest reported test accuracy within the parameter limit."""
    names = {step.name for step in document.steps}
    reported = [
        (verdict.headline.claim.value, verdict)
        for verdict in verdicts
        if verdict.step.name in names and verdict.headline is not None and verdict.headline.claim.what == "accuracy"
    ]
    within = [one for one in reported if one[1].cost.params <= document.goal.params]
    best = max(within or reported, key=lambda one: one[0], default=None)
    return None if best is None else best[1]


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    return as_markdown(table_of([{header: _cell(cell) for header, cell in row.items()} for row in rows]))


def _cell(text: str) -> Markdown:
    """Markdown in which a tag or a backslash of the document is text."""
    return Markdown(text.replace("\\", "\\\\").replace("<", "&lt;"))
