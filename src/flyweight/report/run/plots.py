"""Pictures of a run and of an image set: arrays go in, PNG bytes come out.

Colours are those of Okabe and Ito (2008), which colour-blind people can distinguish. Nothing is read or written here.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from flyweight.records.results import EpochLine, Misread

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8F98", "#22262B"
DOTS_PER_INCH: Final = 130
MOST_SHOWN: Final = 40
COLUMNS: Final = 8
MAX_WRITTEN: Final = 20  # classes of a confusion matrix whose counts are written in it
CELL: Final = (1.12, 1.42)  # inches: an image and the two lines above it
MARGIN: Final = 0.12
HEADING: Final = 0.4
MOST_OF_A_NAME: Final = 72

Images = NDArray[np.uint8]


def curves(history: Sequence[EpochLine], *, judged_on: str = "validation") -> bytes:
    """Loss, error and learning rate by epoch.

    judged_on: what the images are that the epochs were judged on.

    The error is shown and not the accuracy, on a logarithmic scale: from 99.0 to 99.5 % it is halved.
    """
    figure = new_figure(9.6, 3.1)
    loss, error, rate = figure.subplots(1, 3)
    epochs = [line.epoch for line in history]

    def column(name: str) -> list[float]:
        return [math.nan if (value := getattr(line, name)) is None else value for line in history]

    parts = [("train", BLUE, "train"), ("validation", ORANGE, judged_on)]
    if all(line.validation_accuracy is None for line in history):
        parts = parts[:1]
    for part, colour, name in parts:
        _line(loss, epochs, column(f"{part}_loss"), colour, name)
        percents = [100 * (1 - accuracy) for accuracy in column(f"{part}_accuracy")]
        _line(error, epochs, percents, colour, name)
    _line(rate, epochs, column("lr"), GREEN, "learning rate")
    for axes, title in ((loss, "loss per image"), (error, "error in %"), (rate, "learning rate at the epoch's end")):
        tidy(axes, title)
        axes.set_xlabel("epoch", fontsize=8.5)
        _whole_epochs(axes, epochs)
    for axes in (loss, error):
        _log_scale(axes)
        axes.legend(frameon=False, fontsize=8)
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_formatter(_plain_numbers)
    return png(figure)


def confusion(counts: NDArray[np.int64], names: Sequence[str]) -> bytes:
    """Rows are the true classes, columns the predicted ones; mistakes are coloured, the diagonal is grey.

    Of many classes the counts are not written and only some are named, as in any picture of that size.
    """
    n = len(names)
    side = max(3.6, 0.42 * min(n, MAX_WRITTEN) + 1.0)
    figure = new_figure(side, side)
    axes = figure.subplots()
    mistakes = counts.astype(float).copy()
    np.fill_diagonal(mistakes, 0)
    axes.imshow(np.ma.masked_equal(mistakes, 0), cmap="YlOrRd", vmin=0, vmax=max(1.0, mistakes.max() * 1.3))
    size = 8 if n <= 15 else max(3.5, 90 / n)
    for row, column in np.argwhere(counts) if n <= MAX_WRITTEN else ():
        count = counts[row, column]
        is_dark = count > 0.6 * mistakes.max()
        colour = GREY if row == column else "white" if is_dark else INK
        axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size, color=colour)
    named = range(0, n, math.ceil(n / MAX_WRITTEN))
    shown = [drawable(names[at]) for at in named]
    turned = 90 if max(map(len, shown)) > 3 else 0
    axes.set_xticks(named, shown, fontsize=max(size, 5), rotation=turned, parse_math=False)
    axes.set_yticks(named, shown, fontsize=max(size, 5), parse_math=False)
    axes.set_xlabel("read as", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return png(figure)


def misread(kept: Misread, names: Sequence[str]) -> bytes:
    """The misread images with what they are and what was read, the most confident mistakes first."""
    shown = min(len(kept.images), MOST_SHOWN)
    if shown == 0:
        return _note("no test image was misread")
    captions = [
        f"{short(names[label])} → {short(names[predicted])}\n{row[predicted]:.0%}"
        for label, predicted, row in zip(kept.labels[:shown], kept.predicted, kept.probabilities, strict=False)
    ]
    columns = min(COLUMNS, shown)
    figure, axes = _sheet(CELL[0] * columns, CELL[1] * math.ceil(shown / columns) + 0.1)
    _captioned_pictures(axes, list(kept.images[:shown]), captions, top=0.0)
    return _whole(figure, axes)


def filters(weights: NDArray[np.float32]) -> bytes:
    """The first layer's filters, (out, in, height, width): blue takes away, orange adds; one scale for all."""
    planes = weights.reshape(-1, *weights.shape[2:]) if weights.shape[1] != 1 else weights[:, 0]
    columns = min(COLUMNS, len(planes))
    cell = 0.95
    figure, axes = _sheet(cell * columns, cell * math.ceil(len(planes) / columns))
    reach = float(np.abs(planes).max()) or 1.0
    for place, plane in enumerate(planes):
        row, column = divmod(place, columns)
        extent = _extent(plane.shape, left=cell * column, top=cell * row, cell=cell)
        axes.imshow(plane, cmap="PuOr_r", vmin=-reach, vmax=reach, extent=extent)
    return _whole(figure, axes)


def class_grid(examples: Sequence[Images], names: Sequence[str]) -> bytes:
    """A row of images per class; `examples` has one (n, C, H, W) array for each name."""
    cell, beside = 0.62, 1.2
    figure, axes = _sheet(cell * max(map(len, examples)) + beside, cell * len(examples))
    for row, (images, name) in enumerate(zip(examples, names, strict=True)):
        middle = cell * (row + 0.5)
        name = short(name, 14)
        axes.text(beside - 0.1, middle, name, fontsize=9, color=INK, ha="right", va="center", parse_math=False)
        for column, image in enumerate(images):
            _picture(axes, image, left=beside + cell * column, top=cell * row, cell=cell)
    return _whole(figure, axes)


def augmentation(variants: Images) -> bytes:
    """(n, 1 + variants, C, H, W): in each row an image as it is, then as training sees it."""
    rows, columns = variants.shape[:2]
    cell, above = 0.85, 0.3
    figure, axes = _sheet(cell * columns, cell * rows + above)
    for row in range(rows):
        for column in range(columns):
            _picture(axes, variants[row, column], left=cell * column, top=above + cell * row, cell=cell)
    for column, name in enumerate(("as it is", "augmented")):
        axes.text(cell * (column + 0.5), above - 0.05, name, fontsize=8, color=INK, ha="center", va="bottom")
    return _whole(figure, axes)


def learning(sides: Sequence[tuple[str, Sequence[Mapping[int, float]]]]) -> bytes:
    """Validation error by epoch of results beside each other: a name and, seed by seed, {epoch: accuracy} for each.

    The line is the mean of the seeds that reached an epoch, the band reaches from the best to the worst of them. The
    scale is logarithmic, as in `curves`; an error of 0, which it has no place for, stands at half the smallest other.
    """
    figure = new_figure(9.6, 3.8)
    (axes,) = figure.subplots(1, 1, squeeze=False).flat
    floor = _least_error([seed for _, seeds in sides for seed in seeds])
    epochs = sorted({epoch for _, seeds in sides for seed in seeds for epoch in seed})
    handles = [
        _band(axes, seeds, colour, floor=floor, shift=0.0 if len(epochs) > 1 else 0.1 * place - 0.05)
        for place, ((_, seeds), colour) in enumerate(zip(sides, (BLUE, ORANGE, GREEN, GREY), strict=False))
    ]
    tidy(axes, "validation error in %")
    axes.set_xlabel("epoch", fontsize=8.5)
    _whole_epochs(axes, epochs)
    _log_scale(axes)
    # The names are set afterwards: a legend takes "_name" for one to hide, and "$" for the beginning of a formula.
    legend = axes.legend(handles, [str(place) for place in range(len(handles))], frameon=False, fontsize=8)
    for text, (name, _) in zip(legend.get_texts(), sides, strict=False):
        text.set_parse_math(False)
        text.set_text(short(name, MOST_OF_A_NAME))
    return png(figure)


def captioned(blocks: Sequence[tuple[str, Sequence[Images], Sequence[str]]]) -> bytes:
    """Blocks of images below each other: a heading, the images (C, H, W), and what stands above each of them.

    A block without images is left out.
    """
    shown = [block for block in blocks if len(block[1])]
    if not shown:
        return _note("no image to show")
    height = sum(HEADING + CELL[1] * math.ceil(len(images) / COLUMNS) for _, images, _ in shown)
    figure, axes = _sheet(CELL[0] * COLUMNS, height)
    top = 0.0
    for heading, images, captions in shown:
        axes.text(0.08, top + 0.2, drawable(heading), fontsize=9.5, color=INK, va="center", parse_math=False)
        top += HEADING
        lines = ["\n".join(short(line, 14) for line in caption.splitlines()) for caption in captions]
        _captioned_pictures(axes, images, lines, top=top)
        top += CELL[1] * math.ceil(len(images) / COLUMNS)
    return _whole(figure, axes)


def _sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one system of axes, in inches from the top left: axes for each image take ten times as long."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


def _captioned_pictures(axes: Axes, images: Sequence[Images], captions: Sequence[str], *, top: float) -> None:
    """Images in rows from there on, each with two lines above it."""
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, COLUMNS)
        left, above = CELL[0] * column, top + CELL[1] * row
        middle = left + CELL[0] / 2
        axes.text(middle, above + 0.33, caption, fontsize=8, color=INK, ha="center", va="bottom", parse_math=False)
        _picture(axes, image, left=left, top=above + 0.3, cell=CELL[0])


def _picture(axes: Axes, image: Images, *, left: float, top: float, cell: float) -> None:
    """One image (C, H, W) in the square cell that begins there, grey or colour; digits dark on light, as on paper."""
    extent = _extent(image.shape[1:], left=left, top=top, cell=cell)
    if len(image) == 1:
        axes.imshow(image[0], cmap="gray_r", vmin=0, vmax=255, interpolation="nearest", extent=extent)
    else:
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest", extent=extent)


def _extent(shape: tuple[int, ...], *, left: float, top: float, cell: float) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of an image (height, width) in the middle of a cell, with a margin about it."""
    height, width = (side / max(shape) * (cell - MARGIN) / 2 for side in shape)
    x, y = left + cell / 2, top + cell / 2
    return x - width, x + width, y + height, y - height


def _whole(figure: Figure, axes: Axes) -> bytes:
    """The sheet from edge to edge; each image that was added has set the limits to its own."""
    width, height = figure.get_size_inches()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return png(figure)


def new_figure(width: float, height: float) -> Figure:
    """Inches. A figure of its own, without pyplot's global state or a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def _note(text: str) -> bytes:
    figure = new_figure(4, 0.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=INK)
    return png(figure)


def _line(axes: Axes, epochs: Sequence[float], values: Sequence[float], colour: str, label: str) -> None:
    axes.plot(
        epochs, values, color=colour, label=label, marker="o", markersize=3.5 if len(epochs) < 30 else 0, linewidth=1.6
    )


def _band(axes: Axes, seeds: Sequence[Mapping[int, float]], colour: str, *, floor: float, shift: float) -> Artist:
    """The mean error of the seeds and the reach from the best to the worst of them; gives what a legend points to."""
    epochs = sorted({epoch for seed in seeds for epoch in seed})
    errors = [[max(100 * (1 - seed[epoch]), floor) for seed in seeds if epoch in seed] for epoch in epochs]
    places, means = [epoch + shift for epoch in epochs], [float(np.mean(some)) for some in errors]
    low, high = [min(some) for some in errors], [max(some) for some in errors]
    if len(epochs) == 1:
        axes.vlines(places, low, high, color=colour, linewidth=5, alpha=0.25)
    else:
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
    # The second result is distinguished by its marks and dashes too, in print and by those who see no colours.
    is_first = colour == BLUE
    (line,) = axes.plot(
        places,
        means,
        color=colour,
        marker="o" if is_first else "s",
        markersize=4 if len(epochs) < 30 else 0,
        linestyle="-" if is_first else (0, (5, 1.5)),
        linewidth=1.7,
    )
    return line


def _least_error(seeds: Sequence[Mapping[int, float]]) -> float:
    """Half the smallest error in percent that is not 0, for those that are."""
    found = [100 * (1 - accuracy) for seed in seeds for accuracy in seed.values() if accuracy < 1]
    return min(found) / 2 if found else 0.01


def drawable(text: str) -> str:
    """The text in one line, boxes in place of what the font of the pictures has no shape for."""
    from matplotlib.font_manager import findfont, get_font

    if text.isascii() and text.isprintable():
        return text
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(character if ord(character) in known else "□" for character in " ".join(text.split()))


def tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9.5, color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#E3E5E8", linewidth=0.7)
    axes.tick_params(which="both", labelsize=8)


def _whole_epochs(axes: Axes, epochs: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)


def _plain_numbers(value: float, _position: float | None = None) -> str:
    return f"{value:g}"


def _log_scale(axes: Axes) -> None:
    """A logarithmic axis with labels: at 1, 2 and 5, or, where it spans less than a factor of 5, at round numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(FuncFormatter(_plain_numbers))
    if high / low < 5:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        is_short = high / low < 200
        axes.yaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if is_short and f"{value:e}"[0] in "25" else "")
        )


def short(name: str, length: int = 9) -> str:
    name = drawable(name)
    return name if len(name) <= length else f"{name[: length - 1]}…"
