"""`flyweight search`: name a budget and a time, get the best net, with what was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from flyweight.cli.output import Flag, OutputFormat, StoreLocation, print_rows, say, say_json, talk
from flyweight.errors import UsageError
from flyweight.tables import counted

if TYPE_CHECKING:
    from flyweight.records.store import Store
    from flyweight.search.events import SearchEvent
    from flyweight.search.result import SearchResult

search = App(name="search", result_action="return_value")


@search.default
def start(
    *,
    budget: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    minutes: float | None = None,
    recipe: str | None = None,
    data: str | None = None,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    space: Path | None = None,
    strategy: Literal["evolution", "local", "random"] | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    at_once: int | None = None,
    trials: int | None = None,
    pareto: str | None = None,
    seed: int = 0,
    name: str | None = None,
    resume: str | None = None,
    out: Path | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> int:
    """Search for the best net within a budget and a time; the winner is tested on fresh seeds.

    $ flyweight search --budget 5k --minutes 30

    $ flyweight search --budget 8k --budget macs=500k --minutes 60 --data fashion-mnist

    $ flyweight search --resume search-1

    Only designs within every limit are made. They train for a few epochs, and the better third goes on. The best three
    are then trained in full on fresh seeds, and the winner is chosen by their validation; only then do the winner and
    the recipe that the search began with open the test images, and are compared.

    Parameters
    ----------
    budget
        Limit that every design keeps: 5k parameters, macs=1M, activation=32kB, flash=40kB; seconds= limits a training.
        Repeat it for several.
    minutes
        Minutes of the whole search, with the trainings on fresh seeds. Default: 30.
    recipe
        Recipe to begin with: its net is scaled to the budget, and its settings are kept unless they are part of the
        space. Default: own/8k.
    data
        Image set: a name (see `flyweight data`) or a path.
    changes
        Change a key of the recipe for every trial, as KEY=VALUE.
    space
        TOML file whose table [search] narrows what is tried (docs/search.md).
    strategy
        How designs are chosen: evolution, local, or random. Default: evolution.
    epochs
        Epochs of a full training. Default: what the time allows, at most 20.
    seeds
        Fresh seeds of each finalist. Default: 5, or 3 below 20 minutes.
    at_once
        How many trials train at the same time. Default: one per core.
    trials
        Maximum number of trials. Default: what the time allows.
    pareto
        Two aims, as params,accuracy (or macs, activation, flash): nets of all sizes, and the front on fresh seeds.
    seed
        Seed of every trial and of the choice of designs.
    name
        Name of the search. Default: search-1, search-2, ...
    resume
        Go on with this search, which was stopped or killed.
    out
        Write the winner's recipe to this file too.
    device
        Device to train on; auto takes a GPU if there is one.
    json
        Print the result as JSON.
    """
    from flyweight.execute.automatic import Automatic
    from flyweight.execute.signals import STOPPING, stopping_on_signals
    from flyweight.model.budget import parse_budget
    from flyweight.search.searching import START, SearchRequest, resume_search
    from flyweight.search.searching import search as run_search
    from flyweight.search.space import read_space

    location = location or StoreLocation()
    if out is not None and out.exists():
        raise UsageError(f"{out} exists; give another file with --out.")
    executor, store = Automatic(device=device, at_once=at_once), location.store()
    options: dict[str, Any] = {"store": store, "executor": executor}
    if resume is not None:
        given: dict[str, object] = {
            "--budget": budget,
            "--recipe": recipe,
            "--data": data,
            "--set": changes,
            "--space": space,
        }
        given |= {"--strategy": strategy, "--epochs": epochs, "--seeds": seeds, "--trials": trials}
        given |= {"--pareto": pareto, "--name": name}
        if wrong := [option for option, value in given.items() if value]:
            raise UsageError(f"--resume goes on with the plan of the search; leave out {', '.join(wrong)}.")
        with stopping_on_signals(STOPPING) as stop, _watching() as watch:
            result = resume_search(resume, minutes=minutes, watch=watch, should_stop=stop, **options)
    else:
        request = SearchRequest(
            budget=parse_budget(budget),
            minutes=30.0 if minutes is None else minutes,
            recipe=recipe or START,
            overrides=(*changes, *(() if data is None else (f"data.name={data}",))),
            name=name,
            space=read_space(space),
            strategy=strategy or "evolution",
            epochs=epochs,
            n_seeds=seeds,
            workers=at_once,
            max_trials=trials,
            pareto=pareto,
            seed=seed,
        )
        with stopping_on_signals(STOPPING) as stop, _watching() as watch:
            result = run_search(request, watch=watch, should_stop=stop, **options)
    if result is None:
        named = resume or next((name for name in store.searches.names()[:1] if _is_ours(store, name)), None)
        again = "nothing was tried yet" if named is None else f"go on with: flyweight search --resume {named}"
        talk(f"stopped; {again}{'' if named is None else location.options()}")
        return stop.exit_code if stop() else 1
    return _report(result, store, out, location, as_json=json)


def _report(result: SearchResult, store: Store, out: Path | None, location: StoreLocation, *, as_json: bool) -> int:
    from flyweight.files import write_text
    from flyweight.report.search.text import result_lines

    recipe = store.searches_folder(result.name) / "winner.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    for path in (recipe, *(() if out is None else (out,))):
        write_text(path, result.recipe)
    if as_json:
        say_json(result.as_dict() | {"recipe_file": str(out or recipe)})
    else:
        say("\n".join([f"{result.name}: {counted(result.n_trials, 'trial')}", *result_lines(result)]))
        say(f"recipe      {out or recipe}")
        say(f"next        flyweight search show {result.name}{location.options()}")
    return 0


@search.command
def show(
    name: str | None = None, /, *, output: OutputFormat | None = None, location: StoreLocation | None = None
) -> None:
    """Show a search with its best trials and write its page; without a name, list the searches.

    --csv prints every trial.

    $ flyweight search show search-1

    Parameters
    ----------
    name
        Name of the search.
    """
    from flyweight.report.search.page import write_search_page
    from flyweight.report.search.text import best_rows, search_text, trial_rows

    output, store = output or OutputFormat(), (location or StoreLocation()).store()
    if name is None:
        rows = [_row(store, one) for one in store.searches.names()]
        if not rows:
            talk("no searches yet; start one with: flyweight search --budget 5k --minutes 30")
        print_rows(rows, output)
        return
    record, trials = store.searches.get(name), store.searches.trials(name)
    if output.name == "json":
        say_json(
            {
                "name": name,
                "status": record.status,
                "plan": record.plan,
                "result": record.result,
                "trials": trial_rows(trials),
            }
        )
    elif output.name != "text":
        print_rows(trial_rows(trials), output)
    else:
        say(search_text(record, trials))
        say("")
        print_rows(best_rows(trials), output, wraps=True)
        say(f"page  {write_search_page(record, trials, store=store)}")


@search.command
def rm(name: str, /, *, location: StoreLocation | None = None) -> None:
    """Remove a search with its trials and their files for good; the trainings on fresh seeds stay, as runs.

    $ flyweight search rm search-1

    Parameters
    ----------
    name
        Name of the search.
    """
    from flyweight.search.searching import remove_search

    n_runs = remove_search(name, store=(location or StoreLocation()).store())
    talk(f"removed the search {name} and {counted(n_runs, 'trial')}")


def _is_ours(store: Store, name: str) -> bool:
    """Whether this process wrote the search."""
    from flyweight.records.process import this_process

    record = store.searches.get(name)
    return (record.pid, record.process_started) == (this_process().pid, this_process().started)


def _row(store: Store, name: str) -> dict[str, Any]:
    record, figures = store.searches.get(name), store.searches.figures(name)
    best = max((one.rank for one in figures if one.rung), default=None)
    return {
        "search": name,
        "status": record.status,
        "trials": len(figures),
        "best val %": "" if best is None else f"{100 * best[1]:.2f}",
        "minutes": f"{record.seconds / 60:.1f}",
    }


@contextmanager
def _watching() -> Iterator[Callable[[SearchEvent], None]]:
    """One screen in a terminal, a line for each news in a pipe; on stderr."""
    import sys

    if sys.stderr.isatty():
        from flyweight.cli.search_screen import Screen

        with Screen() as screen:
            yield screen.watch
    else:
        yield lambda event: None if (line := event_line(event)) is None else talk(line)


def event_line(event: SearchEvent) -> str | None:
    """News as a line; None if it is none."""
    from flyweight.cli.watch import time_left
    from flyweight.search.events import PhaseBegan, TrialEnded

    match event:
        case PhaseBegan(phase="calibration"):
            return "measuring the speed of this machine"
        case PhaseBegan(phase="trials", plan=plan) if plan is not None:
            return (
                f"{plan.name}: {plan.budget}, {plan.strategy}, {plan.minutes:g} minutes, {plan.workers} at a time; "
                f"{plan.epochs} epochs of about {plan.epoch_seconds:.1f} s, compared after "
                f"{', '.join(map(str, plan.rungs))}"
            )
        case PhaseBegan(phase="finals", plan=plan) if plan is not None:
            return (
                f"finals: the best {plan.n_finalists} and the first on {plan.n_seeds} fresh seeds, test images closed"
            )
        case PhaseBegan(phase="test"):
            return "test: the winner and the first design open the test images, once a seed"
        case TrialEnded(trial=trial):
            accuracy = "" if trial.accuracy is None else f" {trial.accuracy:.2%}"
            best = "  best so far" if event.is_best else ""
            left = f"{time_left(event.seconds_left)} left"
            return f"trial {trial.number} {trial.status}, rung {trial.rung}:{accuracy}{best}  {event.net}  ({left})"
    return None
