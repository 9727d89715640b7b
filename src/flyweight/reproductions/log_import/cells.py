"""What a cell of an experiment table says: a count of parameters, an accuracy, nothing. Text in, figures out.

Which column it stands in, and what its neighbours say, is not known here: whether 0.99 is a fraction or a percentage is
left to the column. What cannot be read raises ValueError with the words that follow the place in a message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TypeAlias

Scale: TypeAlias = Literal["percent", "fraction", "either"]

_ABOUT = r"~|≈|\u223c|\u2243|about|approx\.?|approximately|around|ca\.?|circa|roughly|almost|nearly"
_ABOVE = r">=?|≥|above|over|more than|at least"
_LIMIT = re.compile(r"(?:<=?|≤|below|under|less than|fewer than|up to|at most|within)\s*[0-9.]", re.IGNORECASE)
_SENSE = rf"(?:(?P<about>{_ABOUT})|(?P<above>{_ABOVE}))?\s*"
_GROUPED = r"[0-9]{1,3}(?:[,_'\u2019 ][0-9]{3}){1,4}(?![0-9])"
# What may follow a figure: a remark in brackets, after a comma, or on the epoch or the seeds.
_REMARK = r"(?P<remark>[(\[@].*|[,;] *[^\W\d].*|(?:at|in|on|over|after|by|epoch)\b.*|n *=.*)?"
_PARAMETERS = r"(?:(?:total|trainable|learnable)\s+)?(?:params?|parameters?)\b\.?"

_COUNT = re.compile(
    rf"{_SENSE}(?P<sign>[-\u2212])?(?P<number>{_GROUPED}|[0-9]{{1,15}}(?:\.[0-9]{{0,6}})?)"
    rf"\s*(?:(?P<scale>k|m|mio|thousand|million)\b)?\.?\s*(?P<plus>\+)?\s*(?:{_PARAMETERS})?\s*{_REMARK}",
    re.IGNORECASE | re.DOTALL,
)
_SPREAD = r"(?:(?:±|\+/-|\+-)\s*(?P<spread>[0-9]{1,3}(?:[.,][0-9]{1,20})?|\.[0-9]{1,20})\s*(?P<spread_percent>%)?)?"
_ACCURACY = re.compile(
    rf"{_SENSE}(?P<sign>[-\u2212])?(?P<number>[0-9]{{1,7}}(?:[.,][0-9]{{0,20}})?|\.[0-9]{{1,20}})"
    rf"\s*(?P<percent>%|percent\b|pct\b)?\s*{_SPREAD}\s*(?P<plus>\+)?\s*%?\s*{_REMARK}",
    re.IGNORECASE | re.DOTALL,
)
_WHOLE = rf"{_GROUPED}|[0-9]{{1,12}}"
_RATIO = re.compile(
    rf"(?P<correct>{_WHOLE})\s*(?:/|of|out of)\s*(?P<images>{_WHOLE})\s*(?:images|correct|right)?", re.IGNORECASE
)
_BRACKETED = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_SEEDS = re.compile(
    r"\bn\s*=\s*([0-9]{1,3})(?![0-9.,]*[0-9])|(?<![0-9.,])([0-9]{1,3})\s+(?:random\s+)?(?:seeds|runs)\b", re.IGNORECASE
)
_EPOCH = re.compile(r"\bepochs?\s*[#:=]?\s*([0-9]{1,6})\b", re.IGNORECASE)

_NOTHING = re.compile(
    r"[-\u2013\u2014\u2212.…?/ ]*|n\.?/?a\.?|none|null|nil|nan|tbd|todo|pending|unknown"
    r"|not (?:measured|reported|run|available)",
    re.IGNORECASE,
)
_OUTCOME = re.compile(
    r".*\b(?:diverge[sd]?|diverging|crashe[sd]|crash|fail(?:s|ed)?|oom|stuck|exploded|no convergence"
    r"|(?:did|does) not converge|(?:didn't|doesn't) converge|not converged)\b.*",
    re.IGNORECASE | re.DOTALL,
)

# A figure among other lines of a cell, after its name: "Test: Loss=0.03, Accuracy=99.41% (9,941/10,000)".
_NAMED_COUNT = re.compile(r"\b(?:params?|parameters?)\b(?: count)?\s*[:=]\s*(?P<figure>.*)", re.IGNORECASE)
_NAMED_ACCURACY = re.compile(
    r"(?P<part>.*?)\b(?:acc|accuracy)\b\.?\s*(?:\([^()]*\))?\s*[:=]\s*(?P<figure>.*)", re.IGNORECASE
)
_NAMED_PART = re.compile(
    r"(?P<part>\b(?:train|val|valid|test)[a-z]*\b\.?)\s*[:=]\s*(?P<figure>[~>≈≥]?\s*[0-9.].*)", re.IGNORECASE
)
_SCALES: Final = {"": 1, "k": 1_000, "thousand": 1_000, "m": 1_000_000, "mio": 1_000_000, "million": 1_000_000}
# "~22,000" says that it is no exact count and not how far off it may be; a twentieth is given.
_ABOUT_SHARE: Final = 20
# A ratio in brackets beside a percentage is one of images, not of epochs or seeds, from here on.
_FEWEST_IMAGES: Final = 100


@dataclass(frozen=True, kw_only=True)
class Count:
    """A number of parameters. The counts that it can stand for lie less than `within` from it: 1 for an exact one."""

    value: int
    within: int
    is_above: bool = False

    @property
    def reported(self) -> str:
        """As a claim tells it."""
        return f"{'above ' if self.is_above else 'about ' if self.within > 1 else ''}{self.value}"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What follows a ±, as it was printed. is_percent: with a percent sign of its own; n_seeds: None if not given."""

    number: Decimal
    is_percent: bool = False
    n_seeds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """An accuracy as it was printed. number: as given, a fraction or a percentage; None if only images are given.

    spread: of a mean over seeds; None for the accuracy of a run.
    """

    number: Decimal | None
    scale: Scale
    sense: Literal["", "about ", "above "] = ""
    correct: int | None = None
    images: int | None = None
    epoch: int | None = None
    spread: Spread | None = None

    def reported(self, scale: Scale) -> str:
        """As a claim tells it, in percent, with the digits that were printed."""
        if self.number is None:
            assert self.correct is not None
            assert self.images is not None
            return f"{100 * self.correct / self.images:.2f} %"
        if scale != "fraction":
            return f"{self.sense}{self.number:f} %"
        # 0.9 is any of 85 to 95 %: in percent it would look as exact as 90 %.
        sense = self.sense or ("about " if 0 < self.number < 1 and -int(self.number.as_tuple().exponent) < 2 else "")
        return f"{sense}{self.number.scaleb(2):f} %"


def says_nothing(text: str) -> bool:
    """Whether a cell is as good as empty.

    >>> [says_nothing(text) for text in ("", "-", "n/a", "—", "TBD", "0")]
    [True, True, True, True, True, False]
    """
    return _NOTHING.fullmatch(text) is not None


def says_outcome(text: str) -> bool:
    """Whether a cell says in words that a training came to nothing."""
    return _OUTCOME.fullmatch(text) is not None


def is_limit(text: str) -> bool:
    """Whether a cell is an upper limit, which is no figure of what was made: "< 20k"."""
    return _LIMIT.match(text) is not None


def starts_like_figure(text: str) -> bool:
    """Whether a cell was meant as a figure, well or badly written."""
    return re.match(rf"(?:(?:{_ABOUT}|{_ABOVE})\s*|[-\u2212+]\s*)?\.?[0-9]", text, re.IGNORECASE) is not None


def read_count(text: str, *, scale: int = 1) -> Count:
    """The count of a cell. scale: what the head multiplies bare numbers by, 1000 for "Params (k)".

    >>> read_count("22.2k"), read_count("19,348 (~19k)")
    (Count(value=22200, within=100, is_above=False), Count(value=19348, within=1, is_above=False))

    Raises:
        ValueError: it is not one whole number.
    """
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"must be a count of parameters such as 22,186 or 22.2k, found {_shown(text)}")
    if match["sign"]:
        raise ValueError(f"a count cannot be negative, found {_shown(text)}")
    is_bare = match["scale"] is None and match["number"] == _ungrouped(match["number"])
    unit = scale if is_bare else _SCALES[(match["scale"] or "").lower()]
    number = Decimal(_ungrouped(match["number"]))
    decimals = -int(number.as_tuple().exponent)
    # Without a unit, 22.186 is 22,186 to some and no count to others; only the .0 of a spreadsheet is clear.
    if number * unit != int(number * unit) or (unit == 1 and decimals > 1):
        raise ValueError(f"a count must be a whole number, found {_shown(text)}")
    value = int(number * unit)
    within = max(1, unit // 10**decimals)
    if match["about"]:
        within = max(within, value // _ABOUT_SHARE)
    return Count(value=value, within=within, is_above=bool(match["above"] or match["plus"]))


def read_accuracy(text: str) -> Accuracy:
    """The accuracy of a cell, with the images and the epoch where it says them.

    >>> found = read_accuracy("99.49% (9,949/10,000)")
    >>> found.number, found.scale, found.correct, found.images
    (Decimal('99.49'), 'percent', 9949, 10000)

    Raises:
        ValueError: it is no accuracy, negative, or above 100 %.
    """
    correct: int | None
    images: int | None
    ratio = _RATIO.match(text)
    if ratio and re.fullmatch(r"\s*(?:[(\[].*)?", text[ratio.end() :], re.DOTALL):
        correct, images = _images(ratio, text)
        beside = _BRACKETED.match(text[ratio.end() :].strip())
        match = _ACCURACY.fullmatch(beside[1].strip()) if beside else None
        if match is None or match["percent"] is None:
            return Accuracy(number=None, scale="either", correct=correct, images=images, epoch=epoch_of(text))
    else:
        match = _ACCURACY.fullmatch(text)
        correct, images = _images_beside(match["remark"] or "", text) if match else (None, None)
    if match is None:
        raise ValueError(f"must be one accuracy such as 99.41 % or 0.9941, found {_shown(text)}")
    number = Decimal(match["number"].replace(",", "."))
    if match["sign"] and number:
        raise ValueError(f"an accuracy cannot be negative, found {_shown(text)}")
    if number > 100:
        raise ValueError(f"an accuracy cannot be above 100 %, found {_shown(text)}")
    return Accuracy(
        number=number,
        scale="percent" if match["percent"] or number > 1 else "fraction" if number else "either",
        # A mean over seeds, with its spread, is no whole number of images of a run.
        sense="above " if match["above"] or match["plus"] else "about " if match["about"] or match["spread"] else "",
        correct=correct,
        images=images,
        epoch=epoch_of(text),
        spread=None if match["spread"] is None else _spread(match, text),
    )


def named_count(text: str) -> str | None:
    """The figure in a cell of several lines, or with words before it, that is said to be its parameters."""
    found = (_NAMED_COUNT.search(line) for line in text.split("\n"))
    return next((match["figure"].strip() for match in found if match), None)


def named_accuracies(text: str) -> dict[str, str]:
    """The accuracies in a cell of several lines, by the words that stand before each, and the epoch they share.

    >>> named_accuracies("Epoch 3 results\\nTrain: Loss=0.1, Accuracy=97.1%\\nTest: Loss=0.2, Accuracy=98.63%")
    {'Train: Loss=0.1,': '97.1% (Epoch 3)', 'Test: Loss=0.2,': '98.63% (Epoch 3)'}
    """
    found: dict[str, str] = {}
    epoch = _EPOCH.search(text)
    for line in text.split("\n"):
        match = _NAMED_ACCURACY.match(line) or _NAMED_PART.search(line)
        if match:
            shared = f" ({epoch[0]})" if epoch and not _EPOCH.search(match["figure"]) else ""
            found.setdefault(match["part"].strip(), match["figure"].strip() + shared)
    return found


def seeds_of(text: str) -> int | None:
    """How many seeds a text says that a mean is over.

    >>> seeds_of("98.62 ± 0.05 (n=5)"), seeds_of("mean of 3 runs"), seeds_of("seed 5"), seeds_of("n=10,000")
    (5, 3, None, None)
    """
    match = _SEEDS.search(text)
    return int(match[1] or match[2]) if match else None


def _spread(match: re.Match[str], text: str) -> Spread:
    number = Decimal(match["spread"].replace(",", "."))
    return Spread(number=number, is_percent=match["spread_percent"] is not None, n_seeds=seeds_of(text))


def shortened(text: str) -> str:
    """Text on one line, and not endless."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _images_beside(remark: str, text: str) -> tuple[int | None, int | None]:
    """The images in brackets beside a percentage; such few as 14/20 are epochs or seeds."""
    for words in _BRACKETED.findall(remark):
        ratio = _RATIO.fullmatch(words.strip())
        if ratio and _whole(ratio["images"]) >= _FEWEST_IMAGES:
            return _images(ratio, text)
    return None, None


def _images(ratio: re.Match[str], text: str) -> tuple[int, int]:
    """How many were right, of how many."""
    correct, images = _whole(ratio["correct"]), _whole(ratio["images"])
    if not images or correct > images:
        raise ValueError(f"the correct predictions must be at most all images, found {_shown(text)}")
    return correct, images


def _whole(digits: str) -> int:
    return int(_ungrouped(digits))


def _ungrouped(digits: str) -> str:
    """A number without what stands between its thousands."""
    return re.sub(r"[,_'\u2019 ]", "", digits)


def epoch_of(text: str) -> int | None:
    """The epoch that a text names."""
    match = _EPOCH.search(text)
    return int(match[1]) if match else None


def _shown(text: str) -> str:
    """Text as a message shows it."""
    return repr(shortened(text))
