"""`flyweight doctor`: what is wrong with a recipe or a run, why, and whether the remedy helps."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from flyweight import __version__
from flyweight.cli.output import Flag, Place, say, say_json, talk
from flyweight.errors import MissingError, OverBudgetError, RecipeError, UsageError

if TYPE_CHECKING:
    from flyweight.diagnose.examine import Examined
    from flyweight.diagnose.fix import HealStep
    from flyweight.diagnose.trial import Proof
    from flyweight.doctor.diagnosis import Tried
    from flyweight.doctor.finding import Finding
    from flyweight.doctor.rule import Rule
    from flyweight.execute.signals import StopRequest
    from flyweight.experiment.events import Event
    from flyweight.recipe import Recipe
    from flyweight.records.record import RunRecord
    from flyweight.records.store import Store

FEWEST_SEEDS: Final = 2  # one seed knows no spread
CODE: Final = (".py", ".ipynb")

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
    if subject.endswith(CODE):
        raise UsageError(f"{subject!r} is a notebook or script; `flyweight doctor --code {quote(subject)}` reads it.")
    patient = Patient(subject=subject, changes=changes, place=place, has_probes=not no_probes)
    if lr:
        return _look_for_lr(patient, seeds, as_json=json)
    if fix is not None:
        return _heal(patient, _free(fix, overwrite=overwrite), seeds, is_full=full, teaches=teach, as_json=json)
    trials, examined = Trials(), patient.examined()
    if prove:
        trials = _prove(patient, examined, seeds, is_full=full)
        examined = trials.told_in(patient.examined(trials.proofs))
    _told(patient, examined, trials, teaches=teach, is_all=everything, as_json=json)
    return trials.exit_code


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
        from flyweight.diagnose import examine
        from flyweight.doctor.diagnosis import diagnose

        if self.record is not None:
            return examine.examine_run(self.record.id, self.store, with_probes=self.has_probes)
        found = examine.examine_recipe(self.recipe)
        return found if not proofs else replace(found, diagnosis=diagnose(found.subject, tried=tried_of(proofs)))

    @cached_property
    def record(self) -> RunRecord | None:
        """The run; @latest may be another one after the next training."""
        return None if self.is_recipe else self.store.get(self.subject)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe itself, or that of the run.

        Raises:
            RecipeError: one that this version cannot read.
        """
        from flyweight.experiment.recorded import recipe_of
        from flyweight.recipe import load

        if self.record is not None:
            return recipe_of(self.record)
        try:
            return load(self.subject, overrides=self.changes)
        except RecipeError as error:
            raise RecipeError(f"{error}{self._newer()}") from None

    def _newer(self) -> str:
        """A hint for those who have the file of a newer version."""
        from flyweight.recipe import draft, flat, keys

        strange = flat(draft(self.subject)).keys() - {one.key for one in keys()}
        hint = f"\nThis is flyweight {__version__}, which does not know all of its keys; a newer version may."
        return hint if strange else ""

    @property
    def name(self) -> str:
        """What it is called in a command: @latest may be another run tomorrow."""
        from flyweight.records.ids import SHORT_ID

        return self.subject if self.record is None else self.record.id[:SHORT_ID]

    def command(self, *options: str) -> str:
        """What to type for this one, in the same place."""
        changes = (word for one in self.changes for word in ("--set", one))
        return " ".join(map(quote, ("flyweight", "doctor", self.name, *changes, *options))) + self.place.options()


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


def tried_of(proofs: Sequence[Proof]) -> list[Tried]:
    from flyweight.doctor.diagnosis import Tried

    return [Tried(code=proof.code, has_helped=proof.has_helped, line=proof.line) for proof in proofs]


def _told(
    patient: Patient,
    examined: Examined,
    trials: Trials,
    *,
    teaches: bool,
    is_all: bool,
    as_json: bool,
) -> None:
    """Print a diagnosis, whole or guess by guess, and what one may type next."""
    from flyweight.doctor.table import RULES
    from flyweight.report.diagnosis import text as words
    from flyweight.report.diagnosis.trials import proof_text

    subject, found, record = examined.subject, examined.diagnosis, examined.record
    if as_json:
        values = words.diagnosis_values(found, subject, record=record, n_rules=len(RULES))
        say_json(values | {"proofs": [asdict(proof) for proof in trials.proofs]})
        return
    if teaches:
        say(words.heading(subject, record))
        _ask_before(examined, RULES)
        say("\n" + words.summary_text(found, n_rules=len(RULES), is_whole=record is not None or is_all))
    else:
        say(words.diagnosis_text(found, subject, record=record, n_rules=len(RULES), is_full=is_all))
    for proof in trials.proofs:
        say("\n" + proof_text(proof))
    commands = words.next_commands(
        found,
        patient.name,
        changes=patient.changes,
        is_recipe=patient.is_recipe,
        tried=trials.have_helped,
        options=patient.place.options(),
    )
    if commands:
        say(("\n" if trials.proofs else "") + "\n".join(words.next_lines(commands)))


def _ask_before(examined: Examined, rules: Sequence[Rule]) -> None:
    """Each alarm as a question first, as long as somebody answers; notes as they are."""
    from flyweight.report.diagnosis.text import finding_text, told_after_a_guess

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
    from flyweight.report.diagnosis.teaching import question_of, question_text, verdict_on

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


def _prove(patient: Patient, examined: Examined, seeds: int | None, *, is_full: bool) -> Trials:
    """Try the remedy of each alarm, the first first, until it is stopped."""
    from flyweight.diagnose.trial import keep_proofs, prove, untried

    found = [one for one in examined.diagnosis.alarms if one.remedy is not None]
    if not found:
        talk("there is no remedy to try")
        return Trials()
    proofs: list[Proof] = []
    reasons: dict[str, str] = {}
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    with _attended() as (watch, stop):
        for one in found:
            talk(f"trying {one.code}, {one.title}")
            try:
                proof = prove(
                    examined.recipe,
                    one,
                    store=patient.store,
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
                probes = () if patient.has_probes else ("--no-probes",)
                again = patient.command("--prove", *_settings(seeds, is_full=is_full), *probes)
                talk(f"stopped and saved; this goes on: {again}")
                break
            talk(f"{one.code}: {proof.line}")
            proofs.append(proof)
            if examined.record is not None:
                keep_proofs(patient.store.run_folder(examined.record.id), [proof])
        return Trials(proofs=tuple(proofs), untried=reasons, exit_code=stop.exit_code if stop() else 0)


@contextmanager
def _attended() -> Iterator[tuple[Callable[[Event], None], StopRequest]]:
    """Someone who shows the runs, and something that asks to stop at Ctrl-C."""
    from flyweight.cli.watch import announce_compiling, watching_trials
    from flyweight.execute.signals import stopping_on_signals

    announce_compiling()
    with stopping_on_signals() as stop, watching_trials() as show:
        yield show, stop


def _look_for_lr(patient: Patient, seeds: int | None, *, as_json: bool) -> int:
    """The range test of a recipe, or of that of a run."""
    from flyweight.cli.watch import announce_compiling
    from flyweight.diagnose.lr_range import lr_range
    from flyweight.execute.signals import stopping_on_signals
    from flyweight.report.diagnosis.text import next_lines, train_command
    from flyweight.report.diagnosis.trials import lr_range_text, seed_words

    recipe = patient.recipe
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
    from flyweight.code_check.reading import read_code
    from flyweight.report.diagnosis.code_check import code_text

    found = read_code(path)
    if as_json:
        say_json(asdict(found))
    else:
        say(code_text(found, is_full=is_all))
    return 0


def _heal(patient: Patient, path: Path, seeds: int | None, *, is_full: bool, teaches: bool, as_json: bool) -> int:
    """The guided walk, told step by step, and the recipe that it ends with as a file."""
    from flyweight.diagnose.fix import heal
    from flyweight.report.diagnosis.trials import healing_text, healing_values, step_text

    recipe = patient.recipe
    told: list[HealStep] = []
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}

    def tell(step: HealStep) -> None:
        before = told[-1].recipe if told else recipe
        told.append(step)
        if as_json:
            talk(f"{' + '.join(one.code for one in step.findings)}: {step.line}")
            return
        say(f"step {len(told)}")
        is_asked = teaches and _is_guessed(step, seed=recipe.name)
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
    begun = patient if written is None else replace(patient, subject=written, changes=())
    settled = (*_settings(seeds, is_full=is_full), *(("--teach",) if teaches else ()))
    going_on = begun.command("--fix", str(path), *(("--overwrite",) if path.exists() else ()), *settled)
    if as_json:
        say_json(healing_values(found) | {"written": written, "next": None if found.is_done else going_on})
    else:
        say(healing_text(found, written=written, going_on=going_on, options=patient.place.options()))
    return stop.exit_code if stop() else 0


def _settings(seeds: int | None, *, is_full: bool) -> tuple[str, ...]:
    """How remedies are tried, as options."""
    return (*(() if seeds is None else ("--seeds", str(seeds))), *(("--full",) if is_full else ()))


def _is_guessed(step: HealStep, *, seed: str) -> bool:
    """Show the numbers of each finding and ask what they mean, if there is somebody to ask, and each was not told."""
    from flyweight.doctor.table import RULES

    if len(step.findings) > 1 and step.remedy.gain != "honesty":
        return False
    return all(is_answered() and _asked(one, RULES, codes={one.code}, seed=seed) for one in step.findings)


def _write(recipe: Recipe, path: Path) -> str:
    """A recipe of its own name, with only what is not as usual."""
    from flyweight.recipe import dumps
    from flyweight.records.files import write_text

    told = f"{recipe.name}, healed by the doctor."
    is_same = recipe.name == path.stem and recipe.description  # of a walk that went on
    named = recipe.model_copy(update={"name": path.stem, "description": recipe.description if is_same else told})
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
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror}; choose a folder that can be written.") from error
    return path
