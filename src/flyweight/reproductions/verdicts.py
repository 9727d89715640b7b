"""Verdicts on claims: a pure function of the reported figures, the counted parameters and the replays.

A figure is confirmed where it lies inside what seeds allow: the replayed mean, and around it the reach of a single
further run on the same images (Student's prediction interval). Where that reach is so wide that hardly any figure would
lie outside, the claim is not contradicted, which is less. One seed has no spread: its reach is the noise of its images,
and what lies outside is undecided.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal, TypeAlias, get_args

from flyweight.evidence.stats import Summary, mean_interval, t_quantile, wilson
from flyweight.model.arithmetic import Shape
from flyweight.model.cost import Cost
from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.model.spec import WEIGHTS, Block, Dropout, Layer, Net, Node, Unused, kind_of
from flyweight.model.tree import nodes_with_paths, without_repeats
from flyweight.recipe import Change, diff
from flyweight.records.results import ReportedEpoch, ReportedFigures, ReportedTraining
from flyweight.reproductions.document import NOT_A_NUMBER, Claim, Document, Step
from flyweight.reproductions.runs import Replay
from flyweight.tables import counted

Kind: TypeAlias = Literal[
    "confirmed",
    "not contradicted",
    "consistent by construction",
    "not reproduced",
    "refuted",
    "not derivable",
    "undecided",
    "not run",
]

Figure: TypeAlias = ReportedFigures | ReportedTraining

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
INPUT_SHAPE: Final[Shape] = (1, 28, 28)
NORMAL_95: Final = 1.959964
LEARNT: Final = 0.5  # of the images: far above any constant prediction, far below any net that works
UNCHANGED: Final = 0.05  # five points: the most that "about unchanged" can mean, and the least that few seeds can show
# Keys without which a figure cannot be derived; the others had no effect here, or hardly any.
DECISIVE: Final = (
    "model.net",
    "train.lr",
    "train.batch_size",
    "train.optimizer",
    "train.momentum",
    "train.shuffle",
    "protocol.evaluate_on",
    "augment.rotate",
)


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """One of KINDS, and the reason.

    replayed: the figure as the document measures it, of the seeds. low, high: between them one more run would lie 95
    times of 100.
    """

    claim: Claim
    kind: Kind
    sentence: str
    replayed: Summary | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepVerdict:
    """A step with its verdicts. headline: the main claim of the document about it, if any.

    replayed: that figure, over the seeds. clean: accuracy on the clean test images, over the seeds; low and high are
    Student's interval of the mean, Wilson's for a single seed.
    """

    step: Step
    cost: Cost
    changes: tuple[Change, ...]
    claims: tuple[ClaimVerdict, ...]
    headline: ClaimVerdict | None
    clean: Summary | None
    replays: tuple[Replay, ...]

    @property
    def n_diverged(self) -> int:
        return sum(replay.is_diverged for replay in self.replays)

    @property
    def seconds(self) -> float | None:
        """Median training time per seed in seconds."""
        return median(replay.seconds for replay in self.replays) if self.replays else None

    @property
    def summary(self) -> str:
        """The verdicts in a few words: "confirmed", or the number of each kind."""
        kinds = [verdict.kind for verdict in self.claims]
        if not kinds:
            return "no claims"
        if len(set(kinds)) == 1:
            return kinds[0]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)


def judge(document: Document, replays: Sequence[Replay], *, hashes: Mapping[str, str]) -> tuple[StepVerdict, ...]:
    """Every step with its verdicts. hashes: of the recipes of the steps; replays with other hashes are ignored."""
    by_step = {
        step.name: tuple(one for one in replays if one.step == step.name and one.recipe_hash == hashes[step.name])
        for step in document.all_steps
    }
    return tuple(_step_verdict(step, by_step) for step in document.all_steps)


def _step_verdict(step: Step, by_step: Mapping[str, tuple[Replay, ...]]) -> StepVerdict:
    recipe, parent, replays = step.recipe, step.parent, by_step[step.name]
    cost = count(recipe.model.net, INPUT_SHAPE)
    before = by_step.get(step.extends or "", ())
    known_by = headline(step.claims)
    claims = tuple(judge_claim(claim, step, cost, replays, before) for claim in step.claims)
    return StepVerdict(
        step=step,
        cost=cost,
        changes=diff(parent, recipe) if parent else (),
        claims=claims,
        headline=next((verdict for verdict in claims if verdict.claim is known_by), None),
        clean=clean_accuracy(replays),
        replays=replays,
    )


def headline(claims: Sequence[Claim]) -> Claim | None:
    """The main claim of a step: its selected or last test accuracy, else its outcome."""
    tested = [claim for claim in claims if claim.what == "accuracy" and claim.on == "test"]
    exact = [claim for claim in tested if claim.sense == "exactly"]
    picked = [claim for claim in exact if claim.is_best]
    outcomes = [claim for claim in claims if claim.what == "outcome"]
    found = picked or exact or tested or outcomes
    return found[-1] if found else None


def judge_claim(
    claim: Claim, step: Step, cost: Cost, replays: Sequence[Replay], before: Sequence[Replay] = ()
) -> ClaimVerdict:
    """The verdict on one claim. before: the replays of the step that this one was changed from."""
    if claim.what == "parameters":
        return _judge_count(claim, step, cost)
    if claim.what == "net":
        return _judge_net(claim, step)
    contradiction = _own_output(claim, step)
    if contradiction:
        return ClaimVerdict(claim=claim, kind="refuted", sentence=contradiction, replayed=_replayed(claim, replays))
    if not replays:
        return ClaimVerdict(claim=claim, kind="not run", sentence="no run is on record")
    if claim.what == "outcome":
        return _judge_outcome(claim, replays, before)
    if claim.reported == NOT_A_NUMBER or (
        all(replay.is_diverged for replay in replays) and not _reported_collapse(claim, replays)
    ):
        return _judge_divergence(claim, step, replays)
    return _judge_figure(claim, step, replays)


def _judge_count(claim: Claim, step: Step, cost: Cost) -> ClaimVerdict:
    counted = f"{cost.params:,} by counting the layers"
    mark = step.marks.get("model.net")
    if cost.params == claim.value:
        if mark in ("assumed", "derived"):
            sentence = f"{counted} of a net that was chosen to have this count"
            return ClaimVerdict(claim=claim, kind="consistent by construction", sentence=sentence)
        return ClaimVerdict(claim=claim, kind="confirmed", sentence=counted)
    if mark == "assumed":
        other = step.alternatives.get("model.net")
        sentence = f"{counted} of the net that is assumed here" + (f"; others: {other}" if other else "")
        return ClaimVerdict(claim=claim, kind="not derivable", sentence=sentence)
    if cost.registered_params == claim.value:
        unused = cost.registered_params - cost.params
        sentence = f"{counted}; {unused:,} more are registered but never used; the document counts them"
        return ClaimVerdict(claim=claim, kind="refuted", sentence=sentence)
    difference = int(cost.params - claim.value)
    more_or_fewer = "more" if difference > 0 else "fewer"
    sentence = f"{counted}, {abs(difference):,} {more_or_fewer} than reported"
    return ClaimVerdict(claim=claim, kind="refuted", sentence=sentence)


def _judge_net(claim: Claim, step: Step) -> ClaimVerdict:
    """What a document says of its net, compared with the layers of the net."""
    holds, found = net_has(claim.reported, parse_net(step.recipe.model.net))
    if holds:
        return ClaimVerdict(claim=claim, kind="confirmed", sentence=found)
    if step.marks.get("model.net") == "assumed":
        return ClaimVerdict(claim=claim, kind="not derivable", sentence=f"{found} in the net that is assumed here")
    return ClaimVerdict(claim=claim, kind="refuted", sentence=f"{found} in the net of the document")


def net_has(said: str, net: Net) -> tuple[bool, str]:
    """Whether a net has a property, and what it has. Known are a number of layers (those with weights, without batch
    norm), convolutions, max pools or dropouts, and the probability of its dropouts.

    >>> net_has("8 layers", parse_net("c8 bn r 2(c8 r m2) do.1 gap flat fc10"))
    (False, '3 convolutions and 1 fully connected layer')
    >>> net_has("dropout 0.15", parse_net("c8 do.1 gap do.15 flat fc10"))
    (False, 'dropout 0.1, 0.15')
    """
    nodes = without_repeats(net.nodes)
    layers, unused = _layers(node for node in nodes if not isinstance(node, Unused)), _layers(nodes, of=Unused)
    number, words = said.split(" ", 1) if said[0].isdigit() else ("", said)
    dropouts = [layer.p for layer in layers if isinstance(layer, Dropout)]
    kinds = Counter(kind_of(layer) for layer in layers)
    convolutions = kinds["conv"] + kinds["depthwise_conv"]
    match words.removesuffix("s"):
        case "layer":
            found = f"{counted(convolutions, 'convolution')} and {counted(kinds['linear'], 'fully connected layer')}"
            n_unused = sum(kind_of(layer) in WEIGHTS for layer in unused)
            found += f" ({n_unused} more never used)" if n_unused else ""
            return convolutions + kinds["linear"] == int(number), found
        case "convolution":
            return convolutions == int(number), counted(convolutions, "convolution")
        case "max pool":
            return kinds["max_pool"] == int(number), counted(kinds["max_pool"], "max pool")
        case "dropout":
            return len(dropouts) == int(number), counted(len(dropouts), "dropout")
        case _:
            found = "dropout " + ", ".join(f"{p:g}" for p in sorted(set(dropouts)))
            return found == said, found


def _layers(nodes: Iterable[Node], of: type[Unused] | None = None) -> list[Layer]:
    """The layers in these nodes; of: those in blocks of this kind alone."""
    chosen = tuple(node for node in nodes if of is None or isinstance(node, of))
    return [node for _, node in nodes_with_paths(chosen) if not isinstance(node, Block)]


def _own_output(claim: Claim, step: Step) -> str | None:
    """How the source of the document, or a more exact figure in its text, contradicts a figure in its text."""
    if claim.mark != "stated" or claim.what == "outcome" or claim.reported == NOT_A_NUMBER:
        return None
    same = [
        other
        for other in step.claims
        if (other.what, other.on, other.epoch) == (claim.what, claim.on, claim.epoch) and other.reported != NOT_A_NUMBER
    ]
    printed = [other for other in same if other.mark == "source"]
    exact = [other for other in same if other.sense == "exactly" != claim.sense]
    for others, says in ((printed, "the output of the document says"), (exact, "the document itself also says")):
        if others and not agrees(claim, others[0].value):
            return f"{says} {others[0].reported}"
    return None


def agrees(claim: Claim, value: float) -> bool:
    """Whether a figure agrees with a claim: to the last digit; "about": within one of it; "above": above it."""
    match claim.sense:
        case "exactly":
            return abs(value - claim.value) <= claim.unit / 2 + 1e-12
        case "about":
            return abs(value - claim.value) <= claim.unit + 1e-12
        case "above":
            return value > claim.value


def constant_prediction(correct: int, class_counts: Sequence[int]) -> int | None:
    """The class that a net always predicts, if its correct predictions are exactly the images of one class.

    >>> constant_prediction(6265, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    7
    """
    return class_counts.index(correct) if correct in class_counts else None


def _judge_outcome(claim: Claim, replays: Sequence[Replay], before: Sequence[Replay]) -> ClaimVerdict:
    accuracies = [_last_accuracy(replay) for replay in replays]
    learnt = sum(accuracy > LEARNT for accuracy in accuracies)
    n = len(replays)
    diverged = sum(replay.is_diverged for replay in replays)
    how = _listed_endings(replays)
    match claim.reported:
        case "diverges" | "does not converge":
            kind: Kind = "confirmed" if learnt == 0 else _missed(n)
            return ClaimVerdict(claim=claim, kind=kind, sentence=how)
        case "converges":
            kind = "confirmed" if learnt == n and not diverged else _missed(n)
            return ClaimVerdict(claim=claim, kind=kind, sentence=how)
        case _:
            return _judge_unchanged(claim, accuracies, [_last_accuracy(replay) for replay in before])


def _judge_unchanged(claim: Claim, after: Sequence[float], before: Sequence[float]) -> ClaimVerdict:
    """Confirmed if the interval of the difference (Welch 1947) includes 0 and is narrow: within half the errors of the
    step before. A wider one, of up to five points, could hardly have shown a change."""
    from flyweight.evidence.effect import difference

    if len(after) < 2 or len(before) < 2:
        sentence = "comparing needs two seeds of this step and of the one before"
        return ClaimVerdict(claim=claim, kind="undecided" if before else "not run", sentence=sentence)
    effect = difference(before, after)
    low, high = (effect.low or 0.0), (effect.high or 0.0)
    sentence = (
        f"{100 * effect.effect:+.2f} points compared with the step before ({100 * low:+.2f} to {100 * high:+.2f} with "
        f"{len(before)} and {len(after)} seeds)"
    )
    if low > 0 or high < 0:
        return ClaimVerdict(claim=claim, kind="not reproduced", sentence=sentence)
    shown = max(-low, high)
    if shown <= min(UNCHANGED, (1 - sum(before) / len(before)) / 2):
        return ClaimVerdict(claim=claim, kind="confirmed", sentence=sentence)
    if shown <= UNCHANGED:
        sentence += f"; only a change of more than {100 * (high - low) / 2:.2f} points would show"
        return ClaimVerdict(claim=claim, kind="not contradicted", sentence=sentence)
    return ClaimVerdict(claim=claim, kind="undecided", sentence=sentence)


def _listed_endings(replays: Sequence[Replay]) -> str:
    """How the seeds ended: "3 of 3 seeds diverged", or the accuracies."""
    n, diverged = len(replays), sum(replay.is_diverged for replay in replays)
    words = [f"{diverged} of {counted(n, 'seed')} diverged"] if diverged else []
    rest = [_last_accuracy(replay) for replay in replays if not replay.is_diverged]
    if rest:
        words.append(f"{', '.join(f'{100 * accuracy:.2f} %' for accuracy in rest)} as reported")
    return "; ".join(words)


def _judge_divergence(claim: Claim, step: Step, replays: Sequence[Replay]) -> ClaimVerdict:
    """A diverged net (NaN) predicts class 0 for every image: argmax of ten NaN values is the first."""
    n, diverged = len(replays), sum(replay.is_diverged for replay in replays)
    if claim.reported == NOT_A_NUMBER:
        kind: Kind = "confirmed" if diverged else _missed(n)
        return ClaimVerdict(claim=claim, kind=kind, sentence=f"{diverged} of {counted(n, 'seed')} diverged")
    if claim.what == "loss" or claim.on == "train":
        sentence = f"{diverged} of {counted(n, 'seed')} diverged; this figure depends on the step at which they do"
        return ClaimVerdict(claim=claim, kind="not derivable", sentence=sentence)
    counts = replays[0].class_counts
    share = counts[0] / sum(counts)
    always = f"{counts[0]:,} of {sum(counts):,} = {100 * share:.2f} %"
    if agrees(claim, share):
        sentence = f"{diverged} of {counted(n, 'seed')} diverged; the prediction is then always 0: {always}"
        return ClaimVerdict(claim=claim, kind="confirmed", sentence=sentence)
    sentence = f"{diverged} of {counted(n, 'seed')} diverged, which is {always}"
    return ClaimVerdict(claim=claim, kind=_outside(step, n), sentence=sentence + _because(step))


def _judge_figure(claim: Claim, step: Step, replays: Sequence[Replay]) -> ClaimVerdict:
    collapse = _judge_collapse(claim, replays)
    if collapse:
        return collapse
    figures, summary = _figures(claim, replays), _replayed(claim, replays)
    if summary is None:
        sentence = f"the runs have no such figure (epoch {claim.epoch})"
        return ClaimVerdict(claim=claim, kind="not derivable", sentence=sentence)
    reach = _reach(claim, figures, summary)
    low, high = max(0.0, summary.mean - reach), summary.mean + reach
    high = min(1.0, high) if claim.what == "accuracy" else high
    shown = f"replayed {_replayed_text(claim, summary, low, high)}"
    is_inside = (
        summary.mean + reach > claim.value
        if claim.sense == "above"
        else abs(summary.mean - claim.value) <= reach + claim.unit * (1 if claim.sense == "about" else 0.5)
    )
    kind: Kind = "confirmed"
    sentence = shown
    if is_inside and not _could_have_failed(claim, summary.mean, reach):
        kind, sentence = (
            "not contradicted",
            f"{shown}; only a deviation of more than {_deviation(claim, reach)} would show",
        )
    elif not is_inside:
        side = "less" if summary.mean < claim.value else "more"
        kind, sentence = _outside(step, summary.n), f"{side} than reported: {shown}{_because(step)}"
    return ClaimVerdict(claim=claim, kind=kind, sentence=sentence, replayed=summary, low=low, high=high)


def _reported_collapse(claim: Claim, replays: Sequence[Replay]) -> int | None:
    """The class if a reported accuracy is that of a constant prediction; NaN predicts 0."""
    if claim.what != "accuracy" or claim.correct is None:
        return None
    return constant_prediction(claim.correct, replays[0].class_counts) or None


def _judge_collapse(claim: Claim, replays: Sequence[Replay]) -> ClaimVerdict | None:
    """A reported accuracy of a constant prediction: the class is chance, so any constant prediction confirms it."""
    answer = _reported_collapse(claim, replays)
    if answer is None:
        return None
    found = [constant_prediction(_correct(claim, replay), replay.class_counts) for replay in replays]
    # A net of NaN predicts 0, which is no collapse to a class: the document's net still had a loss.
    collapsed = [
        answer for answer, replay in zip(found, replays, strict=True) if answer is not None and not replay.is_diverged
    ]
    n = len(replays)
    always = f"{claim.correct:,} of {claim.images:,} is the prediction {answer} for every image"
    if collapsed:
        classes = ", ".join(map(str, collapsed))
        sentence = f"{always}; {len(collapsed)} of {counted(n, 'seed')} ended with a constant prediction: {classes}"
        return ClaimVerdict(claim=claim, kind="confirmed", sentence=sentence, replayed=_replayed(claim, replays))
    sentence = f"{always}; none of {counted(n, 'seed')} ends like this: {_listed_endings(replays)}"
    return ClaimVerdict(claim=claim, kind=_missed(n), sentence=sentence, replayed=_replayed(claim, replays))


def _correct(claim: Claim, replay: Replay) -> int:
    figure = _figure(claim, replay)
    if replay.is_diverged:
        return replay.class_counts[0]
    return figure.correct if isinstance(figure, ReportedFigures) else -1


def _reach(claim: Claim, figures: Sequence[Figure], summary: Summary) -> float:
    """How far one more run can be from the replayed mean, with 95 % probability.

    Several seeds: Student's prediction interval, t s sqrt(1 + 1/n). The images are the same in all of them, so their
    noise is in none of the differences. A single seed: the normal interval of a difference of two figures on so many
    images, which is all that is known then.
    """
    if summary.sd is not None:
        return t_quantile(0.95, summary.n - 1) * summary.sd * math.sqrt(1 + 1 / summary.n)
    return NORMAL_95 * math.sqrt(2) * max(_image_error(claim, figure) for figure in figures)


def _could_have_failed(claim: Claim, mean: float, reach: float) -> bool:
    """Whether figures that are clearly other than claimed would lie outside: of half the errors or half the loss.

    A claim of "above" must be met by the replayed mean itself.
    """
    if claim.sense == "above":
        return mean > claim.value
    scale = claim.value if claim.what == "loss" else min(claim.value, 1 - claim.value)
    return reach <= max(scale / 2, claim.unit)


def _deviation(claim: Claim, reach: float) -> str:
    return f"{100 * reach:.2f} points" if claim.what == "accuracy" else figure_text(claim, reach)


def _image_error(claim: Claim, figure: Figure) -> float:
    if claim.what == "loss":
        return figure.loss_error or 0.0
    images = figure.count if isinstance(figure, ReportedFigures) else claim.images or 1
    return math.sqrt(figure.accuracy * (1 - figure.accuracy) / images)


def _outside(step: Step, n: int) -> Kind:
    return "not derivable" if _undecided(step) else _missed(n)


def _missed(n: int) -> Kind:
    """The kind of a claim that the replays do not support; one seed does not show the spread."""
    return "undecided" if n == 1 else "not reproduced"


def _undecided(step: Step) -> list[str]:
    """The assumed keys that affect a figure."""
    return [key for key in step.assumed if key in DECISIVE]


def _because(step: Step) -> str:
    undecided = _undecided(step)
    return f"; the document does not say {', '.join(undecided)}" if undecided else ""


def _replayed(claim: Claim, replays: Sequence[Replay]) -> Summary | None:
    figures = _figures(claim, replays)
    values = [figure.loss if claim.what == "loss" else figure.accuracy for figure in figures]
    known = [value for value in values if value is not None]
    return mean_interval(known) if known else None


def _figures(claim: Claim, replays: Sequence[Replay]) -> list[Figure]:
    """The figure of each replay that a claim is about, where there is one."""
    return [figure for replay in replays if (figure := _figure(claim, replay)) is not None]


def _figure(claim: Claim, replay: Replay) -> Figure | None:
    """The figure of a replay that a claim is about: of the best epoch by test, the given epoch, or the last."""
    epoch = _epoch(claim, replay)
    if epoch is None:
        return None
    figure: Figure | None = getattr(epoch, claim.on or "test")
    return figure


def _epoch(claim: Claim, replay: Replay) -> ReportedEpoch | None:
    if not replay.epochs:
        return None
    if claim.is_best:
        return best_by_test(replay)
    if claim.epoch is None:
        return replay.epochs[-1]
    return next((epoch for epoch in replay.epochs if epoch.epoch == claim.epoch), None)


def best_by_test(replay: Replay) -> ReportedEpoch | None:
    """The best epoch on the test images, as some documents select it."""
    tested = [(epoch.test.accuracy, epoch) for epoch in replay.epochs if epoch.test is not None]
    return max(tested, key=lambda one: one[0], default=(0.0, None))[1]


def _last_accuracy(replay: Replay) -> float:
    """The reported accuracy after the last epoch; a diverged net predicts 0."""
    if replay.is_diverged or not replay.epochs:
        return replay.class_counts[0] / sum(replay.class_counts)
    last = replay.epochs[-1].test or replay.epochs[-1].validation
    return last.accuracy if last else 0.0


def clean_accuracy(replays: Sequence[Replay]) -> Summary | None:
    measured = [replay.clean for replay in replays if replay.clean is not None]
    if not measured:
        return None
    summary = mean_interval([one.accuracy for one in measured])
    if summary.n > 1:
        return summary
    low, high = wilson(measured[0].correct, measured[0].count)
    return Summary(
        n=1, mean=summary.mean, sd=None, low=low, high=high, minimum=summary.minimum, maximum=summary.maximum
    )


def figure_text(claim: Claim, value: float) -> str:
    """A figure like that of a claim: an accuracy in percent, a loss with one digit more than was reported.

    >>> figure_text(Claim(what="loss", reported="0.0001", mark="source"), 0.000134)
    '0.00013'
    """
    if claim.what == "accuracy":
        return f"{100 * value:.2f} %"
    return f"{value:.{1 + round(-math.log10(claim.unit))}f}"


def _replayed_text(claim: Claim, summary: Summary, low: float, high: float) -> str:
    """The replayed figure, and the range of one more run."""
    between = f"{figure_text(claim, low)} to {figure_text(claim, high)}"
    if summary.sd is None:
        return f"{figure_text(claim, summary.mean)} by one seed; 95 % sampling error of the images: {between}"
    mean, spread = figure_text(claim, summary.mean).removesuffix(" %"), figure_text(claim, summary.sd)
    return f"{mean} ± {spread} by {summary.n} seeds; 95 % of further runs: {between}"
