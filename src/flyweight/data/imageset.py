"""A set of labelled images: the result of every source.

Goes in: the arrays of a source and its name. Comes out: a checked `ImageSet`, or a DataError. Images are in memory, or,
if they are large, in their file, mapped. The format of that file is not known here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError, MissingError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

# A device or a resized set holds all images as uint8; a larger set is a mistake or an attack (a decompression bomb).
MEMORY: Final = Path("/proc/meminfo")
MAX_BYTES: Final = 2 * 2**30

# Images of more bytes than this are mapped where their file lets them: half a gigabyte leaves room for torch and a net
# in 1.5 GB, and the file's pages are one copy for all the seeds that train side by side. A million images of 28 x 28
# are above it, every set of the catalogue is below.
MAPPED_ABOVE_BYTES: Final = 2**29

# Of so many images, evenly spaced, a difference shows that not all are equal.
_COMPARED: Final = 1000

# Borders of so many images, evenly spaced, tell the background.
_BORDERS_READ: Final = 10_000

# Bytes that are read at a time; counting pixels needs eight times as much memory.
_BLOCK_BYTES: Final = 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Images (N, C, H, W) uint8, C 1 or 3, with labels (N,) int64 from 0 to `n_classes` - 1.

    Every class has a training image. `validation_images` and `validation_labels` are None if the source has no
    validation images of its own. notes: what was left out or changed while it was read. ground: the value on which
    transparent pictures were laid, None without any.
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...]
    validation_images: Images | None = None
    validation_labels: Labels | None = None
    notes: tuple[str, ...] = ()
    ground: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all arrays: the same images and labels in the same order have the same fingerprint."""
        digest = hashlib.sha256()
        for name, images, labels in self.parts():
            for array in (images, labels):
                little_endian = array.dtype.newbyteorder("<")
                digest.update(f"{name} {little_endian.str} {array.shape};".encode())
                for rows in blocks(array.shape, array.itemsize):
                    digest.update(np.ascontiguousarray(array[rows], little_endian).data)
        return digest.hexdigest()

    @cached_property
    def background(self) -> tuple[int, ...]:
        """Per channel the median of the border of training images, at most `_BORDERS_READ` of them."""
        images = self.train_images[:: -(-len(self.train_images) // _BORDERS_READ)]
        border = np.concatenate((images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]), axis=2)
        return tuple(int(value) for value in np.median(border.transpose(1, 0, 2).reshape(self.shape[0], -1), axis=1))

    def parts(self) -> tuple[tuple[str, Images, Labels], ...]:
        """(name, images, labels) of train, of test, and of validation if the set has its own."""
        parts = [("train", self.train_images, self.train_labels), ("test", self.test_images, self.test_labels)]
        if self.validation_images is not None and self.validation_labels is not None:
            parts.append(("validation", self.validation_images, self.validation_labels))
        return tuple(parts)


def image_set(
    *, name: str, parts: Mapping[str, tuple[Images, NDArray[Any]]], class_names: Iterable[str] | None = None
) -> ImageSet:
    """The checked `ImageSet` of (images, labels) pairs: images (N, C, H, W) uint8, labels (N,) of any integer type.

    parts: a pair for "train" and "test", and for "validation" if the set has validation images of its own.

    Without `class_names` the classes are those of the training labels, named by their numbers.

    Raises:
        DataError: arrays that do not fit together, labels outside the classes, a class without a training image, images
            that are all equal, or that are equal in all classes.
    """
    given = {key: parts[key] for key in ("train", "validation", "test") if key in parts}
    for key, (images, labels) in given.items():
        _check_pair(name, key, images, labels)
    _check_one_shape(name, {key: images for key, (images, _) in given.items()})
    train_labels = given["train"][1]
    names = tuple(class_names) if class_names is not None else _numbered(name, train_labels)
    for key, (_, labels) in given.items():
        _check_range(name, key, labels, len(names))
    _check_classes(name, train_labels, names)
    _check_content(name, *given["train"])
    # Contiguous and writable: torch shares the memory and warns about arrays that it may not write to.
    arrays: dict[str, Any] = {}
    for key, (images, labels) in given.items():
        arrays[f"{key}_images"] = np.require(images, np.uint8, ["C", "W"])
        arrays[f"{key}_labels"] = np.require(labels, np.int64, ["C", "W"])
    return ImageSet(name=name, class_names=names, **arrays)


def check_size(what: str, n_bytes: int) -> None:
    """Refuse, before anything is unpacked, a set of more than `MAX_BYTES`."""
    if n_bytes > MAX_BYTES:
        raise DataError(
            f"{what}: must unpack to at most {MAX_BYTES:,} bytes, found {n_bytes:,}; use smaller or fewer images."
        )
    free = free_bytes()
    if free is not None and n_bytes > free:
        raise MissingError(
            f"{what}: needs {n_bytes:,} bytes of memory, {free:,} are free; use smaller or fewer images, or end other "
            "programs."
        )


def free_bytes() -> int | None:
    """The memory that new programs can use, as Linux estimates it; None elsewhere."""
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith("MemAvailable:")), None)
    return int(found[1]) * 1024 if found else None


def is_large(n_bytes: int) -> bool:
    """Whether images of that many bytes stay in their file, if it can be mapped."""
    return n_bytes > MAPPED_ABOVE_BYTES


def mapped(stream: BinaryIO, *, offset: int, shape: tuple[int, ...], order: Literal["C", "F"] = "C") -> NDArray[Any]:
    """uint8 values of an open file as an array that is read on access; the file is never written.

    The array is writable in this process: torch shares the memory and warns about arrays that it may not write to.
    The caller has checked that the file contains the values.
    """
    return np.asarray(np.memmap(stream, np.uint8, mode="c", offset=offset, shape=shape, order=order))


def blocks(shape: tuple[int, ...], itemsize: int = 1) -> Iterator[slice]:
    """Slices of rows, in order and about a megabyte each, that make up an array of that shape."""
    rows = max(1, _BLOCK_BYTES // max(1, itemsize * math.prod(shape[1:])))
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


def _check_pair(name: str, key: str, images: Images, labels: NDArray[Any]) -> None:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(
            f"{name}: {key} images must be uint8 of shape (N, C, H, W), found {images.dtype} {images.shape}."
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(
            f"{name}: {key} labels must be integers of shape (N,), found {labels.dtype} of shape {labels.shape}"
            f"{_label_advice(labels)}."
        )
    if len(images) != len(labels):
        raise DataError(
            f"{name}: each {key} image needs one label, found {len(images):,} images and {len(labels):,} labels."
        )
    if len(images) == 0 or 0 in images.shape:
        raise DataError(f"{name}: at least 1 {key} image with pixels is needed, found images of shape {images.shape}.")


def _label_advice(labels: NDArray[Any]) -> str:
    """What to do with labels of another kind, by their values."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        return "; a column for each class becomes numbers with labels.argmax(axis=1)"
    if labels.dtype.kind == "f" and labels.ndim == 1 and np.array_equal(labels, np.trunc(labels)):
        return "; save labels.astype('int64')"
    if labels.dtype.kind in "US" and labels.ndim == 1:
        is_number = all(str(one).strip().isdecimal() for one in np.unique(labels))
        numbers = "labels.astype('int64')"
        names = "class_names, labels = numpy.unique(labels, return_inverse=True), and class_names with them"
        return f"; save {numbers if is_number else names}"
    return ""


def _check_one_shape(name: str, images: dict[str, Images]) -> None:
    expected = images["train"].shape[1:]
    for key, part in images.items():
        if part.shape[1:] != expected:
            raise DataError(
                f"{name}: {key} images must have the shape of the training images, {expected} (channels, height, "
                f"width), found {part.shape[1:]}. Set data.resize to make their sizes equal."
            )


def _numbered(name: str, labels: NDArray[Any]) -> tuple[str, ...]:
    present = np.unique(labels)
    if int(present[0]) < 0 or int(present[-1]) >= len(labels):
        _refuse_range(name, "train", labels, f"0 to {len(present) - 1} for {len(present)} classes")
    return tuple(str(label) for label in range(int(present[-1]) + 1))


def _check_range(name: str, key: str, labels: NDArray[Any], n_classes: int) -> None:
    if int(labels.min()) < 0 or int(labels.max()) >= n_classes:
        _refuse_range(name, key, labels, f"0 to {n_classes - 1} for {n_classes} classes")


def _refuse_range(name: str, key: str, labels: NDArray[Any], expected: str) -> None:
    raise DataError(
        f"{name}: {key} labels must be {expected}, found {int(labels.min())} to {int(labels.max())}. "
        "Number the classes from 0 without gaps."
    )


def _check_classes(name: str, labels: NDArray[Any], names: tuple[str, ...]) -> None:
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"{name}: at least 2 classes are needed, found training images of 1: {names[int(present[0])]!r}."
        )
    if len(present) < len(names):
        missing = [names[label] for label in np.setdiff1d(np.arange(len(names)), present)]
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{name}: each of the {len(names)} classes needs a training image, found none of "
            f"{', '.join(map(repr, missing[:3]))}{more}. Labels count from 0 without gaps{_shifted(present)}."
        )


def _shifted(present: NDArray[Any]) -> str:
    low = int(present[0])
    has_no_gap = int(present[-1]) - low + 1 == len(present)
    return f": subtract {low} from all of them" if low > 0 and has_no_gap else ""


def _check_content(name: str, images: Images, labels: NDArray[Any]) -> None:
    """Refuse training images that tell nothing of their class; of a large set only some are compared."""
    first, n = images[0], len(images)
    if (images[:: -(-n // _COMPARED)] == first).all() and all(
        (images[rows] == first).all() for rows in blocks(images.shape)
    ):
        what = f"all values are {first.flat[0]}" if (first == first.flat[0]).all() else "they are copies of one image"
        raise DataError(f"{name}: training images must differ, found {n:,} equal ones ({what}); look at the files.")
    if is_large(images.nbytes):
        return
    copies = np.concatenate([(images[rows] == first).all(axis=(1, 2, 3)) for rows in blocks(images.shape)])
    if len(np.unique(labels[copies])) < 2:
        return
    classes: dict[bytes, set[int]] = {}
    for image, label in zip(images, labels, strict=True):
        classes.setdefault(hashlib.sha256(image.tobytes()).digest(), set()).add(int(label))
    if all(len(those) > 1 for those in classes.values()):
        raise DataError(
            f"{name}: classes must have images of their own, found {len(classes):,} different training images, each in "
            "more than one class; look at the files and the labels."
        )
