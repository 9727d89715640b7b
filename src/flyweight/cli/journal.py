"""`flyweight journal`: the log of a study, written from its runs, and notes that people add."""

from __future__ import annotations

from shutil import get_terminal_size
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flyweight.cli.output import Flag, OutputFormat, StoreLocation, print_rows, say, say_json, talk
from flyweight.errors import UsageError

journal = App(name="journal", result_action="return_value")


@journal.default
def show(
    study: Annotated[str | None, Parameter(show_default=False)] = None,
    /,
    *,
    on: Annotated[Literal["test", "validation"], Parameter(name="--on")] = "test",
    purpose: Annotated[
        Literal["all", "run", "trial", "remedy", "reproduction", "certification", "search"] | None,
        Parameter(show_default=False),
    ] = None,
    html: Annotated[bool, Flag] = False,
    output: OutputFormat | None = None,
    location: StoreLocation | None = None,
) -> None:
    """Print the log of a study: what each step changed, its result, and how certain its effect is.

    Each step is compared with the recipe it was changed from. The verdicts account for the number of steps.

    $ flyweight journal

    $ flyweight journal parts --md

    $ flyweight journal note @latest --after "as fast as it goes"

    Parameters
    ----------
    study
        Name of a study (runs join one by `flyweight train --study NAME`). Default: all runs that you started.
    on
        Images whose accuracy is shown: test, or validation (while you still choose between recipes).
    purpose
        Only runs made for this purpose (see `flyweight runs --help`). Default: run, and in a study also reproduction.
    html
        Write an HTML page with small plots, and print its path.
    """
    from flyweight.evidence.journal import journal as journal_of
    from flyweight.report.journal.page import write_journal
    from flyweight.report.journal.text import journal_markdown, journal_rows, journal_text
    from flyweight.report.wording import MIN_WIDTH

    store, output = (location or StoreLocation()).store(only_reads=True), output or OutputFormat()
    found = journal_of(store, study, part=on, purpose=purpose)
    if html:
        if output.name != "text":
            raise UsageError(f"only one output format is possible, found --html and --{output.name}; keep one of them.")
        say(str(write_journal(store, found)))
        return
    if not found.rows and not store.runs(limit=1):
        talk("no runs yet; start one with: flyweight train")
    match output.name:
        case "json":
            say_json(found.as_dict())
        case "csv":
            print_rows(journal_rows(found), output)
        case "md":
            say(journal_markdown(found))
        case _:
            say(journal_text(found, width=max(MIN_WIDTH, get_terminal_size().columns)))


@journal.command
def note(
    run: str,
    /,
    *,
    before: str | None = None,
    after: str | None = None,
    study: str | None = None,
    author: str | None = None,
    location: StoreLocation | None = None,
) -> None:
    """Add a note to the log of a study: what you expect of a step, or what you conclude from its result.

    A new note replaces the one shown before; the old one stays in the database.

    $ flyweight journal note @latest --before "half the rate, the same accuracy"

    Parameters
    ----------
    run
        A run of the step, or its recipe (name or file).
    before
        What you expect. `flyweight train --expect` writes it before the run starts.
    after
        What you conclude.
    study
        Study whose log the note belongs to. Default: the study of the run.
    author
        Author of the note. Default: $FLYWEIGHT_AUTHOR, or else your login name.
    """
    from flyweight.records.author import author_or_default
    from flyweight.studies.results import runs_of_step

    store = (location or StoreLocation()).store()
    texts = {"before": before, "after": after}
    given = {kind: text.strip() for kind, text in texts.items() if text is not None}
    if not given or not all(given.values()):
        raise UsageError('the note is empty; add --before "..." or --after "...".')
    step = runs_of_step(run, store=store, study=study)
    studies = sorted({one.study for one in step if one.study is not None})
    if study is None and len(studies) > 1:
        raise UsageError(f"{run} is in the studies {', '.join(studies)}; choose one with --study.")
    study = study if study is not None else next(iter(studies), None)
    for kind, text in given.items():
        written = store.notebook.write_note(
            step[0].recipe_hash,
            "before" if kind == "before" else "after",
            text,
            author=author_or_default(author),
            study=study,
        )
        talk(f"noted {kind}, by {written.author}: {step[0].name}" + (f" in {study}" if study else ""))
