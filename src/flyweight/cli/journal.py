"""`flyweight journal`: the log of a study, written from the records, and the notes that people add to it."""

from __future__ import annotations

from shutil import get_terminal_size
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flyweight.cli.output import Flag, Form, Place, print_rows, say, say_json, talk
from flyweight.errors import UsageError

journal = App(name="journal", result_action="return_value")


@journal.default
def show(
    study: Annotated[str | None, Parameter(show_default=False)] = None,
    /,
    *,
    on: Annotated[Literal["test", "validation"], Parameter(name="--on")] = "test",
    purpose: Annotated[
        Literal["all", "run", "trial", "remedy", "reproduction", "certification"] | None, Parameter(show_default=False)
    ] = None,
    html: Annotated[bool, Flag] = False,
    form: Form | None = None,
    place: Place | None = None,
) -> None:
    """Print the log of a study: what each step changed, what came out, and how sure its effect is.

    Effects are against the recipe that a step was changed from, and their verdicts allow for how many steps there are.

    $ flyweight journal

    $ flyweight journal parts --md

    $ flyweight journal note @latest --after "as fast as it goes"

    Parameters
    ----------
    study
        A study (`flyweight train --study NAME` puts runs into one); default: all runs that people asked for.
    on
        The images that count: test, or validation to choose by.
    purpose
        Only runs made for this, as in `flyweight runs`; default: run, and in a study its reproductions too.
    html
        Write a page with small pictures and print where it lies.
    """
    from flyweight.evidence.journal import journal as journal_of
    from flyweight.report.journal.page import write_journal
    from flyweight.report.journal.text import journal_markdown, journal_rows, journal_text
    from flyweight.tables import WIDTH

    store, form = (place or Place()).store(), form or Form()
    found = journal_of(store, study, part=on, purpose=purpose)
    if html:
        if form.name != "text":
            raise UsageError(f"one format must be chosen, found --html and --{form.name}; leave one out.")
        say(str(write_journal(store, found)))
        return
    if not found.rows and not store.runs(limit=1):
        talk("no runs yet; `flyweight train` makes one.")
    match form.name:
        case "json":
            say_json(found.as_dict())
        case "csv":
            print_rows(journal_rows(found), form)
        case "md":
            say(journal_markdown(found))
        case _:
            say(journal_text(found, width=max(WIDTH, get_terminal_size().columns)))


@journal.command
def note(
    run: str,
    /,
    *,
    before: str | None = None,
    after: str | None = None,
    study: str | None = None,
    author: str | None = None,
    place: Place | None = None,
) -> None:
    """Write into the log of a study what you expect of a step, or what you think now that you have seen it.

    What was written before is kept on record and no longer shown.

    $ flyweight journal note @latest --before "half the rate, the same accuracy"

    Parameters
    ----------
    run
        Any run of the step, or the name or file of its recipe.
    before
        What you expect. `flyweight train --expect` writes it before the run begins.
    after
        What you think it shows.
    study
        The study whose log it belongs to; that of the run unless told.
    author
        Who writes; FLYWEIGHT_AUTHOR or the name you are logged in as unless told.
    """
    from flyweight.records.author import author_or_default
    from flyweight.studies.results import runs_of_step

    store = (place or Place()).store()
    texts = {"before": before, "after": after}
    given = {kind: text.strip() for kind, text in texts.items() if text is not None}
    if not given or not all(given.values()):
        raise UsageError('a note needs words: give --before "..." or --after "...".')
    step = runs_of_step(run, store=store, study=study)
    studies = sorted({one.study for one in step if one.study is not None})
    if study is None and len(studies) > 1:
        raise UsageError(f"{run} is in the studies {', '.join(studies)}; say which with --study.")
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
