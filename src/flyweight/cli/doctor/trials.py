"""`flyweight doctor --trial`: try the remedy of each alarm, in order."""

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
    from flyweight.diagnose.trial_record import Trial
    from flyweight.execute.signals import StopRequest
    from flyweight.experiment.events import Event


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of trials. untried: by code, why a remedy cannot be tried. exit_code: of a stop, else 0."""

    trials: tuple[Trial, ...] = ()
    untried: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0

    @property
    def have_helped(self) -> dict[str, bool]:
        """By code; False for a remedy that cannot be tried."""
        return dict.fromkeys(self.untried, False) | {trial.code: trial.has_helped for trial in self.trials}

    def noted_in(self, examined: Examined) -> Examined:
        """The diagnosis with a note on each remedy that cannot be tried; ranks do not change."""
        found = examined.diagnosis.findings
        noted = tuple(replace(one, trial=self.untried.get(one.code, one.trial)) for one in found)
        return replace(examined, diagnosis=replace(examined.diagnosis, findings=noted))


def try_remedies(named: NamedSubject, examined: Examined, seeds: int | None, *, is_full: bool) -> Outcome:
    """Try the remedy of each alarm in order, until stopped."""
    from flyweight.diagnose.trial import try_remedy, untried
    from flyweight.diagnose.trial_record import keep_trials

    found = [one for one in examined.diagnosis.alarms if one.remedy is not None]
    if not found:
        talk("there is no remedy to try")
        return Outcome()
    trials: list[Trial] = []
    reasons: dict[str, str] = {}
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    with watching_runs() as (watch, stop):
        for one in found:
            talk(f"trying {one.code}, {one.title}")
            try:
                trial = try_remedy(
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
            if trial is None:
                probes = () if named.has_probes else ("--no-probes",)
                again = named.command("--trial", *settings_of(seeds, is_full=is_full), *probes)
                talk(f"stopped and saved; continue with: {again}")
                break
            talk(f"{one.code}: {trial.line}")
            trials.append(trial)
            if examined.record is not None:
                keep_trials(named.store.folder(examined.record.id), [trial])
        return Outcome(trials=tuple(trials), untried=reasons, exit_code=stop.exit_code if stop() else 0)


@contextmanager
def watching_runs() -> Iterator[tuple[Callable[[Event], None], StopRequest]]:
    """A function that shows the runs, and a stop request that Ctrl-C sets."""
    from flyweight.cli.watch import announce_compiling, watching_trials
    from flyweight.execute.signals import STOPPING, stopping_on_signals

    announce_compiling()
    with stopping_on_signals(STOPPING) as stop, watching_trials() as show:
        yield show, stop


def settings_of(seeds: int | None, *, is_full: bool) -> tuple[str, ...]:
    """The settings of the trials as options of a command."""
    return (*(() if seeds is None else ("--seeds", str(seeds))), *(("--full",) if is_full else ()))
