"""The regression check: compare the ratios of a benchmark, not its seconds, with those of an earlier one.

A ratio compares two contenders that were measured in turns on one machine, so a change is caused by the code. Ratios of
another machine, or of a benchmark of another length, are shown but not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from flyweight.bench.benchmark import Benchmark
from flyweight.bench.record import BUSY
from flyweight.bench.rows import Row

# Short rounds vary, more so on a busy machine; a larger drop than this has a cause. Smaller drops need the full
# benchmark on an idle machine. Busy cores inflate our ratio: the same code was 1.4 times as fast as the notebook, whose
# threads wait for one another, and 8.4 times as fast while another program used the cores (n=1 each). So an earlier
# result from a busy machine is not used to judge.
MIN_SHARE: Final = 0.6

# Contenders that are not this package. Which notebook is the fastest, and so has the ratio 1, is chance.
OTHERS: Final = ("notebook", "eager torch", "onnxruntime")

# Values that identify a machine; versions are not among them, since their effect is what the check should show.
MACHINE: Final = ("processor", "architecture", "system", "cores", "cpu_capability", "device")

Judgement = Literal["ok", "fell", "not judged", "new", "missing"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One ratio, stored and now; `new` and `missing` ratios are in only one of the two."""

    section: str
    contender: str
    quantity: str
    stored: float | None
    now: float | None
    verdict: Judgement

    def as_row(self) -> dict[str, Any]:
        return {
            "section": self.section,
            "contender": self.contender,
            "quantity": self.quantity,
            "stored": "" if self.stored is None else f"{self.stored:.2f}",
            "now": "" if self.now is None else f"{self.now:.2f}",
            "verdict": self.verdict,
        }


@dataclass(frozen=True, kw_only=True)
class RegressionCheck:
    """The verdicts on all ratios.

    differences: why the ratios are not judged; empty if they are. caution: advice before acting on a fallen ratio.
    """

    caution: str
    differences: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def fallen(self) -> tuple[Verdict, ...]:
        return tuple(one for one in self.verdicts if one.verdict == "fell")

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "min_share": MIN_SHARE}

    def summary(self) -> str:
        """The result in one sentence."""
        if self.differences:
            return f"not judged: {'; '.join(self.differences)}"
        judged = [one for one in self.verdicts if one.verdict in ("ok", "fell")]
        if not judged:
            return "nothing judged: the two results have no ratio in common"
        found = f"{len(self.fallen)} of {len(judged)} ratios fell below {MIN_SHARE} of the baseline"
        return f"{found}; {self.caution}" if self.fallen and self.caution else found


def check_regression(now: Benchmark, stored: Benchmark) -> RegressionCheck:
    """Compare the ratios of the sections in `now` with the stored ones."""
    differences = tuple(_differences(now, stored))
    sections = {row.section for row in now.rows}
    before = _ratios(row for row in stored.rows if row.section in sections)
    after = _ratios(iter(now.rows))
    verdicts = tuple(
        Verdict(
            section=section,
            contender=contender,
            quantity=quantity,
            stored=before.get(key),
            now=after.get(key),
            verdict=_judgement(before.get(key), after.get(key), is_judged=not differences and _is_flyweight(contender)),
        )
        for key in dict.fromkeys((*after, *before))
        for section, contender, quantity in (key,)
    )
    caution = "other programs used the cores, so measure again first" if now.cores_taken > BUSY else ""
    return RegressionCheck(caution=caution, differences=differences, verdicts=verdicts)


def _is_flyweight(contender: str) -> bool:
    return not contender.startswith(OTHERS)


def _differences(now: Benchmark, stored: Benchmark) -> Iterator[str]:
    for name in MACHINE:
        here, there = now.machine.get(name), stored.machine.get(name)
        if here != there:
            yield f"{name} is {here}, and was {there} in the baseline"
    if stored.cores_taken > BUSY:
        yield f"other programs used {stored.cores_taken:.1f} cores while the baseline was measured"
    if now.is_quick != stored.is_quick:
        yield f"this is {_length(now)}, and the baseline is {_length(stored)}"
    for name in ("threads", "seeds"):
        here, there = getattr(now, name), getattr(stored, name)
        if here != there:
            yield f"--{name} is {here or 'not given'}, and was {there or 'not given'} in the baseline"


def _length(benchmark: Benchmark) -> str:
    return "a quick benchmark" if benchmark.is_quick else "a full benchmark"


def _ratios(rows: Iterator[Row]) -> dict[tuple[str, str, str], float]:
    return {(row.section, row.contender, row.quantity): row.ratio for row in rows if row.ratio is not None}


def _judgement(stored: float | None, now: float | None, *, is_judged: bool) -> Judgement:
    if stored is None:
        return "new"
    if now is None:
        return "missing"
    if not is_judged:
        return "not judged"
    return "fell" if now < MIN_SHARE * stored else "ok"
