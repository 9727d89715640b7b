"""The doctor during a run: judge epochs and steps as they come, report each finding once, and optionally stop the run.

In: the events of a run. Out: `Found` events, and a reason to stop. It does not touch the net, so the weights are equal
to the bit with and without it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from flyweight.diagnose.subjects import subject_of_recipe
from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import Severity
from flyweight.doctor.rule import Rule
from flyweight.doctor.subject import Subject
from flyweight.doctor.table import RULES
from flyweight.errors import in_one_line
from flyweight.experiment.events import EpochDone, Event, Found, Started, Stepped
from flyweight.experiment.monitor import MakeMonitor
from flyweight.experiment.resolved import ResolvedRecipe
from flyweight.records.results import EpochLine
from flyweight.train.metrics import EpochMetrics

STOPPED: Final = "stopped by the doctor"

# The loss of guessing is ln(classes). Three times that after the first steps means that the weights have moved far
# away; a loss that was only high at the start has come down by then.
TIMES_GUESSING: Final = 3.0
MIN_STEPS: Final = 20
HIGH_LOSS: Final = "loss far above that of guessing"
HIGH_LOSS_CODE: Final = "LR01"  # the rule that explains it


def rules_before(rules: Sequence[Rule] = RULES) -> tuple[Rule, ...]:
    """The rules that need only the recipe."""
    return tuple(rule for rule in rules if not rule.needs)


def rules_during(rules: Sequence[Rule] = RULES) -> tuple[Rule, ...]:
    """The rules that need only the epochs so far."""
    return tuple(rule for rule in rules if rule.needs == ("history",))


@in_one_line
def monitor(*, may_stop: bool = False) -> MakeMonitor:
    """The `monitor` argument of `run` and `run_seeds`: the doctor checks each epoch.

    may_stop: a fault in the epochs or steps also stops the run, which can be resumed.
    """
    return functools.partial(_monitor, may_stop=may_stop)


def _monitor(recipe: ResolvedRecipe, history: Sequence[EpochMetrics], *, may_stop: bool) -> DoctorMonitor:
    return DoctorMonitor(subject=subject_of_recipe(recipe), may_stop=may_stop, history=list(map(epoch_line, history)))


@dataclass(kw_only=True)
class DoctorMonitor:
    """Monitors one run. subject: the recipe before any run. history: the epochs so far."""

    subject: Subject
    may_stop: bool
    history: list[EpochLine] = field(default_factory=list)
    rules: Sequence[Rule] = RULES
    reason: str = ""
    known: set[str] = field(default_factory=set)
    last_checked: Stepped | None = None

    def watch(self, event: Event) -> tuple[Found, ...]:
        """New findings after an event."""
        match event:
            case Started():
                return tuple(self._judge(rules_before(self.rules), event, epoch=0))
            case Stepped():
                return tuple(self._check_steps(event))
            case EpochDone():
                self.history.append(epoch_line(event.metrics))
                return tuple(self._judge(rules_during(self.rules), event, epoch=event.metrics.epoch))
        return ()

    def _judge(self, rules: Sequence[Rule], event: Started | EpochDone, *, epoch: int) -> Iterator[Found]:
        subject = replace(self.subject, history=tuple(self.history) or None)
        for one in diagnose(subject, rules=rules).alarms:
            yield from self._found(event, epoch=epoch, code=one.code, title=one.title, severity=one.severity)

    def _check_steps(self, event: Stepped) -> Iterator[Found]:
        """Judge the steps since the last check, since the running mean still includes the first steps."""
        before, self.last_checked = self.last_checked, event
        if before is None or before.epoch != event.epoch or before.step < MIN_STEPS:
            return
        if loss_between(before, event) > TIMES_GUESSING * math.log(self.subject.data.n_classes):
            yield from self._found(
                event, epoch=event.epoch, code=HIGH_LOSS_CODE, title=HIGH_LOSS, severity="fault", step=event.step
            )

    def _found(
        self,
        event: Started | Stepped | EpochDone,
        *,
        epoch: int,
        code: str,
        title: str,
        severity: Severity,
        step: int | None = None,
    ) -> Iterator[Found]:
        """Report a finding once. Findings of the recipe alone (epoch 0) do not stop the run."""
        if self.may_stop and severity == "fault" and epoch:
            self.reason = self.reason or f"{STOPPED}: {code} {title}"
        if code in self.known:
            return
        self.known.add(code)
        yield Found(
            run_id=event.run_id, seed=event.seed, epoch=epoch, step=step, code=code, title=title, severity=severity
        )


def loss_between(before: Stepped, after: Stepped) -> float:
    """The mean loss of the steps between two events of an epoch, from its running means."""
    steps = after.step - before.step
    return (after.loss * after.step - before.loss * before.step) / steps if steps else after.loss


def epoch_line(metrics: EpochMetrics) -> EpochLine:
    """An epoch as a line of the history; a loss that is not a number is None."""
    return EpochLine(
        epoch=metrics.epoch,
        train_loss=_finite(metrics.train_loss),
        train_accuracy=metrics.train_accuracy,
        validation_loss=_finite(metrics.validation_loss),
        validation_accuracy=metrics.validation_accuracy,
        lr=metrics.lr,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
