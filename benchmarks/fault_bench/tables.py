"""The fault bench as tables: rows of text, for the terminal and for docs/doctor.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.fault_bench.documents import DocumentReplay
from benchmarks.fault_bench.outcomes import Outcome
from benchmarks.fault_bench.planting import STRONG
from benchmarks.fault_bench.record import FaultBench
from benchmarks.fault_bench.remedies import RemedyTried
from benchmarks.fault_bench.scores import Share, mild_only, of_half, per_kind, scores, without_mild, without_reading

Rows = list[dict[str, object]]

# What the p of a trial must be below to count among the remedies that surely help.
SURE: Final = 0.01


def by_title(bench: FaultBench) -> dict[str, Rows]:
    """Every table by its title."""
    sure = share_in_words(sure_remedies(bench.remedies))
    return {
        "How often the doctor is right": score_rows(bench.outcomes),
        "By fault (* stands in the recipe)": kind_rows(bench.outcomes),
        "Weak faults": mild_rows(bench.outcomes),
        f"Remedies: {sure} better with p < {SURE}": remedy_rows(bench.remedies),
        "Faults of the documents": document_rows(bench.documents),
    }


def score_rows(outcomes: Sequence[Outcome]) -> Rows:
    """The figures, a row each, with those of both halves side by side and of the measured kinds alone."""
    main = without_mild(outcomes)
    sets = {
        "reporting half": scores(of_half(main, "reporting")),
        "without declared": scores(of_half(without_reading(main), "reporting")),
        "tuning half": scores(of_half(main, "tuning")),
    }
    names = {
        "recall": "recall, at any rank",
        "recall_at_first": "recall, at rank 1 or tied",
        "precision": "precision, all alarms",
        "strict_precision": "precision, first alarms, the fault itself",
        "false_alarms": "healthy runs with an alarm",
    }
    return [
        {"figure": words, **{title: share_in_words(getattr(found, name)) for title, found in sets.items()}}
        for name, words in names.items()
    ]


def share_in_words(share: Share) -> str:
    """A share with its counts; nothing where nothing was counted.

    >>> share_in_words(Share(hits=9, count=10))
    '90.0 % (9 of 10)'
    """
    return f"{100 * share.value:.1f} % ({share.hits} of {share.count})" if share.count else "-"


def kind_rows(outcomes: Sequence[Outcome]) -> Rows:
    """Each kind of fault: who names it, and in how many of the runs of each half."""
    halves = {half: per_kind(of_half(outcomes, half)) for half in ("reporting", "tuning")}
    return [
        {
            "fault": kind.name + (" *" if kind.is_declared else ""),
            "named by": ", ".join(kind.codes),
            **{half: _counts(found.get(kind.name)) for half, found in halves.items()},
        }
        for kind in STRONG
        if any(kind.name in found for found in halves.values())
    ]


def mild_rows(outcomes: Sequence[Outcome]) -> Rows:
    """What was planted weakly, both halves together: how often it is named, and what accuracy such runs have."""
    healthy = [one.accuracy for one in outcomes if not one.kind and one.accuracy is not None]
    usual = sum(healthy) / len(healthy) if healthy else 0.0
    rows: Rows = []
    for kind, share in per_kind(mild_only(outcomes)).items():
        accuracies = [one.accuracy for one in outcomes if one.kind == kind and one.accuracy is not None]
        mean = sum(accuracies) / len(accuracies) if accuracies else None
        rows.append(
            {
                "fault": kind,
                "named": _counts(share),
                "mean accuracy": "-" if mean is None else f"{100 * mean:.1f} %",
                "healthy runs have": f"{100 * usual:.1f} %",
            }
        )
    return rows


def _counts(share: Share | None) -> str:
    return f"{share.hits} of {share.count}" if share else "-"


def remedy_rows(remedies: Sequence[RemedyTried]) -> Rows:
    """Each remedy that was tried, the most helpful first."""
    return [
        {
            "fault": one.kind,
            "net": one.design,
            "code": one.code,
            "before": f"{100 * one.before:.2f} %",
            "after": f"{100 * one.after:.2f} %",
            "p": "-" if one.p is None else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}",
        }
        for one in sorted(remedies, key=lambda one: one.before - one.after)
    ]


def sure_remedies(remedies: Sequence[RemedyTried]) -> Share:
    """Of the remedies that claim a better net, those that made one with p < 0.01."""
    return Share(hits=sum(helps_surely(one) for one in remedies), count=len(remedies))


def helps_surely(remedy: RemedyTried) -> bool:
    return remedy.after > remedy.before and remedy.p is not None and remedy.p < SURE


def document_rows(replays: Sequence[DocumentReplay]) -> Rows:
    """Each fault of the documents, and where the doctor puts it."""
    return [
        {
            "fault of the documents": one.what,
            "step": one.step,
            "named by": one.code,
            "rank in the step": _rank(one),
            "rank alone": "-" if one.rank_alone is None else one.rank_alone,
        }
        for one in replays
    ]


def _rank(replay: DocumentReplay) -> str:
    if replay.rank is None:
        return "- (needs a run)" if replay.looked_at == "recipe" else "-"
    tied = f", {replay.ties} tied" if replay.ties > 1 else ""
    return f"{replay.rank}{tied} ({replay.looked_at})"


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many runs of what the figures are."""
    faulty = without_mild([one for one in outcomes if one.kind])
    mild = mild_only(outcomes)
    healthy = [one for one in outcomes if not one.kind]
    designs = {one.design for one in outcomes}
    return (
        f"{len(faulty)} faulty runs of {len({one.kind for one in faulty})} kinds and {len(healthy)} healthy runs of "
        f"{len(designs)} nets; {len(mild)} runs with weak faults, counted apart"
    )
