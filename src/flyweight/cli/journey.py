"""`flyweight journey`: reproduce the experiments of five documents, and judge their claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App

from flyweight.cli.journey_import import import_table
from flyweight.cli.output import Flag, OutputFormat, StoreLocation, print_rows, say, talk, terminal_width
from flyweight.errors import DataError, UsageError, nearest, require_counts
from flyweight.tables import counted

if TYPE_CHECKING:
    from flyweight.execute.executor import Executor
    from flyweight.execute.on_record import OnRecord
    from flyweight.records.store import Store
    from flyweight.reproductions.document import Document, Step
    from flyweight.reproductions.runs import Replay

journey = App(name="journey", result_action="return_value")

LEGEND = (
    "ok: confirmed; weak: not contradicted, or consistent by construction; no: not reproduced; bad: refuted; open: not "
    "derivable, undecided or not run. Reasons: --claims"
)
NO_EVIDENCE = "a short test on few images with at most two epochs: it shows that everything runs, and is no evidence."


COMMANDS: Final = ("show", "run", "verify", "report", "import")

journey.command(import_table, name="import")


@journey.default
def list_journeys(*names: str, output: OutputFormat | None = None, location: StoreLocation | None = None) -> None:
    """List the documents whose experiments can be reproduced, and how many steps have runs.

    $ flyweight journey

    $ flyweight journey show 003

    $ flyweight journey run 003 17 --seeds 3

    $ flyweight journey verify 003

    Parameters
    ----------
    names
        Show this document, or these steps of it, as `flyweight journey show` does.
    """
    from flyweight.reproductions.document import documents
    from flyweight.reproductions.replay import gather

    if names:
        name, *steps = names
        if name not in (known := [one.name for one in documents()]):
            raise UsageError(
                f"`flyweight journey` takes a document, {', '.join(known)}, or one of {', '.join(COMMANDS)}, found "
                f"{name!r}.{nearest(name, [*COMMANDS, *known])}"
            )
        show(name, *steps, output=output)
        return
    store = (location or StoreLocation()).store()
    rows = []
    for one in documents():
        replayed = {replay.step for replay in gather(one, store)}
        done = sum(step.name in replayed for step in one.steps)
        rows.append({"name": one.name, "steps": len(one.steps), "replayed": done, "title": one.title})
    print_rows(rows, output or OutputFormat())


@journey.command
def show(name: str, /, *steps: str, output: OutputFormat | None = None) -> None:
    """Show a document: what each step changed, its parameters, and the result it reports.

    $ flyweight journey show 003

    $ flyweight journey show 003 17

    Parameters
    ----------
    name
        A document that `flyweight journey` lists.
    steps
        Show these steps in full: settings with their sources, and every claim.
    """
    from flyweight.report.reproduction import text
    from flyweight.reproductions.document import document as document_of

    document, output = document_of(name), output or OutputFormat()
    chosen = document.select(steps)
    if output.name != "text":
        print_rows(text.show_rows(chosen), output)
    elif steps:
        say("\n\n".join(text.step_text(step, width=terminal_width()) for step in chosen))
    else:
        say(text.document_text(document, width=terminal_width()))


@journey.command
def run(
    name: str,
    /,
    *steps: str,
    seeds: int | None = None,
    quick: Annotated[bool, Flag] = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    at_once: int | None = None,
    output: OutputFormat | None = None,
    location: StoreLocation | None = None,
) -> int:
    """Train the steps of a document that have no runs yet, and judge its claims.

    A stopped run continues with the same command. Default: all steps with reported results.

    $ flyweight journey run 000

    $ flyweight journey run 003 9 10 --seeds 3

    $ flyweight journey run 002 --quick

    Parameters
    ----------
    name
        A document that `flyweight journey` lists.
    steps
        Only these steps: 003-17, or 17 for short.
    seeds
        Number of seeds of each step. Default: 3 for a step of one epoch, 1 for a longer one.
    quick
        Short test with few images and at most two epochs: a minute or two; the results are no evidence.
    device
        Device to train on.
    at_once
        Maximum number of runs that train at the same time. Default: one per core, or as many as the memory of the GPU
        can hold.
    """
    from flyweight.execute.automatic import Automatic
    from flyweight.execute.on_record import look_up
    from flyweight.reproductions.document import document as document_of
    from flyweight.reproductions.replay import gather, quick_recipes, requests_for

    require_counts(seeds=seeds)
    executor = Automatic(device=device, at_once=at_once)
    document, location = document_of(name), location or StoreLocation()
    chosen = tuple(step for step in document.select(steps) if steps or step.is_reported)
    store = location.store()
    store.mark_lost()
    recipes = quick_recipes(chosen, store.home) if quick else None
    requests = requests_for(document, chosen, seeds=1 if quick and seeds is None else seeds, recipes=recipes)
    code = _train(look_up(requests, store), store, executor)
    if quick and recipes is not None:
        print_rows(_short_test_rows(chosen, gather(document, store, recipes=recipes)), output or OutputFormat())
        talk(NO_EVIDENCE)
    else:
        _print_verdicts(document, gather(document, store), chosen, output or OutputFormat())
    if code:
        given = {"--seeds": seeds, "--at-once": at_once, "--device": None if device == "auto" else device}
        words = [name, *steps, *(["--quick"] if quick else [])]
        words += [f"{option} {value}" for option, value in given.items() if value is not None]
        talk(f"stopped and saved; continue with: flyweight journey run {' '.join(words)}{location.options()}")
    return code


@journey.command
def verify(
    name: str,
    /,
    *steps: str,
    records: Path | None = None,
    claims: Annotated[bool, Flag] = False,
    output: OutputFormat | None = None,
    location: StoreLocation | None = None,
) -> None:
    """Judge every claim of a document by counting parameters and by its runs; nothing is trained.

    $ flyweight journey verify 003

    $ flyweight journey verify 003 17 --claims

    Parameters
    ----------
    name
        A document that `flyweight journey` lists.
    steps
        Only these steps: 003-17, or 17 for short.
    records
        Use the replays in this folder (written by `flyweight journey report`) instead of the runs on record.
    claims
        Print a line for each claim, with the reason for its verdict.
    """
    from flyweight.reproductions.document import document as document_of
    from flyweight.reproductions.replay import gather

    document, store = document_of(name), (location or StoreLocation()).store()
    chosen = document.select(steps)
    replays = gather(document, store) if records is None else _kept(records, document)
    _print_verdicts(document, replays, chosen, output or OutputFormat(), claims=claims)


@journey.command
def report(
    *names: str, out: Path, replace: Annotated[bool, Flag] = False, location: StoreLocation | None = None
) -> None:
    """Write the page, the plot and the replays of documents into a folder.

    Replays that are already in the folder are kept, so pages can be written again without the runs. Where a run on
    record differs from a kept replay, the difference is printed.

    $ flyweight journey report --out docs/journeys

    Parameters
    ----------
    names
        Documents that `flyweight journey` lists. Default: all.
    out
        Write into this folder.
    replace
        Replace kept replays by those on record of the same step and seed, and drop those of recipes that have changed.
    """
    from flyweight.report.reproduction.folder import write_pages
    from flyweight.reproductions.document import document as document_of
    from flyweight.reproductions.document import documents
    from flyweight.reproductions.replay import gather, hashes

    chosen, known = [document_of(name) for name in names] or documents(), documents()
    store = (location or StoreLocation()).store()
    found = [(document, gather(document, store)) for document in chosen]
    current = {document.name: hashes(document) for document in known}
    for path in write_pages(found, out, known=known, hashes=current, replace=replace, say=talk):
        say(str(path))


def _kept(folder: Path, document: Document) -> tuple[Replay, ...]:
    from flyweight.reproductions.runs import read

    path = folder / f"{document.name}.json"
    if not path.exists():
        raise DataError(
            f"--records must be a folder that `flyweight journey report` wrote, found no {path.name} in {folder}."
        )
    return read(path)


def _train(found: Sequence[OnRecord], store: Store, executor: Executor) -> int:
    """Train what is missing; returns 0, or the exit code of a stop."""
    from flyweight.cli.watch import announce_compiling, watching_all
    from flyweight.execute.execution import execute
    from flyweight.execute.signals import STOPPING, stopping_on_signals

    left = [one for one in found if one.n_remaining]
    n_runs = sum(one.n_remaining for one in left)
    if not n_runs:
        steps = "1 step is" if len(found) == 1 else f"{len(found)} steps are"
        talk(f"nothing to train: {steps} on record.")
        return 0
    talk(f"{counted(n_runs, 'run')} to train, of {counted(len(left), 'step')}")
    announce_compiling()
    work, runs = {one.recipe.name: one.work for one in left}, {one.recipe.name: one.n_remaining for one in left}
    with stopping_on_signals(STOPPING) as stop, watching_all(work, runs) as watch:
        execute(found, store=store, executor=executor, watch=watch, should_stop=stop)
    return stop.exit_code if stop() else 0


def _short_test_rows(steps: Sequence[Step], replays: Sequence[Replay]) -> list[dict[str, Any]]:
    """The results of a short test, without verdicts."""
    by_step = {step.name: [one for one in replays if one.step == step.name] for step in steps}
    return [
        {
            "step": step.name,
            "seeds": len(by_step[step.name]),
            "status": ", ".join(sorted({one.status for one in by_step[step.name]})),
            "on few images": ", ".join(f"{one.clean.accuracy:.1%}" for one in by_step[step.name] if one.clean),
        }
        for step in steps
    ]


def _print_verdicts(
    document: Document,
    replays: Sequence[Replay],
    steps: Sequence[Step],
    output: OutputFormat,
    *,
    claims: bool = False,
) -> None:
    from flyweight.report.reproduction.rows import claim_rows, short_claim_rows, step_rows, terminal_rows
    from flyweight.reproductions.replay import hashes
    from flyweight.reproductions.verdicts import judge

    chosen = {step.name for step in steps}
    verdicts = [one for one in judge(document, replays, hashes=hashes(document)) if one.step.name in chosen]
    stale = sum(hashes(document).get(one.step) != one.recipe_hash for one in replays)
    if stale:
        talk(f"{stale} replay{' is' if stale == 1 else 's are'} of an older version of the recipe; ignored.")
    if not claims and output.name == "text":
        print_rows(terminal_rows(verdicts), output, gap=1)
        talk(LEGEND)
    elif not claims:
        print_rows(step_rows(verdicts), output)
    else:
        print_rows(short_claim_rows(verdicts) if output.name == "text" else claim_rows(verdicts), output, wraps=True)
