"""Print a diagnosis as text, as a quiz or as JSON, and suggest the next commands."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from flyweight.cli.doctor.named import NamedSubject
from flyweight.cli.doctor.teaching import ask_before
from flyweight.cli.doctor.trials import Outcome
from flyweight.cli.output import say, say_json, talk

if TYPE_CHECKING:
    from flyweight.diagnose.examine import Examined


def show_diagnosis(
    named: NamedSubject,
    examined: Examined,
    outcome: Outcome,
    *,
    teaches: bool,
    is_all: bool,
    as_json: bool,
) -> None:
    """Print a diagnosis and the next commands; teaches: as a quiz."""
    from flyweight.doctor.table import RULES
    from flyweight.report.diagnosis import text as words
    from flyweight.report.diagnosis.trials import trial_text

    subject, found, record = examined.subject, examined.diagnosis, examined.record
    if as_json:
        values = words.diagnosis_values(found, subject, record=record, n_rules=len(RULES))
        trials = [asdict(trial) for trial in outcome.trials]
        say_json(values | {"trials": trials, "changed": list(examined.changed)})
        return
    for fault in examined.changed:
        talk(f"the run is not as it was recorded: {fault}")
    if teaches:
        say(words.heading(subject, record))
        ask_before(examined, RULES)
        say("\n" + words.summary_text(found, n_rules=len(RULES), is_whole=record is not None or is_all))
    else:
        say(words.diagnosis_text(found, subject, record=record, n_rules=len(RULES), is_full=is_all))
    for trial in outcome.trials:
        say("\n" + trial_text(trial))
    commands = words.next_commands(
        found,
        named.name,
        changes=named.changes,
        is_recipe=named.is_recipe,
        tried=outcome.have_helped,
        options=named.location.options(),
    )
    if commands:
        say(("\n" if outcome.trials else "") + "\n".join(words.next_lines(commands)))
