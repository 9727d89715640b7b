"""`flyweight predict`: classify pictures with a trained net."""

from __future__ import annotations

from pathlib import Path

from flyweight.cli.output import OutputFormat, StoreLocation, print_rows, say, say_json, talk
from flyweight.cli.settings import TrustCode
from flyweight.errors import DataError, UsageError
from flyweight.tables import counted


def predict(
    run: str,
    /,
    *images: Path,
    inputs: Path | None = None,
    trust_code: TrustCode = False,
    output: OutputFormat | None = None,
    location: StoreLocation | None = None,
) -> None:
    """Classify your own pictures with a trained net: one line a picture, with warnings where it may be wrong.

    For nets of handwritten digits or letters, the sheet is found, and each picture is made light on dark, cropped and
    centred like the images of MNIST. For other nets it is only resized. Of a single picture, the image that the net
    received is shown too. A picture that cannot be read does not end the command; the exit code is then 6.

    $ flyweight predict @best seven.png

    $ flyweight predict @latest scans photo.png --inputs seen --csv

    Parameters
    ----------
    run
        Id of a run or the start of it, @latest, @best (best validation accuracy on the images of the latest run),
        @best:DATA, or a file of weights.
    images
        Picture files and folders of them; for handwriting, one digit or letter per picture.
    inputs
        Also save the images that the net received, as PNG files in this folder.
    trust_code
        Run the file of the run's own module, if it is that of the run, and remember its hash.
    """
    if not images:
        raise UsageError("no picture files given; expected: flyweight predict RUN PICTURE...")
    from flyweight.inference.net import load
    from flyweight.inference.pictures import picture_files
    from flyweight.inference.predict import Prediction, Unread, save_seen

    output = output or OutputFormat()
    form = output.name
    net = load(run, store=(location or StoreLocation()).store(only_reads=True), trust_code=trust_code)
    paths, left_out = picture_files(images)
    if left_out:
        talk(f"left out: {counted(left_out, 'file')} of other kinds")
    found: list[Prediction | Unread] = []
    for one in net.predict_files(paths):
        found.append(one)
        if isinstance(one, Unread):
            if len(paths) > 1:
                talk(f"flyweight: {one.fault}")
        elif form == "text":
            say(one.as_text() if len(paths) == 1 else one.as_line())
    if form == "json":
        say_json([one.as_dict() for one in found])
    elif form != "text":
        print_rows([one.as_row() for one in found], output)
    if inputs is not None:
        save_seen([one for one in found if isinstance(one, Prediction)], inputs)
    unread = [one for one in found if isinstance(one, Unread)]
    if unread:
        many = f"{len(unread):,} of {len(paths):,} pictures could not be read (see above)"
        raise DataError(unread[0].fault if len(paths) == 1 else f"{many}; give other files in their place.")
