"""`flyweight doctor --prove`: the remedy of each alarm is tried, the first first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flyweight.cli.doctor.named import NamedSubject
from flyweight.cli.output import talk
from flyweight.errors import OverBudgetError, UsageError

if TYPE_CHECKING:
    from flyweight.diagnose.examine import Examined
    from flyweight.diagnose.trial import Proof
    from flyweight.execute.signals import StopRequest
    from flyweight.experiment.events import Event


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What came of trying remedies. untried: by code, why one cannot be tried. exit_code: of a stop, else 0."""

    proofs: tuple[Proof, ...] = ()
    untried: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0

    @property
    def have_helped(self) -> dict[str, bool]:
        """By code; what cannot be tried helps nobody."""
        return dict.fromkeys(self.untried, False) | {proof.code: proof.has_helped for proof in self.proofs}

    def told_in(self, examined: Examined) -> Examined:
        """The same diagnosis, with what cannot be tried; that says nothing against a finding, so ranks stay."""
        found = examined.diagnosis.findings
        told = tuple(replace(one, proof=self.untried.get(one.code, one.proof)) for one in found)
        return replace(examined, diagnosis=replace(examined.diagnosis, findings=told))


def try_remedies(named: NamedSubject, examined: Examined, seeds: int | None, *, is_full: bool) -> Trials:
    """Try the remedy of each alarm, the first first, until it is stopped."""
    from flyweight.diagnose.trial import keep_proofs, prove, untried

    found = [one for one in examined.diagnosis.alarms if one.remedy is not None]
    if not found:
        talk("there is no remedy to try")
        return Trials()
    proofs: list[Proof] = []
    reasons: dict[str, str] = {}
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    with attended() as (watch, stop):
        for one in found:
            talk(f"trying {one.code}, {one.title}")
            try:
                proof = prove(
                    examined.recipe,
                    one,
                    store=named.store,
                    is_full=is_full,
                    watch=watch,
                    should_stop=stop,
                    **settings,
                )
            except (UsageError, OverBudgetError) as error:
                reasons[one.code] = untried(error)
                talk(f"{one.code}: {reasons[one.code]}")
                continue
            if proof is None:
                probes = () if named.has_probes else ("--no-probes",)
                again = named.command("--prove", *settings_of(seeds, is_full=is_full), *probes)
                talk(f"stopped and saved; this goes on: {again}")
                break
            talk(f"{one.code}: {proof.line}")
            proofs.append(proof)
            if examined.record is not None:
                keep_proofs(named.store.folder(examined.record.id), [proof])
        return Trials(proofs=tuple(proofs), untried=reasons, exit_code=stop.exit_code if stop() else 0)


@contextmanager
def attended() -> Iterator[tuple[Callable[[Event], None], StopRequest]]:
    """Someone who shows the runs, and something that asks to stop at Ctrl-C."""
    from flyweight.cli.watch import announce_compiling, watching_trials
    from flyweight.execute.signals import stopping_on_signals

    announce_compiling()
    with stopping_on_signals() as stop, watching_trials() as show:
        yield show, stop


def settings_of(seeds: int | None, *, is_full: bool) -> tuple[str, ...]:
    """How remedies are tried, as options."""
    return (*(() if seeds is None else ("--seeds", str(seeds))), *(("--full",) if is_full else ()))
