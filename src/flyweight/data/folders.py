"""Reads a folder as a set of images: IDX files, or pictures with one sub-folder per class.

Goes in: a folder. Comes out: an `ImageSet`, with notes on what was left out. Folders train/, val/ and test/ are its
parts; without test/ a sixth of each class is held out as test images, the same images every time.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.idx import map_idx, mappable_bytes, read_idx
from flyweight.data.imageset import Images, ImageSet, Labels, check_size, image_set, is_large
from flyweight.data.npz import channels_first
from flyweight.data.pictures import BLACK, SUFFIXES, Fit, ground_for, read_picture
from flyweight.errors import DataError

TEST_SHARE: Final = 1 / 6
_TEST_SEED: Final = 0
_IDX_NAME: Final = re.compile(r"(?:^|[-_.])(train|t10k|test|val|valid|validation)[-_.](images|labels)(?![a-z])")
_PARTS: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "t10k"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
}
# Left by systems, not by people: no picture is missed there.
_JUNK: Final = ("__MACOSX", "__pycache__", "thumbs.db", "desktop.ini")
_NAMED: Final = 10  # faulty files that an error names


def read_folder(folder: Path, *, name: str, resize: int | None = None, fit: Fit = "stretch") -> ImageSet:
    """The images of a folder of either layout; only pictures are resized here.

    Raises:
        DataError: an empty folder, another layout, damaged files, sizes that differ.
    """
    files = find_idx(folder)
    return read_idx_files(files, name=name) if files else _read_pictures(folder, name=name, resize=resize, fit=fit)


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


@dataclass(kw_only=True)
class _LeftOut:
    """What a set does not have, or has from unusual places, while its folders are read."""

    kinds: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    nested: Counter[str] = field(default_factory=Counter)

    def notes(self) -> Iterator[str]:
        if self.kinds:
            found = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.most_common())
            yield f"left out: {found} (read are {', '.join(sorted(SUFFIXES))})"
        if self.loose:
            yield f"left out: {_count(self.loose)} outside of the class folders"
        if self.nested:
            found = ", ".join(f"{name} {count:,}" for name, count in self.nested.most_common(_NAMED))
            yield f"{_count(self.nested.total())} in sub-folders of a class count for that class: {found}"


def _read_pictures(folder: Path, *, name: str, resize: int | None, fit: Fit) -> ImageSet:
    left_out = _LeftOut()
    folders = _class_folders(folder, left_out)
    class_names = tuple(path.name for path in folders["train"])
    parts = {part: _list_pictures(those, class_names, left_out) for part, those in folders.items()}
    paths = [path for part in parts.values() for path in part.paths]
    ground, n_transparent = ground_for(paths)
    # All at once: one size and one number of channels for the whole set.
    images = read_pictures(paths, resize, fit=fit, ground=BLACK if ground is None else ground)
    ends = np.cumsum([len(part.paths) for part in parts.values()])[:-1]
    split = zip(parts.items(), np.split(images, ends), strict=True)
    pairs = {part: (pixels, listed.labels) for (part, listed), pixels in split}
    if "test" not in pairs:
        pairs["train"], pairs["test"] = hold_out_test(*pairs["train"])
    notes = [*left_out.notes()]
    if ground is not None:
        notes.append(f"{_count(n_transparent)} with transparency, laid on {'white' if ground else 'black'}")
    found = image_set(name=name, parts=pairs, class_names=class_names)
    return replace(found, notes=tuple(notes), ground=ground)


def _class_folders(folder: Path, left_out: _LeftOut) -> dict[str, list[Path]]:
    """The folders of the classes by part: below train/ and the folders beside it, or else below the folder itself."""
    roots: dict[str, Path] = {}
    classes: list[Path] = []
    for path in _folders(folder):
        part = _PARTS.get(path.name.lower())
        if part is None:
            classes.append(path)
        elif part in roots:
            raise DataError(
                f"{folder}: one folder must have the {part} images, found {roots[part].name}/ and {path.name}/; "
                "move one away."
            )
        else:
            roots[part] = path
    if not roots and len(classes) == 1 and _folders(classes[0]) and not _loose(classes[0]):
        return _class_folders(classes[0], left_out)  # a folder around the set
    if "train" in roots and classes:
        raise DataError(
            f"{folder}: beside train/ there may be one val/ and one test/, found {classes[0].name}/ too; "
            "move it away, or put the classes into train/."
        )
    if roots and "train" not in roots and not classes:
        raise DataError(
            f"{folder}: must have train/ or class folders beside {', '.join(path.name for path in roots.values())}/, "
            "found neither."
        )
    below = {part: _classes_below(root) for part, root in roots.items()}
    left_out.loose += sum(map(_loose, (folder, *roots.values()))) if classes or roots else 0
    return below if "train" in roots else {"train": classes or _classes_below(folder), **below}


def _classes_below(root: Path) -> list[Path]:
    found = _folders(root)
    if not found:
        loose = _loose(root)
        what = f"{loose:,} pictures without a class" if loose else "neither"
        if root.name.lower() in _PARTS:
            what += f"; move {root.name}/ away, or rename it if it is a class"
        raise DataError(
            f"{root}: must have one sub-folder of pictures per class, or IDX files (train-images-idx3-ubyte, ...), "
            f"found {what}."
        )
    return found


def _folders(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path)]
    return sorted(found, key=lambda path: (natural(path.name), path.name))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name in _JUNK or path.name.lower() in _JUNK


def _loose(folder: Path) -> int:
    return sum(path.suffix.lower() in SUFFIXES and not _is_hidden(path) and path.is_file() for path in folder.iterdir())


def _count(pictures: int) -> str:
    return f"{pictures:,} picture{'' if pictures == 1 else 's'}"


def _list_pictures(folders: Sequence[Path], class_names: tuple[str, ...], left_out: _LeftOut) -> _Pictures:
    paths: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        if not folder.name.isprintable() or any(0xD800 <= ord(letter) <= 0xDFFF for letter in folder.name):
            raise DataError(f"{str(folder)!a}: the name of a class must be printable UTF-8; rename the folder.")
        if folder.name not in class_names:
            raise DataError(
                f"{folder}: this class has no training images; the classes are {', '.join(class_names[:8])}"
                f"{', ...' if len(class_names) > 8 else ''}."
            )
        kinds: Counter[str] = Counter()
        found = list(_pictures_below(folder, kinds, set()))
        left_out.kinds += kinds
        if not found:
            instead = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) or "none"
            raise DataError(f"{folder}: must have pictures ({', '.join(sorted(SUFFIXES))}), found {instead}.")
        left_out.nested[folder.name] += sum(path.parent != folder for path in found)
        paths += found
        labels += [class_names.index(folder.name)] * len(found)
    left_out.nested = +left_out.nested
    return _Pictures(paths=tuple(paths), labels=np.array(labels, np.int64))


def _pictures_below(folder: Path, others: Counter[str], seen: set[Path]) -> Iterator[Path]:
    """The pictures of a class, first its own, then those of its sub-folders; other files are counted by suffix."""
    if folder.resolve() in seen:  # a link back
        return
    seen.add(folder.resolve())
    files = [path for path in folder.iterdir() if not _is_hidden(path) and path.is_file()]
    for path in sorted(files, key=lambda path: (natural(path.name), path.name)):
        if path.suffix.lower() in SUFFIXES:
            yield path
        else:
            others[path.suffix.lower() or "files without a suffix"] += 1
    for below in _folders(folder):
        if below.name.lower() in _PARTS:
            raise DataError(
                f"{below}: train/, val/ and test/ must be above the classes, found {below.name}/ in a class; "
                f"make it {below.name}/{folder.name}/."
            )
        yield from _pictures_below(below, others, seen)


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


def read_pictures(paths: Sequence[Path], resize: int | None, *, fit: Fit, ground: int) -> Images:
    """(N, C, H, W) uint8: grey if all pictures are, else colour.

    Raises:
        DataError: files that are no whole pictures, up to ten of them by name; sizes that differ; too many bytes.
    """
    first: tuple[int, int] | None = None
    n_bytes = 0
    arrays: list[Images] = []
    faults: list[str] = []
    for path in paths:
        try:
            array = read_picture(path, resize, fit=fit, ground=ground)
        except DataError as error:
            faults.append(str(error))
            continue
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
    if faults:
        raise DataError(_all_faults(faults, paths))
    is_colour = any(array.shape[2] == 3 for array in arrays)
    if is_colour:
        check_size(str(paths[0].parent.parent), len(arrays) * 3 * arrays[0].shape[0] * arrays[0].shape[1])
    images = np.empty((len(arrays), 3 if is_colour else 1, *arrays[0].shape[:2]), np.uint8)
    for target, array in zip(images, arrays, strict=True):
        target[:] = array.transpose(2, 0, 1)
    return images


def _all_faults(faults: Sequence[str], paths: Sequence[Path]) -> str:
    """The faults in one line, whose paths begin with what is common to all pictures: that is said once."""
    if len(faults) == 1:
        return faults[0]
    root = paths[0].parent.parent
    more = f"; and {len(faults) - _NAMED:,} more" if len(faults) > _NAMED else ""
    named = "; ".join(fault.removeprefix(f"{root}{os.sep}").rstrip(".") for fault in faults[:_NAMED])
    return f"{root}: {len(faults):,} of {len(paths):,} pictures cannot be read: {named}{more}."
