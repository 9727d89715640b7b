"""`flyweight predict`: what a trained net reads in pictures of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flyweight.cli.output import Flag, Place, say, say_json
from flyweight.errors import UsageError


def predict(
    run: str,
    /,
    *images: Path,
    inputs: Path | None = None,
    json: Annotated[bool, Flag] = False,
    place: Place | None = None,
) -> None:
    """Classify pictures with a trained net, and show what the net was given to see.

    For a net of handwritten digits or letters each picture is turned light on dark, cropped and centred as those of
    MNIST were; for others it is taken as it is, in the net's size.

    $ flyweight predict @best seven.png

    $ flyweight predict @latest scan.jpg photo.png --inputs seen --json

    Parameters
    ----------
    run
        A run's id or the beginning of it, @latest, or @best (by validation); or a file of weights.
    images
        Picture files; of handwriting, one digit or letter each.
    inputs
        Also save what the net was given to see, as PNG files in this folder.
    json
        Print JSON.
    """
    if not images:
        raise UsageError("predict needs at least one picture file, found none.")
    from flyweight.inference.net import load
    from flyweight.inference.predict import save_seen

    found = load(run, store=(place or Place()).store()).predict(images)
    if inputs is not None:
        save_seen(found, inputs)
    if json:
        say_json([one.as_dict() for one in found])
    else:
        say("\n\n".join(one.as_text() for one in found))
