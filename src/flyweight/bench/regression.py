"""A benchmark against a stored one: ratios, never seconds.

A ratio compares two things that were measured in turns on one machine, so it says something about the code. Those of
another machine, or of a run of another length, are shown beside each other and not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from flyweight.bench.record import BUSY, Benchmark
from flyweight.bench.rows import Row

# Rounds of a few steps scatter, more so where others use the machine too; what falls further than this has a reason. A
# smaller loss is for the full benchmark on an idle machine to show. Busy cores flatter us: the same code was 1.4 times
# as fast as the notebook's way, whose threads wait for one another, and 8.4 times while another program kept cores busy
# (n=1 each). So a stored record from a busy machine is not judged by.
MIN_SHARE: Final = 0.6

# Contenders that are not this package: which of the notebooks is the faster, and so stands at 1, is a matter of luck.
OTHERS: Final = ("notebook", "eager torch", "onnxruntime")

# What makes a machine another one; versions are not among them, for what they change is what one wants to see.
MACHINE: Final = ("processor", "architecture", "system", "cores", "cpu_capability", "device")

Judgement = Literal["held", "fell", "not judged", "new", "gone"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One ratio, stored and now; `new` and `gone` are those of one side alone."""

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
    """All ratios of both.

    `differences` say in words why they are not judged, and are empty where they are; `caution`, what to think of first.
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
        """What came out, in a sentence."""
        if self.differences:
            return f"not judged: {'; '.join(self.differences)}"
        judged = [one for one in self.verdicts if one.verdict in ("held", "fell")]
        if not judged:
            return "nothing judged: the two have no ratio in common"
        found = f"{len(self.fallen)} of {len(judged)} ratios fell below {MIN_SHARE} of the stored one"
        return f"{found}; {self.caution}" if self.fallen and self.caution else found


def check_regression(now: Benchmark, stored: Benchmark) -> RegressionCheck:
    """Compare the ratios of now with the stored ones, in the sections that were measured now."""
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
    caution = "others kept cores busy, so measure again first" if now.cores_taken > BUSY else ""
    return RegressionCheck(caution=caution, differences=differences, verdicts=verdicts)


def _is_flyweight(contender: str) -> bool:
    return not contender.startswith(OTHERS)


def _differences(now: Benchmark, stored: Benchmark) -> Iterator[str]:
    for name in MACHINE:
        here, there = now.machine.get(name), stored.machine.get(name)
        if here != there:
            yield f"{name} is {here}, stored was {there}"
    if stored.cores_taken > BUSY:
        yield f"others kept {stored.cores_taken:.1f} cores busy while the stored one was measured"
    if now.is_quick != stored.is_quick:
        yield f"this was {_length(now)}, stored was {_length(stored)}"
    for name in ("threads", "seeds"):
        here, there = getattr(now, name), getattr(stored, name)
        if here != there:
            yield f"--{name} was {here or 'not given'}, stored was {there or 'not given'}"


def _length(benchmark: Benchmark) -> str:
    return "a quick one" if benchmark.is_quick else "a full one"


def _ratios(rows: Iterator[Row]) -> dict[tuple[str, str, str], float]:
    return {(row.section, row.contender, row.quantity): row.ratio for row in rows if row.ratio is not None}


def _judgement(stored: float | None, now: float | None, *, is_judged: bool) -> Judgement:
    if stored is None:
        return "new"
    if now is None:
        return "gone"
    if not is_judged:
        return "not judged"
    return "fell" if now < MIN_SHARE * stored else "held"
