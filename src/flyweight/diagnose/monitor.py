"""The doctor during a run: what its epochs and steps show is judged at once, told once, and may end the run early.

Goes in: what the run tells of itself. Comes out: the same, and `Found` between it. It knows neither nets nor files, so
that a run which is overseen takes the same steps to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from flyweight.doctor.diagnosis import diagnose
from flyweight.doctor.finding import Rule, Severity
from flyweight.doctor.subject import Case, EpochLine
from flyweight.doctor.table import RULES
from flyweight.experiment.events import EpochDone, Event, Found, Started, Stepped
from flyweight.train.metrics import EpochMetrics

if TYPE_CHECKING:
    from flyweight.train.loop import Outcome

# off: nobody looks. tell: what is found is told. stop: a fault that the run shows ends it as well; it can be resumed.
Oversight: TypeAlias = Literal["off", "tell", "stop"]

STOPPED: Final = "stopped by the doctor"

# A net that guesses has a loss of ln(classes). Three times that, not in the first steps but after them, is the mark of
# weights that were thrown far away; a loss that was merely high at the start has come down by then.
TIMES_GUESSING: Final = 3.0
FEWEST_STEPS: Final = 20
FLEEING: Final = "loss far above that of guessing"
FLEEING_CODE: Final = "LR01"  # the rule that explains it


def rules_before(rules: Sequence[Rule] = RULES) -> tuple[Rule, ...]:
    """Those that need nothing but the recipe."""
    return tuple(rule for rule in rules if not rule.needs)


def rules_during(rules: Sequence[Rule] = RULES) -> tuple[Rule, ...]:
    """Those that need the epochs so far and nothing else of a run."""
    return tuple(rule for rule in rules if rule.needs == ("history",))


@dataclass(kw_only=True)
class Overseer:
    """Watches one run; `reason` is why it should end, when there is one.

    case: the recipe before any run. history: the epochs so far. pass_on: who is told of everything.
    """

    case: Case
    pass_on: Callable[[Event], None]
    may_stop: bool
    history: list[EpochLine] = field(default_factory=list)
    rules: Sequence[Rule] = RULES
    reason: str = ""
    known: set[str] = field(default_factory=set)
    last_look: Stepped | None = None

    def watch(self, event: Event) -> None:
        """Pass an event on, and after it what it shows."""
        self.pass_on(event)
        match event:
            case Started():
                self._judge(rules_before(self.rules), event, epoch=0)
            case Stepped():
                self._look(event)
            case EpochDone():
                self.history.append(epoch_line(event.metrics))
                self._judge(rules_during(self.rules), event, epoch=event.metrics.epoch)

    def asking(self, should_stop: Callable[[], bool]) -> Callable[[], bool]:
        """A question that is answered with yes when someone else says so, or when there is a reason here."""
        return lambda: should_stop() or (self.may_stop and bool(self.reason))

    def explained(self, outcome: Outcome) -> Outcome:
        """The end of a run with the reason, where it was ours."""
        if outcome.status != "interrupted" or not (self.may_stop and self.reason):
            return outcome
        return replace(outcome, message=f"{STOPPED}: {self.reason}; {outcome.message}")

    def _judge(self, rules: Sequence[Rule], event: Started | EpochDone, *, epoch: int) -> None:
        case = replace(self.case, history=tuple(self.history) or None)
        for one in diagnose(case, rules=rules).alarms:
            self._tell(event, epoch=epoch, code=one.code, title=one.title, severity=one.severity)

    def _look(self, event: Stepped) -> None:
        """Judge the steps since the look before; the running mean would still hold the first of them."""
        before, self.last_look = self.last_look, event
        if before is None or before.epoch != event.epoch or before.step < FEWEST_STEPS:
            return
        if loss_between(before, event) > TIMES_GUESSING * math.log(self.case.data.n_classes):
            self._tell(event, epoch=event.epoch, code=FLEEING_CODE, title=FLEEING, severity="fault", step=event.step)

    def _tell(
        self,
        event: Started | Stepped | EpochDone,
        *,
        epoch: int,
        code: str,
        title: str,
        severity: Severity,
        step: int | None = None,
    ) -> None:
        """Say it once. What the recipe alone shows was known when the run was asked for, and does not end it."""
        if severity == "fault" and epoch:
            self.reason = self.reason or f"{code} {title}"
        if code in self.known:
            return
        self.known.add(code)
        self.pass_on(
            Found(
                run_id=event.run_id,
                seed=event.seed,
                epoch=epoch,
                step=step,
                code=code,
                title=title,
                severity=severity,
            )
        )


def loss_between(before: Stepped, after: Stepped) -> float:
    """The mean loss of the steps between two looks at an epoch, from its running means."""
    steps = after.step - before.step
    return (after.loss * after.step - before.loss * before.step) / steps if steps else after.loss


def epoch_line(metrics: EpochMetrics) -> EpochLine:
    """An epoch as the rules know it; a loss that is not a number is None."""
    return EpochLine(
        epoch=metrics.epoch,
        train_loss=_finite(metrics.train_loss),
        train_accuracy=metrics.train_accuracy,
        validation_loss=_finite(metrics.validation_loss),
        validation_accuracy=metrics.validation_accuracy,
        lr=metrics.lr,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
