"""`flyweight doctor`: what is wrong with a recipe or a run, why, and whether the remedy helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Final

from cyclopts import Parameter

from flyweight.cli.doctor.code import check_code
from flyweight.cli.doctor.environment import show_environment
from flyweight.cli.doctor.fix import fix_to_file, require_free
from flyweight.cli.doctor.lr import look_for_lr
from flyweight.cli.doctor.named import NamedSubject
from flyweight.cli.doctor.show import show_diagnosis
from flyweight.cli.doctor.trials import Outcome, try_remedies
from flyweight.cli.output import Flag, StoreLocation
from flyweight.cli.settings import TrustCode, is_named
from flyweight.errors import UsageError

MIN_SEEDS: Final = 2  # one seed has no spread
CODE: Final = (".py", ".ipynb")

# Each task with the options that it accepts; the empty one is a plain diagnosis.
TASKS: Final[Mapping[str, tuple[str, ...]]] = {
    "--code": ("--all", "--json"),
    "--environment": ("--json",),
    "--lr": ("--set", "--seeds", "--json"),
    "--fix": ("--overwrite", "--set", "--seeds", "--full", "--teach", "--json"),
    "--trial": ("--set", "--seeds", "--full", "--no-probes", "--teach", "--all", "--json"),
    "": ("--set", "--no-probes", "--teach", "--all", "--json"),
}


def doctor(
    subject: str | None = None,
    /,
    *,
    lr: Annotated[bool, Flag] = False,
    code: Annotated[bool, Flag] = False,
    trial: Annotated[bool, Flag] = False,
    fix: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    teach: Annotated[bool, Flag] = False,
    environment: Annotated[bool, Flag] = False,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    seeds: int | None = None,
    full: Annotated[bool, Flag] = False,
    no_probes: Annotated[bool, Flag] = False,
    trust_code: TrustCode = False,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> int:
    """Find what is wrong with a recipe, a run or a notebook, say why, and try the remedy.

    $ flyweight doctor own/20k-fast

    $ flyweight doctor @latest --no-probes

    $ flyweight doctor own/8k --set train.lr=10 --json

    $ flyweight doctor --environment

    Parameters
    ----------
    subject
        A recipe (a name or a TOML file), a run (its id, @latest or @best), or with --code a notebook or script.
    lr
        Find a range of good learning rates, with several seeds.
    code
        Find faults in the text of a training notebook or script; nothing in it is run.
    trial
        Train with and without each proposed change, and show its effect.
    fix
        Try the changes one by one, keep those that help, and write the fixed recipe to this file.
    overwrite
        With --fix: replace an existing file.
    teach
        Quiz: show the numbers of each finding first, and let you guess what they mean.
    environment
        For a report of a fault: print versions, processor, kernels, devices and kind of database; nothing private.
    changes
        Change one key of the recipe, as in train.lr=0.05; may be repeated.
    seeds
        With --trial, --fix or --lr: number of seeds. Default: 5, or 3 with --lr.
    full
        With --trial or --fix: train on all images of the recipe. Default: on fewer, which is faster.
    no_probes
        Use only the records of the run; do not read images and weights.
    trust_code
        Run the file of an own module that the recipe or run names, and remember its hash.
    everything
        Also show notes in full, and each check that could not run.
    json
        Print JSON.
    """
    given = {
        "--lr": lr,
        "--code": code,
        "--environment": environment,
        "--fix": fix is not None,
        "--trial": trial,
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
    location = location or StoreLocation()
    if environment:
        if subject is not None:
            raise UsageError(f"--environment describes this machine; leave out {subject!r}.")
        return show_environment(location.database, as_json=json)
    if subject is None:
        raise UsageError(
            "SUBJECT is missing: a recipe, a run, or with --code a notebook or script, as in: flyweight doctor @latest"
        )
    if code:
        return check_code(Path(subject), is_all=everything, as_json=json)
    if subject.endswith(CODE):
        raise UsageError(f"{subject!r} is a notebook or script; `flyweight doctor --code {quote(subject)}` reads it.")
    named = NamedSubject(typed=subject, changes=changes, location=location, has_probes=not no_probes)
    if trust_code or is_named(None, changes):
        named.trust_code()
    if lr:
        return look_for_lr(named, seeds, as_json=json)
    if fix is not None:
        return fix_to_file(
            named, require_free(fix, overwrite=overwrite), seeds, is_full=full, teaches=teach, as_json=json
        )
    outcome, examined = Outcome(), named.examined()
    if trial:
        outcome = try_remedies(named, examined, seeds, is_full=full)
        examined = outcome.noted_in(named.examined(outcome.trials))
    show_diagnosis(named, examined, outcome, teaches=teach, is_all=everything, as_json=json)
    return outcome.exit_code


def _require_together(given: Sequence[str], seeds: int | None) -> None:
    """Refuse options that do not belong to the task."""
    task = next((name for name in TASKS if name in given), "")
    strange = [name for name in given if name != task and name not in TASKS[task]]
    if strange:
        named = " and ".join(strange)
        owners = [name for name in TASKS if name and set(strange) <= set(TASKS[name])]
        works = "works" if len(strange) == 1 else "work"
        how = (
            f"cannot be combined with {task}" if task else f"{works} only with {' or '.join(owners) or 'other options'}"
        )
        raise UsageError(f"{named} {how}; see `flyweight doctor --help`.")
    if "--teach" in given and "--json" in given:
        raise UsageError("--teach and --json cannot be combined; give one of them.")
    if seeds is not None and seeds < MIN_SEEDS:
        raise UsageError(f"--seeds must be {MIN_SEEDS} or more to measure the spread between seeds, found {seeds}.")
