"""`flyweight data`: the known image sets, and statistics of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from flyweight.cli.output import OutputFormat, print_rows, say, say_json, talk

if TYPE_CHECKING:
    from flyweight.data.imageset import ImageSet
    from flyweight.data.splits import Summary


def data(
    name: str | None = None,
    /,
    *,
    resize: int | None = None,
    fit: Annotated[Literal["stretch", "pad", "crop"], Parameter(show_default=False)] = "stretch",
    validation: int | None = None,
    split_seed: int = 0,
    pictures: Path | None = None,
    recipe: Annotated[str, Parameter(show_default=False)] = "own/20k-fast",
    output: OutputFormat | None = None,
) -> None:
    """List the known image sets, or describe one: counts, mean, standard deviation, pictures.

    $ flyweight data

    $ flyweight data mnist --pictures seen

    $ flyweight data photos/ --resize 32 --json

    Parameters
    ----------
    name
        A known set, an .npz or .csv file, a folder of IDX files, or a folder (or .zip file) with one subfolder of
        pictures per class.
    resize
        Resize every image to a square with sides of this many pixels.
    fit
        With --resize: squeeze images that are not square (default), give them bars (pad), or cut them (crop).
    validation
        Number of training images held out for validation. Default: 5,000, or a sixth of a small set.
    split_seed
        Seed that chooses the validation images.
    pictures
        Also write PNG files into this folder: example images of each class, and a preview of the augmentation.
    recipe
        With --pictures: recipe whose augmentation is previewed. Default: own/20k-fast.
    """
    output = output or OutputFormat()
    if name is None:
        print_rows(_named_sets(), output)
        return
    from flyweight.data.notes import notes
    from flyweight.data.sources import load
    from flyweight.data.splits import split, summary

    image_set = load(name, resize=resize, fit=fit)
    parts = split(image_set, seed=split_seed, validation=validation)
    found = summary(image_set, parts)
    noted = notes(image_set, parts, found)
    if output.name == "json":
        say_json(vars(found) | {"sizes": found.sizes, "notes": noted})
    else:
        if output.name == "text":
            say(_description(found))
            for note in noted:
                say(f"note: {note}.")
        print_rows(_counts(found), output)
    if pictures is not None:
        _write_pictures(image_set, pictures, recipe)


def _write_pictures(image_set: ImageSet, folder: Path, recipe: str) -> None:
    from flyweight.experiment.preview import augmented, examples_per_class
    from flyweight.files import make_folder, write_bytes
    from flyweight.recipe import load
    from flyweight.report.run import plots

    classes = plots.class_grid(examples_per_class(image_set), image_set.class_names)
    preview = plots.augmentation(augmented(image_set, load(recipe)))
    make_folder(folder)
    for name, content in (("classes.png", classes), ("augmentation.png", preview)):
        write_bytes(folder / name, content)
        talk(f"wrote {folder / name}")


def _named_sets() -> list[dict[str, Any]]:
    from flyweight.data.catalogue import CATALOGUE

    return [
        {
            "name": named.name,
            "classes": len(named.class_names),
            "train": named.n_train,
            "test": named.n_test,
            "download": "built in" if named.is_built_in else f"{named.download_megabytes} MB",
            "description": named.description,
        }
        for named in CATALOGUE.values()
    ]


def _counts(found: Summary) -> list[dict[str, Any]]:
    """Images per class and split, and their sums."""
    rows: list[dict[str, Any]] = [
        {"class": name} | {part: counts[number] for part, counts in found.counts.items()}
        for number, name in enumerate(found.class_names)
    ]
    return [*rows, {"class": "all"} | found.sizes]


def _description(found: Summary) -> str:
    channels, height, width = found.shape
    return (
        f"{found.name}: {len(found.class_names)} classes, {channels}x{height}x{width} (channels, height, width)\n"
        f"training images: mean {', '.join(f'{value:.4f}' for value in found.mean)}, "
        f"standard deviation {', '.join(f'{value:.4f}' for value in found.std)} (pixels in 0..1)\n"
        f"values {found.values[0]} to {found.values[1]}, background {', '.join(map(str, found.background))} "
        "(median of the borders)\n"
        f"data {found.fingerprint[:12]}, split {found.split_hash[:12]}\n"
    )
