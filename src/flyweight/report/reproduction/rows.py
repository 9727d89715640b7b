"""Documents as table rows: short cells for a terminal, numbers for programs.

Goes in: verdicts on the steps of a document. Comes out: plain values in the order of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flyweight.evidence.stats import Summary, mean_interval
from flyweight.reproductions.document import Claim, Step
from flyweight.reproductions.runs import Replay
from flyweight.reproductions.verdicts import KINDS, ClaimVerdict, Kind, StepVerdict

SHORT_OUTCOMES: Final = {
    "diverges": "diverges",
    "converges": "learns",
    "does not converge": "fails",
    "unchanged": "the same",
}
# The verdicts in the short columns of a terminal.
SHORT_KINDS: Final[dict[str, tuple[Kind, ...]]] = {
    "ok": ("confirmed",),
    "weak": ("not contradicted", "consistent by construction"),
    "no": ("not reproduced",),
    "bad": ("refuted",),
    "open": ("not derivable", "undecided", "not run"),
}


def terminal_rows(verdicts: Sequence[StepVerdict]) -> list[dict[str, Any]]:
    """A row per step with short cells, less than 80 columns wide; accuracies in percent."""
    return [
        {
            "step": verdict.step.name,
            "params": verdict.cost.params,
            "reported %": _short_reported(verdict.headline),
            "replayed %": _short_replayed(verdict),
            "clean %": _short_spread(verdict.clean),
            "n": len(verdict.replays),
            **{short: sum(one.kind in kinds for one in verdict.claims) or "" for short, kinds in SHORT_KINDS.items()},
        }
        for verdict in verdicts
    ]


def step_rows(verdicts: Sequence[StepVerdict]) -> list[dict[str, Any]]:
    """A row per step for programs; accuracies are fractions, missing values None."""
    return list(map(_numbers, verdicts))


def _numbers(verdict: StepVerdict) -> dict[str, Any]:
    replayed, clean = headline_figures(verdict), verdict.clean
    return {
        "step": verdict.step.name,
        "label": verdict.step.label,
        "params": verdict.cost.params,
        "reported": verdict.headline.claim.reported if verdict.headline else None,
        "replayed": replayed.mean if replayed else None,
        "replayed_sd": replayed.sd if replayed else None,
        "clean": clean.mean if clean else None,
        "clean_low": clean.low if clean else None,
        "clean_high": clean.high if clean else None,
        "n": len(verdict.replays),
        "diverged": verdict.n_diverged,
        "seconds": verdict.seconds,
        **{kind.replace(" ", "_"): sum(one.kind == kind for one in verdict.claims) for kind in KINDS},
    }


def claim_rows(verdicts: Sequence[StepVerdict]) -> list[dict[str, Any]]:
    """A row per claim for programs; accuracies are fractions, missing values None."""
    return [
        {
            "step": verdict.step.name,
            "claim": subject(verdict.step, one.claim),
            "what": one.claim.what,
            "on": one.claim.on,
            "epoch": one.claim.epoch,
            "reported": one.claim.reported,
            "mark": one.claim.mark,
            "verdict": one.kind,
            "replayed": one.replayed.mean if one.replayed else None,
            "sd": one.replayed.sd if one.replayed else None,
            "low": one.low,
            "high": one.high,
            "n": len(verdict.replays),
            "why": one.sentence,
        }
        for verdict in verdicts
        for one in verdict.claims
    ]


def short_claim_rows(verdicts: Sequence[StepVerdict]) -> list[dict[str, Any]]:
    """A row per claim for people; the last cell is long."""
    return [
        {
            "step": verdict.step.name,
            "reported": one.claim.reported,
            "verdict": one.kind,
            "claim": f"{subject(verdict.step, one.claim)}: {one.sentence}",
        }
        for verdict in verdicts
        for one in verdict.claims
    ]


def subject(step: Step, claim: Claim) -> str:
    """The subject of a claim; where the document calls training images test images, it says so."""
    if claim.on == "test" and step.recipe.protocol.evaluate_on == "train":
        called = claim.subject.replace("test ", '"test" ', 1)
        return f"{called}, on the training images"
    return claim.subject


def last_as_reported(replay: Replay) -> float | None:
    """Accuracy of the last epoch as the document measures it; None if the run diverged."""
    if replay.is_diverged or not replay.epochs:
        return None
    last = replay.epochs[-1].test or replay.epochs[-1].validation
    return last.accuracy if last else None


def headline_figures(verdict: StepVerdict) -> Summary | None:
    """The figure of the main claim of a step; for an outcome, accuracy after the last epoch."""
    if verdict.headline and verdict.headline.claim.what != "outcome":
        return verdict.headline.replayed
    accuracies = [accuracy for replay in verdict.replays if (accuracy := last_as_reported(replay)) is not None]
    return mean_interval(accuracies) if accuracies else None


def _short_reported(headline: ClaimVerdict | None) -> str:
    if headline is None:
        return ""
    if headline.claim.what == "outcome":
        return SHORT_OUTCOMES[headline.claim.reported]
    return headline.claim.reported.removesuffix(" %").replace("about ", "~").replace("above ", ">")


def _short_replayed(verdict: StepVerdict) -> str:
    if not verdict.n_diverged:
        return _short_spread(headline_figures(verdict))
    return "diverged" if verdict.n_diverged == len(verdict.replays) else f"{verdict.n_diverged} diverged"


def _short_spread(summary: Summary | None) -> str:
    if summary is None:
        return ""
    spread = "" if summary.sd is None else f"±{100 * summary.sd:.2f}"
    return f"{100 * summary.mean:.2f}{spread}"
