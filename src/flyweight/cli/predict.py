"""`flyweight predict`: classify pictures with a trained net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flyweight.cli.output import Flag, StoreLocation, say, say_json
from flyweight.cli.settings import TrustCode
from flyweight.errors import UsageError


def predict(
    run: str,
    /,
    *images: Path,
    inputs: Path | None = None,
    trust_code: TrustCode = False,
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> None:
    """Classify your own pictures with a trained net, and show the images that the net received.

    For nets of handwritten digits or letters, each picture is made light on dark, cropped and centred like the images
    of MNIST. For other nets it is only resized.

    $ flyweight predict @best seven.png

    $ flyweight predict @latest scan.jpg photo.png --inputs seen --json

    Parameters
    ----------
    run
        Id of a run or the start of it, @latest, @best (best validation accuracy on the images of the latest run),
        @best:DATA, or a file of weights.
    images
        Picture files; for handwriting, one digit or letter per picture.
    inputs
        Also save the images that the net received, as PNG files in this folder.
    trust_code
        Run the file of the run's own module, if it is that of the run, and remember its hash.
    json
        Print JSON.
    """
    if not images:
        raise UsageError("no picture files given; expected: flyweight predict RUN PICTURE...")
    from flyweight.inference.net import load
    from flyweight.inference.predict import save_seen

    found = load(run, store=(location or StoreLocation()).store(only_reads=True), trust_code=trust_code).predict(images)
    if inputs is not None:
        save_seen(found, inputs)
    if json:
        say_json([one.as_dict() for one in found])
    else:
        say("\n\n".join(one.as_text() for one in found))
