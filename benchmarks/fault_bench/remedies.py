"""Whether the advice helps: remedies of the faulty runs of the reporting half, each tried over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.fault_bench.cases import BenchCase
from flyweight.diagnose.examine import examine_run
from flyweight.diagnose.trial import try_remedy
from flyweight.doctor.finding import Finding
from flyweight.experiment.events import never
from flyweight.records.record import RunRecord
from flyweight.records.store import Store

SEEDS: Final = 5
# Seeds that no run of the bench has.
FIRST_SEED: Final = 50_000
QUICK_REMEDIES: Final = 2
NETS_PER_KIND: Final = 2


@dataclass(frozen=True, kw_only=True)
class RemedyTried:
    """One remedy that claims a better net: mean validation accuracy before and after over n seeds, paired p."""

    kind: str
    design: str
    code: str
    changes: tuple[str, ...]
    before: float
    after: float
    p: float | None
    n: int


def try_remedies(
    cases: Sequence[BenchCase],
    records: Mapping[str, RunRecord],
    store: Store,
    *,
    quick: bool = False,
    on_progress: Callable[[str], None] = lambda _words: None,
    should_stop: Callable[[], bool] = never,
) -> tuple[RemedyTried, ...]:
    """Try the first accuracy-claiming remedy of each kind in two nets of the reporting half, on seeds of their own."""
    tried: list[RemedyTried] = []
    for case, record, finding in _claims(cases, records, store):
        if should_stop() or (quick and len(tried) == QUICK_REMEDIES):
            break
        found = _tried(case, record, finding, store, should_stop)
        if found is not None:
            on_progress(f"{found.code} on {case.name}: {found.before:.2%} to {found.after:.2%}")
            tried.append(found)
    return tuple(tried)


def _claims(
    cases: Sequence[BenchCase], records: Mapping[str, RunRecord], store: Store
) -> Iterator[tuple[BenchCase, RunRecord, Finding]]:
    """Runs of each kind, in different nets, whose first alarms claim a better net, with the first of those."""
    nets: dict[str, set[str]] = {}
    for case in cases:
        if case.kind is None or case.kind.is_mild or case.design.half != "reporting" or case.name not in records:
            continue
        seen = nets.setdefault(case.kind.name, set())
        if case.design.name in seen or len(seen) == NETS_PER_KIND:
            continue
        record = records[case.name]
        alarms = examine_run(record.id, store).diagnosis.alarms
        firsts = [one for one in alarms if one.rank == 1 and one.remedy and one.remedy.gain == "accuracy"]
        if firsts:
            seen.add(case.design.name)
            yield case, record, firsts[0]


def _tried(
    case: BenchCase, record: RunRecord, finding: Finding, store: Store, should_stop: Callable[[], bool]
) -> RemedyTried | None:
    from flyweight.recipe import Recipe

    recipe = Recipe.model_validate(record.recipe)
    trial = try_remedy(
        recipe, finding, store=store, seeds=SEEDS, first_seed=FIRST_SEED, is_full=True, should_stop=should_stop
    )
    if trial is None or finding.remedy is None or case.kind is None:
        return None
    return RemedyTried(
        kind=case.kind.name,
        design=case.design.name,
        code=finding.code,
        changes=finding.remedy.changes,
        before=sum(trial.before) / len(trial.before),
        after=sum(trial.after) / len(trial.after),
        p=trial.paired.p if trial.paired else None,
        n=len(trial.before),
    )
