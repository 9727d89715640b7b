"""The model card: what a net is, where it came from and how good it is, as values, Markdown and plain text.

Goes in: a `Subject` and what the export measured. Comes out: `values`, the text of README.md, and lines for comments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flyweight.data.catalogue import CATALOGUE
from flyweight.evidence.paired import PairedDifference
from flyweight.evidence.stats import wilson
from flyweight.export.gate import Comparison, facts
from flyweight.export.subject import Subject
from flyweight.model.count import count
from flyweight.recipe import dumps, override
from flyweight.records.store import Store
from flyweight.tables import as_markdown, table_of

NOT_CHECKED: Final = "not checked"
DIGITS: Final = (
    "Drawn with a mouse or a finger, digits are often thicker, off the centre or of another slant than these; centre "
    "them by mass and scale them into a box of 20 x 20 pixels first.",
    "Other pens, lined paper, a seven with a bar or a one with a long serif are rare in the images and read worse.",
    "It has no answer for what is no digit: it always names one of its classes.",
)
OTHERS: Final = ("It has no answer for what is in none of its classes: it always names one of them.",)


@dataclass(frozen=True, kw_only=True)
class Int8Figures:
    """Right answers of the integer net on the test images, and the change from the float net, image by image."""

    correct: int
    count: int
    change: PairedDifference


def values(
    subject: Subject, store: Store, *, comparisons: Sequence[Comparison] | None, int8: Int8Figures | None
) -> dict[str, Any]:
    """The card as plain values for JSON."""
    record, weights = subject.record, subject.weights
    cost = count(weights.net, weights.input_shape)
    named = CATALOGUE.get(record.data_name)
    found: dict[str, Any] = {
        "name": record.name,
        "description": subject.recipe.description,
        "library": "flyweight",
        "net": weights.net,
        "input_shape": list(weights.input_shape),
        "classes": list(weights.class_names),
        "parameters": cost.params,
        "macs": cost.macs,
        "budget": subject.recipe.budget.model_dump(exclude_none=True),
        "run": record.id,
        "seed": record.seed,
        "recipe_hash": record.recipe_hash,
        "recipe": _recipe_text(subject),
        "weights_sha256": subject.folder.weights_digest(),
        "data": {
            "name": Path(weights.data).name,
            "licence": named.licence if named else "that of your own images",
            "homepage": named.homepage if named else None,
            "sha256": record.data_hash,
            "split_sha256": record.split_hash,
        },
        "code": {key: record.environment.get(key) for key in ("flyweight", "code", "torch")},
        "float32": {part: _figures(record.figures(part)) for part in ("validation", "test")},
        "seeds": _seeds(subject, store),
        "compared": NOT_CHECKED if comparisons is None else facts(comparisons),
    }
    if int8 is not None:
        low, high = wilson(int8.correct, int8.count)
        found["int8"] = {
            "test": {"correct": int8.correct, "count": int8.count, "low": low, "high": high},
            "change": {
                "points": 100 * int8.change.difference,
                "low": 100 * int8.change.low,
                "high": 100 * int8.change.high,
                "newly_correct": int8.change.gained,
                "newly_wrong": int8.change.lost,
            },
        }
    return found


def _recipe_text(subject: Subject) -> str:
    """The recipe with every key that is not at its default; images of one's own by the name of their file alone."""
    recipe = subject.recipe
    own = () if recipe.data.name in CATALOGUE else (f"data.name={Path(recipe.data.name).name}",)
    return dumps(override(recipe, own), only_changes=True)


def _figures(found: Any) -> dict[str, Any] | None:
    if found is None:
        return None
    low, high = wilson(found.correct, found.count)
    return {"correct": found.correct, "count": found.count, "low": low, "high": high}


def _seeds(subject: Subject, store: Store) -> list[dict[str, Any]]:
    """The finished runs of the same recipe, the newest of each seed."""
    runs = store.runs(recipe_hash=subject.record.recipe_hash, data_hash=subject.record.data_hash, status="finished")
    newest = {one.seed: one for one in reversed(runs)}
    return [
        {"seed": seed, "validation": one.validation_accuracy, "test": one.test_accuracy}
        for seed, one in sorted(newest.items())
    ]


def accuracy_text(figures: dict[str, Any]) -> str:
    """
    >>> accuracy_text({"correct": 99, "count": 100, "low": 0.9455, "high": 0.9982})
    '99.00 % (99 of 100; 95 % interval 94.55 to 99.82)'
    """
    share = 100 * figures["correct"] / figures["count"]
    interval = f"95 % interval {100 * figures['low']:.2f} to {100 * figures['high']:.2f}"
    return f"{share:.2f} % ({figures['correct']:,} of {figures['count']:,}; {interval})"


def lines(card: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts in the order in which people read them."""
    data = card["data"]
    found = [
        ("net", card["net"]),
        ("input", "x".join(map(str, card["input_shape"])) + " (channels x height x width), 0 to 255"),
        ("classes", ", ".join(card["classes"])),
        ("parameters", f"{card['parameters']:,}; {card['macs']:,} MACs"),
        ("budget", ", ".join(f"{key} {value:,}" for key, value in card["budget"].items()) or "none"),
        ("data", f"{data['name']} ({data['licence']}), SHA-256 {data['sha256']}"),
        ("run", f"{card['run']}, seed {card['seed']}"),
        ("weights", f"SHA-256 {card['weights_sha256']}"),
    ]
    found += [(f"{part}, float32", accuracy_text(figures)) for part, figures in card["float32"].items() if figures]
    if "int8" in card:
        change = card["int8"]["change"]
        found.append(("test, int8", accuracy_text(card["int8"]["test"])))
        found.append(("change to int8", change_text(change)))
    if card["compared"] == NOT_CHECKED:
        return [*found, ("compared", NOT_CHECKED)]
    return found + [("compared", f"{one['what']} on {one['images']:,} images") for one in card["compared"]]


def change_text(change: dict[str, Any]) -> str:
    return (
        f"{change['points']:+.2f} points (95 % interval {change['low']:+.2f} to {change['high']:+.2f}; "
        f"{change['newly_correct']} newly correct, {change['newly_wrong']} newly wrong)"
    )


def as_text(card: dict[str, Any]) -> str:
    """Plain text for the comments of source files."""
    return "\n".join([f"{card['name']}, made by flyweight", *(f"{name}: {text}" for name, text in lines(card))])


def as_readme(card: dict[str, Any]) -> str:
    """The card as Markdown, with a header that model hubs read."""
    is_digits = (named := CATALOGUE.get(card["data"]["name"])) is not None and named.is_handwriting
    facts_table = as_markdown(table_of([{"": name, card["name"]: text} for name, text in lines(card)]))
    seeds = as_markdown(
        table_of(
            [
                {"seed": one["seed"], "validation": _percent(one["validation"]), "test": _percent(one["test"])}
                for one in card["seeds"]
            ]
        )
    )
    weak = "\n".join(f"- {line}" for line in (DIGITS if is_digits else OTHERS))
    data = card["data"]
    home = f", {data['homepage']}" if data["homepage"] else ""
    return f"""---
library_name: flyweight
pipeline_tag: image-classification
datasets: [{data["name"] if data["homepage"] else "own"}]
---

# {card["name"]}

{card["description"] or "A small image classifier."}

{facts_table}

Of every seed of this recipe on record (the newest run of each):

{seeds}

## Intended use

Classifying images like those that it was trained on, on small devices. It was not made for decisions about people.

## Known weaknesses

{weak}

## Data

{data["name"]}{home}. Licence: {data["licence"]}. Images of the data that come with an export keep this licence.

## Make it again

Seed {card["seed"]} of this recipe, saved as again.toml, with `flyweight train again.toml --seed {card["seed"]}`:

```toml
{card["recipe"].strip()}
```
"""


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"
