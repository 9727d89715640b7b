"""The picture of a document: what it reports, what its reproduction gave, and what is so on clean images.

Go in: a document and the verdicts on its steps. Comes out: PNG bytes, the same for the same values. Errors are shown on
a logarithmic scale, as everywhere here: from 99.0 to 99.5 % the error is halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from flyweight.records.record import HeldOut
from flyweight.report.reproduction.rows import last_as_reported
from flyweight.report.run.plots import BLUE, GREEN, GREY, INK, ORANGE, drawable, new_figure, png, short, tidy
from flyweight.reproductions.document import Document, Step
from flyweight.reproductions.runs import Replay
from flyweight.reproductions.verdicts import StepVerdict

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points: TypeAlias = Mapping[int, float]  # error in percent by epoch

PURPLE: Final = "#CC79A7"
SPLIT_COLOURS: Final[dict[HeldOut, str]] = {"test": BLUE, "validation": ORANGE}
WIDTH: Final = 9.6  # inches, as `plots.curves`
PANELS_A_ROW: Final = 4
PANEL_HEIGHT, LONE_PANEL_HEIGHT = 1.75, 3.6
ROW_HEIGHT: Final = 0.36
LEAST_ERROR: Final = 0.01  # percent; a logarithmic scale has no place for 0
TICKS: Final = (90, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1)  # percent wrong
LONGEST_LABEL: Final = 36
FEW_POINTS: Final = 2


def document_picture(document: Document, verdicts: Sequence[StepVerdict]) -> bytes:
    """Curves by epoch, a panel a step, if a step of the document has more than one epoch; else a row of dots a step."""
    return png(draw(document, verdicts))


def draw(document: Document, verdicts: Sequence[StepVerdict]) -> Figure:
    """The figure of `document_picture`."""
    is_long = any(step.recipe.train.epochs > 1 for step in document.steps)
    return (_curves if is_long else _dots)(document, verdicts)


@dataclass(frozen=True, kw_only=True)
class _Style:
    """How something is drawn, and what the legend calls it."""

    label: str
    colour: str
    marker: str = ""
    is_hollow: bool = False
    line: str | tuple[float, tuple[float, ...]] = ""
    size: float = 5.0

    def options(self, **changed: Any) -> dict[str, Any]:
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": self.size,
            "markerfacecolor": "white" if self.is_hollow else self.colour,
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.8 if self.marker == "x" else 1.1,
            "linestyle": self.line,
            "linewidth": 1.2,
            **changed,
        }


REPORTED: Final = _Style(label="reported", colour=INK, marker="o", is_hollow=True, size=8.5)
REPLAYED: Final = _Style(label="replayed as reported, each seed", colour=BLUE, marker="o", size=4.5)
CLEAN: Final = _Style(label="clean, each seed", colour=GREEN, marker="D", size=4.5)
DIVERGED: Final = _Style(label="diverged", colour=PURPLE, marker="x", size=6.5)
CURVES: Final = {
    (part, what): style
    for part, colour in SPLIT_COLOURS.items()
    for what, style in {
        "reported": _Style(
            label=f"{part}, reported", colour=colour, marker="o", is_hollow=True, size=3.2, line=(0, (3.0, 1.6))
        ),
        "replayed": _Style(label=f"{part}, replayed", colour=colour, line="-"),
    }.items()
}


def _dots(document: Document, verdicts: Sequence[StepVerdict]) -> Figure:
    """A row a step on one axis of accuracy, from a constant prediction to the best, the reported figure at its end."""
    figure = new_figure(WIDTH, ROW_HEIGHT * len(verdicts) + 1.3)
    (axes,) = figure.subplots(1, 1, squeeze=False).flat
    goal = _error(document.goal.accuracy)
    drawn: list[_Style] = []
    errors = [goal, 90.0]  # the correct prediction of one class in ten
    for row, verdict in enumerate(verdicts):
        for style, place, found in _dots_of(verdict):
            drawn.append(style)
            errors += found
            axes.plot(found, [row + place] * len(found), **style.options(), clip_on=False)
        _beside(axes, row, verdict.headline.claim.reported if verdict.headline else "")
    tidy(axes, "accuracy in %, the error on a logarithmic scale")
    goal_line = axes.axvline(goal, color=GREY, linewidth=1.1, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(verdicts)), [_step_label(verdict.step) for verdict in verdicts], fontsize=8)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(len(verdicts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    _beside(axes, -0.85, "reported")
    _error_axis(axes, "x", errors, lambda error: f"{100 - error:g}")
    axes.invert_xaxis()
    _legend(figure, drawn, goal_line, document)
    return figure


def _dots_of(verdict: StepVerdict) -> Iterator[tuple[_Style, float, list[float]]]:
    """What is drawn, how far below the middle of the row, and the errors."""
    replays = verdict.replays
    reported = verdict.headline.claim if verdict.headline else None
    # The ring of what is reported is behind the dots: a figure that is met stands inside it.
    if reported and reported.what == "accuracy":
        yield REPORTED, -0.12, [_error(reported.value)]
    replayed = [_error(accuracy) for replay in replays if (accuracy := last_as_reported(replay)) is not None]
    if replayed:
        yield REPLAYED, -0.12, replayed
    clean = [_error(replay.clean.accuracy) for replay in replays if replay.clean]
    if clean:
        yield CLEAN, 0.2, clean
    diverged = [_constant_error(replay) for replay in replays if replay.is_diverged]
    if diverged:
        yield DIVERGED, -0.12, diverged


def _constant_error(replay: Replay) -> float:
    """That of a net of no numbers, which answers 0 to every image."""
    return _error(replay.class_counts[0] / sum(replay.class_counts))


def _beside(axes: Axes, row: float, text: str) -> None:
    """A word at the end of a row, outside of the axes."""
    axes.text(
        1.015, row, text, transform=axes.get_yaxis_transform(), fontsize=8, color=INK, va="center", parse_math=False
    )


def _step_label(step: Step) -> str:
    return short(f"{step.name}  {step.label}", LONGEST_LABEL)


def _curves(document: Document, verdicts: Sequence[StepVerdict]) -> Figure:
    """A panel a step with the same axes in all of them, so that panels can be compared."""
    columns = min(PANELS_A_ROW, max(1, len(verdicts)))
    rows = max(1, math.ceil(len(verdicts) / columns))
    height = PANEL_HEIGHT * rows if rows > 1 else LONE_PANEL_HEIGHT
    figure = new_figure(WIDTH, height + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    goal = _error(document.goal.accuracy)
    drawn: list[_Style] = []
    errors = [goal]
    for axes, verdict in zip(grid.flat, verdicts, strict=False):
        panel = list(_curves_of(verdict))
        for style, points in panel:
            drawn.append(style)
            errors += points.values()
            axes.plot(list(points), list(points.values()), **style.options(**_how(style, points)))
        _panel(axes, verdict, is_empty=not panel, is_narrow=columns > 1)
        goal_line = axes.axhline(goal, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    for axes in grid.flat[len(verdicts) :]:
        axes.set_axis_off()
    _error_axis(grid.flat[0], "y", errors, lambda error: f"{error:g}")
    _epoch_axis(grid, verdicts)
    figure.supylabel("error in %", fontsize=9, color=INK)
    figure.supxlabel("epoch", fontsize=9, color=INK)
    _legend(figure, drawn, goal_line, document)
    return figure


def _curves_of(verdict: StepVerdict) -> Iterator[tuple[_Style, Points]]:
    for part in SPLIT_COLOURS:
        for replay in verdict.replays:
            replayed = _replayed(replay, part)
            if replayed:
                yield CURVES[part, "replayed"], replayed
        reported = _reported(verdict.step, part)
        if reported:
            yield CURVES[part, "reported"], reported
    for replay in verdict.replays:
        if replay.clean:
            yield CLEAN, {replay.clean.epoch: _error(replay.clean.accuracy)}
        if replay.is_diverged:
            yield DIVERGED, {len(replay.epochs) + 1: _constant_error(replay)}


def _how(style: _Style, points: Points) -> dict[str, Any]:
    """A curve of one or two points is marked by larger dots, what is reported without a line between them."""
    if style.line == "-":
        return {"marker": "o" if len(points) == 1 else "", "markersize": 4, "alpha": 0.75}
    if style.is_hollow and len(points) <= FEW_POINTS:
        return {"linestyle": "", "markersize": 7}
    return {}


def _reported(step: Step, part: HeldOut) -> Points:
    """The errors of the printed log, and of the claims where no log has the epoch."""
    claimed = {
        claim.epoch: _error(claim.value)
        for claim in step.claims
        if claim.what == "accuracy" and claim.on == part and claim.epoch is not None and claim.sense == "exactly"
    }
    logged = {
        int(row["epoch"]): _error(row[part] / 100) for row in step.log if part in row and math.isfinite(row[part])
    }
    return dict(sorted((claimed | logged).items()))


def _replayed(replay: Replay, part: HeldOut) -> Points:
    figures = {epoch.epoch: epoch.test if part == "test" else epoch.validation for epoch in replay.epochs}
    return {epoch: _error(figure.accuracy) for epoch, figure in figures.items() if figure}


def _panel(axes: Axes, verdict: StepVerdict, *, is_empty: bool, is_narrow: bool) -> None:
    """The name of a step, and its figures in the corner that curves which come down leave free."""
    step = verdict.step
    tidy(axes, "")
    title = f"{step.name}  {step.label}"
    axes.set_title(
        short(title, LONGEST_LABEL) if is_narrow else drawable(title),
        fontsize=7.5 if is_narrow else 9.5,
        color=INK,
        loc="left",
        parse_math=False,
    )
    reported = [verdict.headline.claim.reported] if verdict.headline else []
    clean = [f"{100 * verdict.clean.mean:.2f} %"] if verdict.clean else []
    words = [f"reported {text}" for text in reported] + [f"clean {text}" for text in clean]
    axes.text(
        0.97,
        0.95,
        "no figures" if is_empty else "\n".join(words),
        transform=axes.transAxes,
        fontsize=7.5,
        color=INK,
        ha="right",
        va="top",
        parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
    )


def _epoch_axis(grid: Any, verdicts: Sequence[StepVerdict]) -> None:
    from matplotlib.ticker import MaxNLocator

    last = max((verdict.step.recipe.train.epochs for verdict in verdicts), default=1)
    grid.flat[0].set_xlim(0.5 if last > 1 else 0, last + 0.7)
    grid.flat[0].xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def _error_axis(axes: Axes, which: Literal["x", "y"], errors: Iterable[float], label: Callable[[float], str]) -> None:
    """A logarithmic axis with round numbers that reaches a little beyond all errors."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    found = list(errors)
    low, high = min(found) / 1.25, min(max(found) * 1.25, 100.0)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([label(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def _legend(figure: Figure, drawn: Iterable[_Style], goal_line: Artist, document: Document) -> None:
    """Above all axes; only what is there, in the order of the tables of styles."""
    from matplotlib.lines import Line2D

    there = set(drawn)
    styles = [style for style in (REPORTED, REPLAYED, *CURVES.values(), CLEAN, DIVERGED) if style in there]
    handles: list[Artist] = [Line2D([], [], label=style.label, **style.options()) for style in styles]
    goal_line.set_label(f"goal {100 * document.goal.accuracy:g} %")
    figure.legend(
        handles=[*handles, goal_line], loc="outside upper center", ncols=len(handles) + 1, frameon=False, fontsize=8
    )


def _error(accuracy: float) -> float:
    """In percent, never 0."""
    return max(100 * (1 - accuracy), LEAST_ERROR)
