"""`flyweight export`: a trained net as files for other places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flyweight.cli.output import Flag, StoreLocation, say, say_json, talk


def export(
    run: str,
    /,
    *,
    to: str,
    out: Annotated[Path | None, Parameter(show_default=False)] = None,
    gate_images: int = 10_000,
    unchecked: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    location: StoreLocation | None = None,
) -> None:
    """Write a trained net as files for other places: ONNX, C, a file of integers, weights, a model card.

    Before anything is written, the result is compared with the net that it came from, on validation and training
    images. If they differ, nothing is written and the exit code is 8. The test set is opened once, for the accuracy of
    the integer net, and the opening is recorded.

    $ flyweight export @best --to c --out net

    $ flyweight export @best --to int8 --out integers --json

    Parameters
    ----------
    run
        Id of a run or the start of it, @latest, @best, or a recipe: its best finished run.
    to
        onnx: float32 and int8, which onnxruntime and others read. c: C99 for any processor, integers only. int8: the
        same integers as JSON, and JavaScript that runs them. arduino: a library. micropython: one Python
        file. safetensors: the weights. card: README.md with accuracy, data and weaknesses.
    out
        Folder of the files. Default: a new one named after the net.
    gate_images
        Images to compare on, at least 500.
    unchecked
        Also write what cannot be compared on this machine; card and files say "not checked".
    overwrite
        Replace files of an earlier export.
    json
        Print the files and the model card as JSON.
    """
    from flyweight.export.write import export as exported

    store = (location or StoreLocation()).store()
    found = exported(
        run,
        to,
        out=out,
        store=store,
        gate_images=gate_images,
        unchecked=unchecked,
        overwrite=overwrite,
        say=talk,
    )
    if json:
        say_json(found.as_dict())
    else:
        say(found.as_text())
