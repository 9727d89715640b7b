"""Reads a folder as a set of images: IDX files, or pictures with one sub-folder per class.

Goes in: a folder. Comes out: an `ImageSet`. Folders train/, val/ and test/ are its parts; without test/ a sixth of each
class is held out as test images, the same images every time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.idx import map_idx, mappable_bytes, read_idx
from flyweight.data.imageset import Images, ImageSet, Labels, check_size, image_set, is_large
from flyweight.data.npz import channels_first
from flyweight.data.pictures import opened, plain_picture
from flyweight.errors import DataError

SUFFIXES: Final = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".pbm")
)
TEST_SHARE: Final = 1 / 6
_TEST_SEED: Final = 0
_IDX_NAME: Final = re.compile(r"(?:^|[-_.])(train|t10k|test|val|valid|validation)[-_.](images|labels)(?![a-z])")
_PARTS: Final = {"train": "train", "test": "test", "t10k": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)


def read_folder(folder: Path, *, name: str, resize: int | None = None) -> ImageSet:
    """The images of a folder of either layout; only pictures are resized here.

    Raises:
        DataError: an empty folder, another layout, damaged files, sizes that differ.
    """
    files = find_idx(folder)
    return read_idx_files(files, name=name) if files else _read_pictures(folder, name=name, resize=resize)


def natural(text: str) -> tuple[tuple[bool, int, str], ...]:
    """A sorting key that puts "class 2" before "class 10".

    >>> sorted(["10", "9", "a", "A1"], key=natural)
    ['9', '10', 'a', 'A1']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((not piece[0].isdigit(), int(piece) if piece[0].isdigit() else 0, piece.lower()) for piece in pieces)


def find_idx(folder: Path) -> dict[str, Path]:
    """The IDX files of a folder by their content ("train_images", ...); of x and x.gz the unpacked one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _IDX_NAME.search(path.name.lower())
        if not match or path.suffix.lower() in SUFFIXES or not path.is_file():
            continue
        key = f"{_PARTS[match[1]]}_{match[2]}"
        known = found.setdefault(key, path)
        if path.name not in (known.name, f"{known.name}.gz"):
            raise DataError(
                f"{folder}: one file must have the {key.replace('_', ' ')}, found {known.name} and {path.name}; "
                "give each set a folder of its own."
            )
    return found


def read_idx_files(files: Mapping[str, Path], *, name: str, class_names: Iterable[str] | None = None) -> ImageSet:
    """The images of IDX files, by the keys of `find_idx`; of labels with several columns (QMNIST) the first is used.

    Large images stay in their files, mapped, unless the files are packed.
    """
    has_validation = bool({"validation_images", "validation_labels"} & set(files))
    parts = ("train", "test", "validation") if has_validation else ("train", "test")
    missing = [f"{part} {kind}" for part in parts for kind in ("images", "labels") if f"{part}_{kind}" not in files]
    if missing:
        found = ", ".join(path.name for path in files.values())
        raise DataError(f"{name}: IDX files of {', '.join(missing)} are missing, found {found}.")
    image_paths = {part: files[f"{part}_images"] for part in parts}
    read_images = map_idx if is_large(sum(map(mappable_bytes, image_paths.values()))) else read_idx
    pairs = {
        part: (channels_first(read_images(path), str(path)), first_column(read_idx(files[f"{part}_labels"])))
        for part, path in image_paths.items()
    }
    return image_set(name=name, parts=pairs, class_names=class_names)


def first_column(labels: NDArray[Any]) -> NDArray[Any]:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] else labels


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """The files of one part, each with the number of its class."""

    paths: tuple[Path, ...]
    labels: Labels


def _read_pictures(folder: Path, *, name: str, resize: int | None) -> ImageSet:
    roots = _roots(folder)
    class_names = _class_names(roots["train"])
    parts = {part: _list_pictures(root, class_names) for part, root in roots.items()}
    # All at once: one size and one number of channels for the whole set.
    images = _read_images([path for part in parts.values() for path in part.paths], resize)
    ends = np.cumsum([len(part.paths) for part in parts.values()])[:-1]
    split = zip(parts.items(), np.split(images, ends), strict=True)
    pairs = {part: (pixels, listed.labels) for (part, listed), pixels in split}
    if "test" not in pairs:
        pairs["train"], pairs["test"] = hold_out_test(*pairs["train"])
    return image_set(name=name, parts=pairs, class_names=class_names)


def _roots(folder: Path) -> dict[str, Path]:
    """The folder of each part: train/ and the folders beside it, or else the folder itself as training images."""
    folders = {path.name.lower(): path for path in _folders(folder)}
    if "train" not in folders:
        return {"train": folder}
    roots: dict[str, Path] = {}
    for name, path in folders.items():
        part = _PARTS.get(name)
        if part is None or part in roots:
            raise DataError(
                f"{folder}: beside train/ there may be one val/ and one test/, found {path.name}/ too; "
                "move it away, or put the classes into train/."
            )
        roots[part] = path
    return roots


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(root))
    if not names:
        loose = sum(path.suffix.lower() in SUFFIXES for path in root.iterdir())
        found = f"{loose:,} pictures without a class" if loose else "neither"
        raise DataError(
            f"{root}: must have one sub-folder of pictures per class, or IDX files (train-images-idx3-ubyte, ...), "
            f"found {found}."
        )
    return names


def _folders(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    return sorted(found, key=lambda path: (natural(path.name), path.name))


def _list_pictures(root: Path, class_names: tuple[str, ...]) -> _Pictures:
    paths: list[Path] = []
    labels: list[int] = []
    for folder in _folders(root):
        if folder.name not in class_names:
            raise DataError(
                f"{folder}: this class has no training images; the classes are {', '.join(class_names[:8])}"
                f"{', ...' if len(class_names) > 8 else ''}."
            )
        found = sorted(_pictures_in(folder), key=lambda path: (natural(path.name), path.name))
        if not found:
            raise DataError(f"{folder}: must have pictures ({', '.join(sorted(SUFFIXES))}), found none.")
        paths += found
        labels += [class_names.index(folder.name)] * len(found)
    if not paths:
        raise DataError(f"{root}: must have one sub-folder of pictures per class, found none.")
    return _Pictures(paths=tuple(paths), labels=np.array(labels, np.int64))


def _pictures_in(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]


def hold_out_test(images: Images, labels: Labels) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """(training pair, test pair): a sixth of each class, at least one image, is test; a single image stays in training.

    The choice depends only on the order and number of the images, so it is the same on every machine.
    """
    keys = np.random.PCG64(_TEST_SEED).random_raw(len(labels))
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        n_test = max(1, round(TEST_SHARE * len(members))) if len(members) > 1 else 0
        is_test[members[np.argsort(keys[members], kind="stable")[:n_test]]] = True
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def _read_images(paths: list[Path], resize: int | None) -> Images:
    """(N, C, H, W) uint8: grey if all pictures are, else colour."""
    first: tuple[int, int] | None = None
    n_bytes = 0
    arrays: list[Images] = []
    for path in paths:
        array = read_picture(path, resize)
        size = array.shape[1], array.shape[0]
        first = first or size
        if size != first:
            raise DataError(
                f"{path}: is {size[0]} x {size[1]} and {paths[0]} is {first[0]} x {first[1]}; all images must have "
                f"one size. Set data.resize (for example {min(*first, *size)}) to make them so."
            )
        n_bytes += array.nbytes
        check_size(str(path.parent.parent), n_bytes)
        arrays.append(array)
    is_colour = any(array.shape[2] == 3 for array in arrays)
    if is_colour:
        check_size(str(paths[0].parent.parent), len(arrays) * 3 * arrays[0].shape[0] * arrays[0].shape[1])
    images = np.empty((len(arrays), 3 if is_colour else 1, *arrays[0].shape[:2]), np.uint8)
    for target, array in zip(images, arrays, strict=True):
        target[:] = array.transpose(2, 0, 1)
    return images


def read_picture(path: Path, resize: int | None = None) -> Images:
    """(H, W, C) uint8 of one picture: turned upright as its camera says, transparent pixels black.

    Raises:
        DataError: no picture, a damaged one, one with other than 8 or 16 bits, a decompression bomb.
    """
    import PIL.Image

    picture = plain_picture(opened(path, str(path)), str(path))
    if resize is not None:
        picture = picture.resize((resize, resize), PIL.Image.Resampling.BILINEAR)
    array: Images = np.asarray(picture, np.uint8)
    return array[:, :, None] if array.ndim == 2 else array
