"""`flyweight doctor`: what is wrong with a recipe or a run, why, and whether the remedy helps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from flyweight.cli.output import Flag, Place, say, say_json, talk
from flyweight.errors import MissingError, UsageError

if TYPE_CHECKING:
    from flyweight.doctor.diagnosis import Tried
    from flyweight.doctor.finding import Finding, Rule
    from flyweight.experiment.events import Event
    from flyweight.experiment.examine import Examined
    from flyweight.experiment.heal import HealStep
    from flyweight.experiment.prove import Proof
    from flyweight.experiment.signals import StopRequest
    from flyweight.recipe import Recipe
    from flyweight.records.record import RunRecord
    from flyweight.records.store import Store

FEWEST_SEEDS: Final = 2  # one seed knows no spread

# What can be asked for, and what goes with it; the empty one is a plain diagnosis.
TASKS: Final[Mapping[str, tuple[str, ...]]] = {
    "--code": ("--all", "--json"),
    "--lr": ("--set", "--seeds", "--json"),
    "--fix": ("--overwrite", "--set", "--seeds", "--full", "--teach", "--json"),
    "--prove": ("--set", "--seeds", "--full", "--no-probes", "--teach", "--all", "--json"),
    "": ("--set", "--no-probes", "--teach", "--all", "--json"),
}


def doctor(
    subject: str,
    /,
    *,
    lr: Annotated[bool, Flag] = False,
    code: Annotated[bool, Flag] = False,
    prove: Annotated[bool, Flag] = False,
    fix: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    teach: Annotated[bool, Flag] = False,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    seeds: int | None = None,
    full: Annotated[bool, Flag] = False,
    no_probes: Annotated[bool, Flag] = False,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: Annotated[bool, Flag] = False,
    place: Place | None = None,
) -> int:
    """Find what is wrong with a recipe, a run or a notebook, say why, and prove the remedy.

    $ flyweight doctor own/20k-fast

    $ flyweight doctor @latest --no-probes

    $ flyweight doctor own/8k --set train.lr=10 --json

    Parameters
    ----------
    subject
        A recipe (a name or a TOML file), a run (its id, @latest or @best), or with --code a notebook or script.
    lr
        Look for a range of good learning rates, over several seeds.
    code
        Read a training notebook or script as text, nothing of it is run, and name the faults that can be seen.
    prove
        Train with each proposed change and without it, side by side, and tell what it gave.
    fix
        Follow what helps, change by change, and write the healed recipe to this file.
    overwrite
        With --fix: replace a file that is there.
    teach
        Guess first: numbers are shown before what they mean.
    changes
        Change one key of a recipe first, KEY=VALUE; may be given several times.
    seeds
        With --prove, --fix or --lr: so many seeds.
    full
        With --prove or --fix: train as long as the recipe says, instead of a short while.
    no_probes
        Look at the records of a run alone; images and weights are not read.
    everything
        Notes in full as well, and each rule that could not be asked.
    json
        Print everything as JSON.
    """
    given = {
        "--lr": lr,
        "--code": code,
        "--fix": fix is not None,
        "--prove": prove,
        "--overwrite": overwrite,
        "--teach": teach,
        "--set": bool(changes),
        "--seeds": seeds is not None,
        "--full": full,
        "--no-probes": no_probes,
        "--all": everything,
        "--json": json,
    }
    _require_together([name for name, is_given in given.items() if is_given], seeds)
    place = place or Place()
    if code:
        return _read_code(Path(subject), is_all=everything, as_json=json)
    patient = Patient(subject=subject, changes=changes, place=place, has_probes=not no_probes)
    if lr:
        return _look_for_lr(patient, seeds, as_json=json)
    if fix is not None:
        return _heal(patient, _free(fix, overwrite=overwrite), seeds, is_full=full, teaches=teach, as_json=json)
    proofs: tuple[Proof, ...] = ()
    examined, stopped = patient.examined(), 0
    if prove:
        proofs, stopped = _prove(patient, examined, seeds, is_full=full)
        examined = patient.examined(proofs)
    _told(patient, examined, proofs, teaches=teach, is_all=everything, as_json=json)
    return stopped


def _require_together(given: Sequence[str], seeds: int | None) -> None:
    """One thing is done at a time, and only what belongs to it may be told."""
    task = next((name for name in TASKS if name in given), "")
    strange = [name for name in given if name != task and name not in TASKS[task]]
    if strange:
        named = " and ".join(strange)
        has = "has" if len(strange) == 1 else "have"
        owners = [name for name in TASKS if name and set(strange) <= set(TASKS[name])]
        beside = f"beside {task}" if task else f"without {' or '.join(owners) or 'others'}"
        raise UsageError(f"{named} {has} no place {beside}; `flyweight doctor --help` tells what goes with what.")
    if "--teach" in given and "--json" in given:
        raise UsageError("--teach asks a person and --json tells a program; give one of them.")
    if seeds is not None and seeds < FEWEST_SEEDS:
        raise UsageError(f"--seeds must be {FEWEST_SEEDS} or more, since one seed knows no spread, found {seeds}.")


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A recipe or a run, as it was named."""

    subject: str
    changes: tuple[str, ...]
    place: Place
    has_probes: bool

    @cached_property
    def store(self) -> Store:
        store: Store = self.place.store()
        store.mark_lost()
        return store

    @cached_property
    def is_recipe(self) -> bool:
        """Whether it is a recipe; what can only be said of the other kind is refused.

        Raises:
            UsageError: changes of a run.
        """
        from flyweight.recipe import is_recipe

        found = is_recipe(self.subject)
        if self.changes and not found:
            raise UsageError(f"--set changes a recipe, found the run {self.subject!r}; leave it out.")
        if found and not self.has_probes:
            raise UsageError("--no-probes is about a run, and a recipe is judged without probes; leave it out.")
        return found

    def examined(self, proofs: Sequence[Proof] = ()) -> Examined:
        """What is found, with what was tried: proofs of a run are kept beside it, those of a recipe are handed in."""
        from flyweight.doctor.diagnosis import diagnose
        from flyweight.experiment import examine

        if not self.is_recipe:
            return examine.examine_run(self.subject, self.store, with_probes=self.has_probes)
        from flyweight.recipe import load

        found = examine.examine_recipe(load(self.subject, overrides=self.changes))
        return found if not proofs else replace(found, diagnosis=diagnose(found.case, tried=tried_of(proofs)))

    def recipe(self) -> Recipe:
        """The recipe itself, or that of the run."""
        from flyweight.recipe import Recipe, load

        if self.is_recipe:
            return load(self.subject, overrides=self.changes)
        return Recipe.model_validate(self.store.get(self.subject).recipe)

    def named(self, record: RunRecord | None) -> str:
        """What it is called in a command: @latest may be another run tomorrow."""
        from flyweight.records.ids import SHORT_ID

        return self.subject if record is None else record.id[:SHORT_ID]


def tried_of(proofs: Sequence[Proof]) -> list[Tried]:
    from flyweight.doctor.diagnosis import Tried

    return [Tried(code=proof.code, has_helped=proof.has_helped, line=proof.line) for proof in proofs]


def _told(
    patient: Patient,
    examined: Examined,
    proofs: Sequence[Proof],
    *,
    teaches: bool,
    is_all: bool,
    as_json: bool,
) -> None:
    """Print a diagnosis, whole or guess by guess, and what one may type next."""
    from flyweight.doctor.table import RULES
    from flyweight.report import diagnosis as words
    from flyweight.report.trials import proof_text

    case, found, record = examined.case, examined.diagnosis, examined.record
    if as_json:
        values = words.diagnosis_values(found, case, record=record, n_rules=len(RULES))
        say_json(values | {"proofs": [asdict(proof) for proof in proofs]})
        return
    if teaches:
        say(words.heading(case, record))
        _ask_before(examined, RULES)
        say("\n" + words.summary_text(found, n_rules=len(RULES), is_whole=record is not None or is_all))
    else:
        say(words.diagnosis_text(found, case, record=record, n_rules=len(RULES), is_full=is_all))
    for proof in proofs:
        say("\n" + proof_text(proof))
    commands = words.next_commands(
        found,
        patient.named(record),
        changes=patient.changes,
        is_recipe=patient.is_recipe,
        tried={proof.code: proof.has_helped for proof in proofs},
        options=patient.place.options(),
    )
    if commands:
        say(("\n" if proofs else "") + "\n".join(words.next_lines(commands)))


def _ask_before(examined: Examined, rules: Sequence[Rule]) -> None:
    """Each alarm as a question first, as long as somebody answers; notes as they are."""
    from flyweight.report.diagnosis import finding_text, told_after_a_guess

    found, recipe = examined.diagnosis.findings, examined.recipe
    seed = examined.record.id if examined.record else recipe.name
    codes = {one.code for one in found}
    somebody = is_answered()
    for number, finding in enumerate(found, 1):
        if finding.severity == "note" or not somebody:
            say("\n" + finding_text(finding, recipe))
            continue
        say(f"\n{number} of {len(found)}")
        somebody = _asked(finding, rules, codes=codes, seed=seed)
        say(told_after_a_guess(finding, recipe))


def _asked(finding: Finding, rules: Sequence[Rule], *, codes: Collection[str], seed: str) -> bool:
    """Show numbers and titles, and judge the answer; whether there was one."""
    from flyweight.report.teaching import question_of, question_text, verdict_on

    question = question_of(finding, rules, found=codes, seed=seed)
    say(question_text(question))
    answer = guess(f"  which one, 1 to {len(question.titles)}? ")
    verdict = verdict_on(question, answer or "")
    print(f"  {verdict}\n" if verdict else "")
    return answer is not None


def is_answered() -> bool:
    """Whether there is a person to ask; without a terminal nobody is kept waiting."""
    return sys.stdin is not None and sys.stdin.isatty()


def guess(question: str) -> str | None:
    """The line that was typed; None at the end of all input."""
    print(question, end="", flush=True)
    line = sys.stdin.readline()
    return line if line else None


def _prove(patient: Patient, examined: Examined, seeds: int | None, *, is_full: bool) -> tuple[tuple[Proof, ...], int]:
    """Try the remedy of each alarm, the first first; the proofs that were finished, and the exit code of a stop."""
    from flyweight.experiment.prove import keep_proofs, prove

    found = [one for one in examined.diagnosis.alarms if one.remedy is not None]
    if not found:
        talk("there is no remedy to try")
        return (), 0
    proofs: list[Proof] = []
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    with _attended() as (watch, stop):
        for one in found:
            talk(f"trying {one.code}, {one.title}")
            proof = prove(
                examined.recipe,
                one,
                store=patient.store,
                is_full=is_full,
                watch=watch,
                should_stop=stop,
                **settings,
            )
            if proof is None:
                talk("stopped and saved; the same command goes on")
                break
            talk(f"{one.code}: {proof.line}")
            proofs.append(proof)
            if examined.record is not None:
                keep_proofs(patient.store.folder(examined.record.id), [proof])
        return tuple(proofs), stop.exit_code if stop() else 0


@contextmanager
def _attended() -> Iterator[tuple[Callable[[Event], None], StopRequest]]:
    """Someone who shows the runs, and something that asks to stop at Ctrl-C."""
    from flyweight.cli.watch import announce_compiling, watching_trials
    from flyweight.experiment.signals import stopping_on_signals

    announce_compiling()
    with stopping_on_signals() as stop, watching_trials() as show:
        yield show, stop


def _look_for_lr(patient: Patient, seeds: int | None, *, as_json: bool) -> int:
    """The range test of a recipe, or of that of a run."""
    from flyweight.cli.watch import announce_compiling
    from flyweight.experiment.lr_range import lr_range
    from flyweight.experiment.signals import stopping_on_signals
    from flyweight.report.diagnosis import next_lines, train_command
    from flyweight.report.trials import lr_range_text, seed_words

    recipe = patient.recipe()
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    announce_compiling()
    with stopping_on_signals() as stop:
        found = lr_range(
            recipe, watch=lambda one: talk(f"seed {one.seed}  {seed_words(one)}"), should_stop=stop, **settings
        )
    if found is not None and as_json:
        say_json({"recipe": recipe.name, **asdict(found)})
    elif found is not None:
        say(lr_range_text(found, name=recipe.name))
        if patient.is_recipe and found.suggestion is not None and found.where != "inside":
            change = f"train.lr={found.suggestion:.3g}"
            say("\n".join(next_lines([train_command(patient.subject, (*patient.changes, change))])))
    if stop():
        talk("stopped before all seeds were over")
    return stop.exit_code if stop() else 0


def _read_code(path: Path, *, is_all: bool, as_json: bool) -> int:
    """The faults that can be seen in somebody's notebook or script."""
    from flyweight.doctor.code.reading import read_code
    from flyweight.report.code_reading import code_text

    found = read_code(path)
    if as_json:
        say_json(asdict(found))
    else:
        say(code_text(found, is_full=is_all))
    return 0


def _heal(patient: Patient, path: Path, seeds: int | None, *, is_full: bool, teaches: bool, as_json: bool) -> int:
    """The guided walk, told step by step, and the recipe that it ends with as a file."""
    from flyweight.experiment.heal import heal
    from flyweight.report.trials import healing_text, healing_values, step_text

    recipe = patient.recipe()
    told: list[HealStep] = []
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}

    def tell(step: HealStep) -> None:
        before = told[-1].recipe if told else recipe
        told.append(step)
        if as_json:
            talk(f"{step.finding.code}: {step.line}")
            return
        say(f"step {len(told)}")
        is_asked = teaches and _is_guessed(step.finding, seed=recipe.name)
        say(step_text(step, before, is_guessed=is_asked))
        print()
        sys.stdout.flush()  # the next step may take minutes

    with _attended() as (watch, stop):
        found = heal(
            recipe,
            store=patient.store,
            is_full=is_full,
            on_step=tell,
            watch=watch,
            should_stop=stop,
            **settings,
        )
    written = None if found.recipe == recipe else _write(found.recipe, path)
    if as_json:
        say_json(healing_values(found) | {"written": written})
    else:
        say(healing_text(found, written=written, options=patient.place.options()))
    return stop.exit_code if stop() else 0


def _is_guessed(finding: Finding, *, seed: str) -> bool:
    """Show the numbers of a finding and ask what they mean, if there is somebody to ask."""
    from flyweight.doctor.table import RULES

    return is_answered() and _asked(finding, RULES, codes={finding.code}, seed=seed)


def _write(recipe: Recipe, path: Path) -> str:
    """A recipe of its own name, with only what is not as usual."""
    from flyweight.recipe import dumps
    from flyweight.records.folder import write_text

    named = recipe.model_copy(update={"name": path.stem, "description": f"{recipe.name}, healed by the doctor."})
    try:
        write_text(path, dumps(named, only_changes=True))
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror}; choose a folder that can be written.") from error
    return str(path)


def _free(path: Path, *, overwrite: bool) -> Path:
    """A file that may be written, before anything is spent on what is to stand in it."""
    if path.suffix != ".toml":
        raise UsageError(f"--fix writes a recipe, whose file must end in .toml, found {str(path)!r}.")
    if path.is_dir() or (path.exists() and not overwrite):
        way_out = "choose another name" if path.is_dir() else "choose another name, or --overwrite it"
        raise UsageError(f"{path} exists already; {way_out}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--fix must name a file in a folder that is there, found {str(path)!r}.")
    return path
