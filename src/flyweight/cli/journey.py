"""`flyweight journey`: the experiments of five documents as recipes, replayed and judged claim by claim."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App

from flyweight.cli.output import Flag, Form, Place, print_rows, say, talk, terminal_width
from flyweight.errors import DataError, UsageError, nearest, require_counts
from flyweight.tables import as_text, table_of

if TYPE_CHECKING:
    from flyweight.execute.executor import Executor
    from flyweight.execute.on_record import OnRecord
    from flyweight.records.store import Store
    from flyweight.reproductions.document import Journey, Step
    from flyweight.reproductions.runs import Replay

journey = App(name="journey", result_action="return_value")

LEGEND = (
    "ok: confirmed; no: not reproduced; bad: refuted; open: not derivable, undecided, or not run. --claims says why."
)
NO_EVIDENCE = (
    "a rehearsal on few images and at most two epochs: it shows that all works and is no evidence of anything."
)


COMMANDS: Final = ("show", "run", "verify", "report", "import")


@journey.default
def list_journeys(*names: str, form: Form | None = None, place: Place | None = None) -> None:
    """List the journeys: documents whose experiments are recipes here, to be replayed and judged.

    $ flyweight journey

    $ flyweight journey show 003

    $ flyweight journey run 003 17 --seeds 3

    $ flyweight journey verify 003

    Parameters
    ----------
    names
        Tell the story of this journey, or of these steps of it, as `flyweight journey show` does.
    """
    from flyweight.reproductions.document import journeys
    from flyweight.reproductions.replay import gather

    if names:
        name, *steps = names
        if name not in (known := [one.name for one in journeys()]):
            raise UsageError(
                f"`flyweight journey` takes a journey, {', '.join(known)}, or one of {', '.join(COMMANDS)}, found "
                f"{name!r}.{nearest(name, [*COMMANDS, *known])}"
            )
        show(name, *steps, form=form)
        return
    store = (place or Place()).store()
    rows = []
    for one in journeys():
        replayed = {replay.step for replay in gather(one, store)}
        done = sum(step.name in replayed for step in one.steps)
        rows.append({"name": one.name, "steps": len(one.steps), "replayed": done, "title": one.title})
    print_rows(rows, form or Form())


@journey.command
def show(name: str, /, *steps: str, form: Form | None = None) -> None:
    """Tell the story of a journey: what each step changed, its parameters, and what the document says came out.

    $ flyweight journey show 003

    $ flyweight journey show 003 17

    Parameters
    ----------
    name
        A journey that `flyweight journey` lists.
    steps
        Tell all that is known of these steps: settings, how sure each is, and every claim.
    """
    from flyweight.reproductions.document import journey as journey_of

    story, form = journey_of(name), form or Form()
    chosen = story.select(steps)
    if form.name != "text":
        print_rows([_story_row(step) for step in chosen], form)
    elif steps:
        say("\n\n".join(_details(step) for step in chosen))
    else:
        say(_story(story))


@journey.command
def run(
    name: str,
    /,
    *steps: str,
    seeds: int | None = None,
    quick: Annotated[bool, Flag] = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    at_once: int | None = None,
    form: Form | None = None,
    place: Place | None = None,
) -> int:
    """Train the steps of a journey that are not on record yet, side by side, and judge what came out.

    What is stopped goes on at the next call. Where no step is named, those are left out of which only layers are told.

    $ flyweight journey run 000

    $ flyweight journey run 003 9 10 --seeds 3

    $ flyweight journey run 002 --quick

    Parameters
    ----------
    name
        A journey that `flyweight journey` lists.
    steps
        Only these steps: 003-17, or 17 for short.
    seeds
        Seeds of each step; 3 of a step of one epoch and 1 of a longer one unless told.
    quick
        Rehearse with few images and at most two epochs: a minute or two, and no evidence of anything.
    device
        Where to compute.
    at_once
        How many runs train side by side; by default one per core.
    """
    from flyweight.execute.on_record import look_up
    from flyweight.execute.process_executor import Processes
    from flyweight.reproductions.document import journey as journey_of
    from flyweight.reproductions.replay import gather, quick_recipes, requests_for

    require_counts(seeds=seeds)
    executor = Processes(device=device, at_once=at_once)
    story, place = journey_of(name), place or Place()
    chosen = tuple(step for step in story.select(steps) if steps or step.is_told)
    store = place.store()
    store.mark_lost()
    recipes = quick_recipes(chosen, store.home) if quick else None
    requests = requests_for(story, chosen, seeds=1 if quick and seeds is None else seeds, recipes=recipes)
    code = _train(look_up(requests, store), store, executor)
    if quick and recipes is not None:
        print_rows(_rehearsed(chosen, gather(story, store, recipes=recipes)), form or Form())
        talk(NO_EVIDENCE)
    else:
        _print_verdicts(story, gather(story, store), chosen, form or Form())
    if code:
        given = {"--seeds": seeds, "--at-once": at_once, "--device": None if device == "auto" else device}
        words = [name, *steps, *(["--quick"] if quick else [])]
        words += [f"{option} {value}" for option, value in given.items() if value is not None]
        talk(f"stopped; go on with: flyweight journey run {' '.join(words)}{place.options()}")
    return code


@journey.command
def verify(
    name: str,
    /,
    *steps: str,
    records: Path | None = None,
    claims: Annotated[bool, Flag] = False,
    form: Form | None = None,
    place: Place | None = None,
) -> None:
    """Judge every claim of a journey by counting and by the runs on record; nothing is trained.

    $ flyweight journey verify 003

    $ flyweight journey verify 003 17 --claims

    Parameters
    ----------
    name
        A journey that `flyweight journey` lists.
    steps
        Only these steps: 003-17, or 17 for short.
    records
        Judge by the replays kept in this folder, as docs/journeys of the repository, instead of the runs on record.
    claims
        A line for each claim with the reason for its verdict.
    """
    from flyweight.reproductions.document import journey as journey_of
    from flyweight.reproductions.replay import gather

    story, store = journey_of(name), (place or Place()).store()
    chosen = story.select(steps)
    replays = gather(story, store) if records is None else _kept(records, story)
    _print_verdicts(story, replays, chosen, form or Form(), claims=claims)


@journey.command
def report(*names: str, to: Path, place: Place | None = None) -> None:
    """Write the page, the picture and the small records of journeys into a folder.

    Replays that the folder keeps already stay, and those on record join them: so a page can be made again anywhere.

    $ flyweight journey report --to docs/journeys

    Parameters
    ----------
    names
        Journeys that `flyweight journey` lists; all of them unless told.
    to
        The folder.
    """
    from flyweight.report.reproduction.text import write_pages
    from flyweight.reproductions.document import journey as journey_of
    from flyweight.reproductions.document import journeys
    from flyweight.reproductions.replay import gather, hashes

    chosen, known = [journey_of(name) for name in names] or journeys(), journeys()
    store = (place or Place()).store()
    found = [(story, gather(story, store)) for story in chosen]
    for path in write_pages(found, to, known=known, hashes={story.name: hashes(story) for story in known}):
        say(str(path))


@journey.command(name="import")
def import_table(
    file: Path,
    /,
    *,
    parameters: str | None = None,
    accuracy: str | None = None,
    change: str | None = None,
    net: str | None = None,
    step: str | None = None,
    images: int = 10_000,
    budget: str | None = None,
    form: Form | None = None,
) -> None:
    """Read someone's table of experiments from a Markdown file, and say what in it cannot be right or shows nothing.

    Counts are held against the change and the net, accuracies against the number of images, rows against the row
    before. Columns are guessed from their heads unless named.

    $ flyweight journey import experiments.md

    $ flyweight journey import experiments.md --accuracy "Val acc" --images 5000 --budget 20k

    Parameters
    ----------
    file
        A Markdown file with a table that has a row, or a column, for each experiment.
    parameters
        The head of the column with the parameter counts.
    accuracy
        The head of the column with the accuracies to judge.
    change
        The head of the column that says what was changed.
    net
        The head of the column with the nets, in the notation of flyweight.
    step
        The head of the column that names the rows.
    images
        How many images the accuracies were measured on.
    budget
        The most parameters that were allowed, 20k or 20000.
    """
    from flyweight.model.budget import parse_budget
    from flyweight.reproductions.log_import.doubts import doubts
    from flyweight.reproductions.log_import.reading import read_table

    limit = parse_budget([budget]).params if budget else None
    named = {"parameters": parameters, "accuracy": accuracy, "change": change, "net": net, "step": step}
    table = read_table(_text(file), label=str(file), columns={key: head for key, head in named.items() if head})
    found = doubts(table, images=images, limit=limit)
    print_rows([_doubt_row(doubt) for doubt in found], form or Form(), wraps=True)
    for note in table.notes:
        talk(note)
    rows = f"{len(table.rows)} row{'' if len(table.rows) == 1 else 's'}"
    talk(f"{rows} read; {len(found) or 'no'} doubt{'' if len(found) == 1 else 's'}.")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} must be text in UTF-8, found other bytes.") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}.") from error


def _kept(folder: Path, story: Journey) -> tuple[Replay, ...]:
    from flyweight.reproductions.runs import read

    path = folder / f"{story.name}.json"
    if not path.exists():
        raise UsageError(
            f"--records must be a folder that `flyweight journey report` wrote, found no {path.name} in {folder}."
        )
    return read(path)


def _story(story: Journey) -> str:
    goal = story.goal
    lines = [
        f"{story.name}  {story.title}",
        *textwrap.wrap(story.about, terminal_width()),
        f"goal: {goal.accuracy:.1%} with at most {goal.params:,} parameters and {_epochs(goal.epochs)}",
        "",
    ]
    rows = [_story_row(step) for step in story.all_steps]
    lines.append(_wrapped(rows))
    lines += ["", f"one step in full: flyweight journey show {story.name} STEP"]
    lines += [f"replay them: flyweight journey run {story.name}, or with --quick to rehearse"]
    return "\n".join(lines)


def _wrapped(rows: Sequence[Mapping[str, Any]]) -> str:
    return as_text(table_of(rows, wraps=True), width=terminal_width())


def _story_row(step: Step) -> dict[str, Any]:
    from flyweight.experiment.plan import plan

    return {
        "step": step.name,
        "params": plan(step.recipe).require().cost.params,
        "told": _told(step),
        "change": f"{step.label}: {_changed(step)}",
    }


def _changed(step: Step) -> str:
    from flyweight.recipe import all_in_words, diff

    return all_in_words(diff(step.parent, step.recipe)) if step.parent else step.recipe.model.net


def _told(step: Step) -> str:
    """The claim that a step is known by."""
    from flyweight.reproductions.verdicts import headline

    claim = headline(step.claims)
    return claim.told if claim else ""


def _details(step: Step) -> str:
    """Settings with their marks, the claims, and what was measured otherwise."""
    from flyweight.recipe import flat
    from flyweight.reproductions.document import MARKS

    recipe = step.recipe
    lines = [f"{step.name}  {step.label}"]
    lines += textwrap.wrap(f"changed from {step.extends}: {_changed(step)}", terminal_width()) if step.extends else []
    lines += textwrap.wrap(step.notes, terminal_width())
    values = flat(recipe.model_dump())
    rows = [
        {"key": key, "mark": step.marks[key], "value": _value(values[key], step.alternatives.get(key))}
        for key in values
        if key in step.marks
    ]
    lines += ["", _wrapped(rows), ""]
    lines += [_wrapped([{"claim": claim.subject, "mark": claim.mark, "told": claim.told} for claim in step.claims])]
    lines += ["", *(f"{mark}: {meaning}" for mark, meaning in MARKS.items())]
    lines += [f"train it: flyweight train {step.name}"]
    return "\n".join(lines)


def _value(value: object, alternatives: str | None) -> str:
    shown = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"{shown}  (or {alternatives})" if alternatives else shown


def _train(found: Sequence[OnRecord], store: Store, executor: Executor) -> int:
    """0, or the exit code of a stop."""
    from flyweight.cli.watch import announce_compiling, watching_all
    from flyweight.execute.execution import carry_out
    from flyweight.execute.signals import stopping_on_signals

    left = [one for one in found if one.n_left]
    n_runs = sum(one.n_left for one in left)
    if not n_runs:
        steps = "1 step is" if len(found) == 1 else f"{len(found)} steps are"
        talk(f"all of {steps} on record.")
        return 0
    talk(f"{n_runs} run{'' if n_runs == 1 else 's'} to train, of {len(left)} step{'' if len(left) == 1 else 's'}")
    announce_compiling()
    work, runs = {one.recipe.name: one.work for one in left}, {one.recipe.name: one.n_left for one in left}
    with stopping_on_signals() as stop, watching_all(work, runs) as watch:
        carry_out(found, store=store, executor=executor, watch=watch, should_stop=stop)
    return stop.exit_code if stop() else 0


def _rehearsed(steps: Sequence[Step], replays: Sequence[Replay]) -> list[dict[str, Any]]:
    """What a rehearsal gave, without any verdict."""
    by_step = {step.name: [one for one in replays if one.step == step.name] for step in steps}
    return [
        {
            "step": step.name,
            "seeds": len(by_step[step.name]),
            "ended": ", ".join(sorted({one.status for one in by_step[step.name]})),
            "on few images": ", ".join(f"{one.honest.accuracy:.1%}" for one in by_step[step.name] if one.honest),
        }
        for step in steps
    ]


def _print_verdicts(
    story: Journey,
    replays: Sequence[Replay],
    steps: Sequence[Step],
    form: Form,
    *,
    claims: bool = False,
) -> None:
    from flyweight.report.reproduction.rows import claim_rows, short_claim_rows, step_rows, terminal_rows
    from flyweight.reproductions.replay import hashes
    from flyweight.reproductions.verdicts import judge

    chosen = {step.name for step in steps}
    verdicts = [one for one in judge(story, replays, hashes=hashes(story)) if one.step.name in chosen]
    stale = sum(hashes(story).get(one.step) != one.recipe_hash for one in replays)
    if stale:
        talk(f"{stale} replay{' is' if stale == 1 else 's are'} of a recipe that has changed since, and left out.")
    if not claims and form.name == "text":
        print_rows(terminal_rows(verdicts), form, gap=1)
        talk(LEGEND)
    elif not claims:
        print_rows(step_rows(verdicts), form)
    else:
        print_rows(short_claim_rows(verdicts) if form.name == "text" else claim_rows(verdicts), form, wraps=True)


def _doubt_row(doubt: Any) -> dict[str, Any]:
    return {"row": doubt.row, "column": doubt.column, "doubt": doubt.kind, "why": doubt.sentence}


def _epochs(n: int) -> str:
    return f"{n} epoch{'' if n == 1 else 's'}"
