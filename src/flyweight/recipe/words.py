"""Changes of a recipe as a person would write them into a log: "lr 0.1 → 0.05", "net +d.1 (3 times)"."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from flyweight.recipe.difference import Change, Value

MIN_IN_COMMON: Final = 0.4  # share of equal words below which the whole new net is shown
MAX_STEPS: Final = 6  # a list of more steps is longer than the new net, and harder to read
MAX_MIXED_STEPS: Final = 3  # the same, where a step removes or adds several words

# Units of numbers whose key does not name one; fractions and rates have none.
UNITS: Final = {
    "data.resize": "pixels",
    "data.train_limit": "images",
    "data.validation": "images",
    "augment.rotate": "degrees",
    "augment.translate": "of the side",
    "augment.shear": "degrees",
    "augment.crop_size": "pixels",
    "augment.elastic": "pixels",
    "augment.elastic_smoothness": "pixels",
    "augment.erase_size": "of the side",
    "train.batch_size": "images",
    "train.warmup": "of all steps",
    "train.step_epochs": "epochs",
    "train.patience": "epochs",
    "train.final_lr": "of lr",
    "budget.activation": "bytes",
    "budget.flash": "bytes",
    "budget.seconds": "s",
}


# Keys that set one thing together: a change of several of them is one change.
FACTORS: Final = {
    "augment.crop_size": "crop",
    "augment.crop_probability": "crop",
    "augment.elastic": "elastic",
    "augment.elastic_smoothness": "elastic",
    "augment.erase_probability": "erase",
    "augment.erase_size": "erase",
    "augment.translate": "translate",
    "augment.whole_pixels": "translate",
    "train.schedule": "schedule",
    "train.warmup": "schedule",
    "train.step_epochs": "schedule",
    "train.gamma": "schedule",
    "train.final_lr": "schedule",
    "train.momentum": "momentum",
    "train.nesterov": "momentum",
    "train.weight_decay": "weight_decay",
    "train.weight_decay_on": "weight_decay",
    "target.accuracy": "target",
    "target.stop": "target",
}


def factor(key: str) -> str:
    """The one thing that a key belongs to, where several keys set it together: a change of it is one change.

    >>> factor("train.gamma"), factor("train.schedule"), factor("train.lr")
    ('schedule', 'schedule', 'lr')
    """
    return FACTORS.get(key) or label(key)


def label(key: str) -> str:
    """The short name of a key in a list of changes: "train.lr" is lr, "data.name" is data.

    >>> label("train.lr"), label("model.net"), label("data.name"), label("budget.params")
    ('lr', 'net', 'data', 'budget.params')
    """
    section, _, name = key.partition(".")
    if section == "budget":
        return key
    return section if name == "name" else name or key


def in_words(change: Change) -> str:
    """One change, old to new, with its unit.

    >>> in_words(Change(key="augment.rotate", old=0.0, new=7.0))
    'rotate off → 7 degrees'
    >>> in_words(Change(key="model.net", old="c8 r flat fc10", new="c8 bn r flat fc10"))
    'net +bn'
    """
    if change.key == "model.net" and isinstance(change.old, str) and isinstance(change.new, str):
        return f"net {net_in_words(change.old, change.new)}"
    return f"{label(change.key)} {_formatted(change.key, change.old)} → {_new_with_unit(change)}"


def new_in_words(change: Change) -> str:
    """What a changed key has now, for a short title.

    >>> new_in_words(Change(key="train.lr", old=0.1, new=0.05))
    'lr 0.05'
    """
    if change.key == "model.net":
        return in_words(change)
    if change.key == "model.start" and change.new is not None:
        path = Path(str(change.new))
        return f"from {path.parent.name[:12] if path.parent.parent.name == 'runs' else path.name}"
    return f"{label(change.key)} {_new_with_unit(change)}"


def _new_with_unit(change: Change) -> str:
    unit = UNITS.get(change.key)
    has_unit = unit and _is_number(change.new) and not _is_off(change.key, change.new)
    return _formatted(change.key, change.new) + (f" {unit}" if has_unit else "")


def all_in_words(changes: Iterable[Change]) -> str:
    """Several changes in one line; "nothing" if there are none."""
    return ", ".join(map(in_words, changes)) or "nothing"


def net_in_words(old: str, new: str) -> str:
    """The change of a net: words added, removed and replaced, equal steps counted; the new net if little is equal.

    >>> net_in_words("c8 r m2 c16 r gap flat fc10", "c8 bn r m2 c12 bn r gap flat fc10")
    '+bn (2 times), c16 → c12'
    >>> net_in_words("c8 r gap flat fc10", "flat fc10")
    '-c8 -r -gap'
    >>> net_in_words("c8 r m2 c16 r gap flat fc10", "c12 r m2 c24 r gap flat fc10")
    'c8 → c12, c16 → c24'
    >>> net_in_words("c32p1 r c32p1 r c16 r m2 c16 r flat fc10", "c16p1 r c16p1 r m2 c8p1 r c8p1 r flat fc10")
    '→ c16p1 r c16p1 r m2 c8p1 r c8p1 r flat fc10'
    """
    was, now = old.split(), new.split()
    steps: Counter[str] = Counter()
    if len(was) == len(now) and _share(map(str.__eq__, was, now), len(was)) >= 0.5:
        # Word by word: a matcher would show a net with all widths changed as removed and added words.
        steps.update(f"{one} → {other}" for one, other in zip(was, now, strict=True) if one != other)
    else:
        matcher = difflib.SequenceMatcher(a=was, b=now, autojunk=False)
        if matcher.ratio() < MIN_IN_COMMON and was:
            return f"→ {new}"
        for what, start, end, new_start, new_end in matcher.get_opcodes():
            if what != "equal":
                steps.update(_steps(was[start:end], now[new_start:new_end]))
    if len(steps) > (MAX_MIXED_STEPS if any(map(_is_of_several_words, steps)) else MAX_STEPS):
        return f"→ {new}"
    return ", ".join(step if n == 1 else f"{step} ({n} times)" for step, n in steps.items())


def _share(found: Iterable[bool], n: int) -> float:
    return sum(found) / n if n else 1.0


def _steps(gone: list[str], come: list[str]) -> Iterator[str]:
    """A part of a net that became another: word for word up to the shorter length, the rest as one step."""
    replaced = min(len(gone), len(come))
    yield from (f"{old} → {new}" for old, new in zip(gone, come, strict=False))
    rest = [*(f"-{word}" for word in gone[replaced:]), *(f"+{word}" for word in come[replaced:])]
    if rest:
        yield " ".join(rest)


def _is_of_several_words(step: str) -> bool:
    """Whether a step removes or adds more than one word; blocks begin with a plus sign, too."""
    return " " in step and " → " not in step


# None is off, and so is 0 for augmentations and regularisers.
def _is_off(key: str, value: Value) -> bool:
    can_be_off = key.startswith("augment.") or key in (
        "train.weight_decay",
        "train.label_smoothing",
        "train.ema",
        "train.momentum",
        "train.warmup",
    )
    return value is None or (can_be_off and _is_number(value) and value == 0)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _formatted(key: str, value: Value) -> str:
    if _is_off(key, value):
        return "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)
