"""`flyweight page`: one web page on which a net reads what you draw."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

from flyweight.cli.output import Flag, StoreLocation, say
from flyweight.errors import UsageError


def page(
    run: str = "@best",
    /,
    *,
    compare: str | None = None,
    out: Path | None = None,
    open: Annotated[bool, Flag] = False,
    with_images: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> None:
    """Write one HTML file on which a net reads what you draw, with a look inside it.

    The file needs no network, no server and no other file. It works by double click and in the browser of a phone.

    $ flyweight page @best

    $ flyweight page own/20k-fast --out digits.html --open

    $ flyweight page @best --compare @latest

    Parameters
    ----------
    run
        Id of a run or the start of it, @latest, @best, @best:DATA, or the name of a recipe (its best finished run by
        validation).
    compare
        A second run or recipe, which reads the same drawing beside the first.
    out
        The file to write. Default: the name of the recipe, in this folder.
    open
        Open the page in a browser.
    with_images
        Embed images of a set of your own, too. By default only images of the named sets are in the file.
    """
    from flyweight.page.write import write_page

    names = [run] if compare is None else [run, compare]
    if compare is not None and compare == run:
        raise UsageError(f"--compare needs another run than {run}; see: flyweight runs")
    written = write_page(names, (location or StoreLocation()).store(), out=out, with_images=with_images)
    say(f"{written.path} ({written.n_bytes / 1000:,.0f} kB)")
    if open:
        webbrowser.open(written.path.resolve().as_uri())
