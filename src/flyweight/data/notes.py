"""What people should know of an image set and its split before they train on it, in sentences.

Goes in: a set and a split. Comes out: what was left out, values in a small range, classes with few images,
images that are in two parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flyweight.data.imageset import ImageSet, is_large
from flyweight.data.splits import LEAST_OF_A_CLASS, LEAST_SPREAD, Split, Summary, summary

# Photos, scans and drawings use nearly all of 0 to 255; sets saved as 0 and 1 or 0 to 16 a fraction of it.
LEAST_RANGE: Final = 64

# Share of copies that is said; of Fashion-MNIST's test images 0.1 % are.
MOST_COPIES: Final = 0.005

_NAMED: Final = 5


def notes(image_set: ImageSet, split: Split, found: Summary | None = None) -> tuple[str, ...]:
    """Sentences without a full stop. found: the summary of both, if it is there already."""
    found = summary(image_set, split) if found is None else found
    return (*image_set.notes, *_of_values(found), *_of_classes(found), *_of_copies(image_set, split))


def _of_copies(image_set: ImageSet, split: Split) -> Iterator[str]:
    """Equal images in training and in a part that judges it; some sets have a few by nature."""
    images = image_set.train_images
    if is_large(images.nbytes):
        return
    trained = {hash(image.tobytes()) for image in images[split.train]}
    parts = [("test", image_set.test_images)]
    if split.validated_on == "held out":
        own = image_set.validation_images
        parts.insert(0, ("validation", images[split.validation] if own is None else own))
    for part, others in parts:
        n = sum(hash(image.tobytes()) in trained for image in others)
        if n > MOST_COPIES * len(others):
            yield (
                f"{n:,} of {len(others):,} {part} images are training images too, to the bit: the {part} accuracy will "
                "flatter the net"
            )


def _of_values(found: Summary) -> Iterator[str]:
    low, high = found.values
    if high - low < LEAST_RANGE:
        scale = f"; multiply them by {255 // high}" if low == 0 else "; spread them over 0 to 255"
        yield (
            f"the values are {low} to {high}, a small part of 0 to 255: the net will misread ordinary pictures{scale} "
            "before training"
        )
    flat = [str(number) for number, std in enumerate(found.std) if std < LEAST_SPREAD * max(found.std)]
    if flat:
        yield f"channel {', '.join(flat)} of {len(found.std)} hardly varies: it tells the net nothing"


def _of_classes(found: Summary) -> Iterator[str]:
    for part, counts in found.counts.items():
        few = [(count, name) for name, count in zip(found.class_names, counts, strict=True) if count < LEAST_OF_A_CLASS]
        if few:
            named = ", ".join(f"{name} {count}" for count, name in sorted(few)[:_NAMED])
            more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
            yield f"fewer than {LEAST_OF_A_CLASS} {part} images of {len(few)} of {len(counts)} classes: {named}{more}"
