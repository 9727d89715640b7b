"""Reads image sets by name or path, with `load`.

Goes in: a name of the catalogue, an .npz file, or a folder. Comes out: a checked `ImageSet`. How images are split and
normalised is not known here.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flyweight.data.catalogue import CATALOGUE, NamedSet
from flyweight.data.csv_files import read_csv
from flyweight.data.downloads import default_cache, fetch
from flyweight.data.folders import first_column, read_folder, read_idx_files
from flyweight.data.idx import read_idx_stream
from flyweight.data.imageset import Images, ImageSet, check_size, image_set
from flyweight.data.npz import channels_first, read_npz
from flyweight.data.pictures import Fit, fitted
from flyweight.errors import DataError, UsageError, in_one_line, nearest

MAX_SIDE: Final = 1024


def load(
    name_or_path: str | os.PathLike[str], *, cache: Path | None = None, resize: int | None = None, fit: Fit = "stretch"
) -> ImageSet:
    """The image set of that name (see `CATALOGUE`), or of that .npz or .csv file, folder of IDX files or of pictures,
    or .zip file of such a folder.

    A name takes precedence over a path: write ./mnist for a folder of that name. `cache` is the folder of downloads
    (default: `default_cache()`). `resize` makes every image a square of that side; by default nothing is resized. `fit`
    says how: an image that is not square is squeezed ("stretch"), gets bars ("pad") or is cut ("crop").

    Raises:
        UsageError: neither a known name nor a path, or a side out of range.
        DataError: damaged files, or files of another format.
        MissingError: a download that failed.
    """
    return _load(name_or_path, cache, resize, fit)


@in_one_line
def _load(name_or_path: str | os.PathLike[str], cache: Path | None, resize: int | None, fit: Fit) -> ImageSet:
    if resize is not None and not 1 <= resize <= MAX_SIDE:
        raise UsageError(f"data.resize must be 1 to {MAX_SIDE} pixels, found {resize}.")
    named = CATALOGUE.get(os.fspath(name_or_path))
    images = load_named(named, cache=cache) if named else _load_path(name_or_path, resize, fit)
    return images if resize is None else resized(images, resize, fit)


def load_named(named: NamedSet, *, cache: Path | None = None) -> ImageSet:
    """The image set of a catalogue entry, downloaded if need be."""
    if named.is_built_in:
        with resources.as_file(resources.files(__package__) / f"{named.name}.npz") as path:
            return read_npz(path, name=named.name, class_names=named.class_names)
    paths = fetch(named.files, (cache or default_cache()) / named.folder)
    if named.archive is None:
        found = {path.name: path for path in paths}
        files = {key: found[member] for key, member in named.members.items()}
        return read_idx_files(files, name=named.name, class_names=named.class_names)
    return _read_archive(paths[0], named)


def _read_archive(path: Path, named: NamedSet) -> ImageSet:
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {key: _read_member(archive, member, path) for key, member in named.members.items()}
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: damaged zip file ({error}); remove it, and it is downloaded again.") from error
    pairs = {part: (arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test")}
    parts = {part: _upright(images, labels, named, path) for part, (images, labels) in pairs.items()}
    return image_set(name=named.name, parts=parts, class_names=named.class_names)


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    """The IDX file of that name in any folder of the archive: the mirrors have different folders."""
    found = [member for member in archive.namelist() if member.rpartition("/")[2] == name]
    if not found:
        raise DataError(f"{path}: must hold {name}, found {len(archive.namelist())} other files.")
    with archive.open(found[0]) as packed, gzip.open(packed) as stream:
        return read_idx_stream(stream, f"{path}: {name}")  # type: ignore[arg-type]  # GzipFile reads as BinaryIO does


def _upright(images: NDArray[Any], labels: NDArray[Any], named: NamedSet, path: Path) -> tuple[Images, NDArray[Any]]:
    if named.is_transposed and images.ndim == 3:
        images = images.transpose(0, 2, 1)
    return channels_first(images, str(path)), first_column(labels).astype(np.int64) - named.first_label


def _load_path(name_or_path: str | os.PathLike[str], resize: int | None, fit: Fit) -> ImageSet:
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        # Path(".").name is empty, so the path is resolved first.
        return read_folder(path, name=path.resolve().name, resize=resize, fit=fit)
    if path.is_file():
        match path.suffix.lower():
            case ".npz":
                return read_npz(path, name=path.stem)
            case ".csv":
                return read_csv(path, resize=resize, fit=fit)
            case ".zip":
                return _read_zip(path, resize, fit)
        raise DataError(
            f"{path}: image sets are .npz, .csv and .zip files or folders, found a {path.suffix or 'nameless'} file."
        )
    text = os.fspath(name_or_path)
    is_path = len(path.parts) > 1 or text.startswith((".", "~")) or text.endswith(os.sep)
    if is_path or path.suffix in (".npz", ".csv", ".zip"):
        raise DataError(f"{path}: no such file or folder.")
    raise UsageError(
        f"no image set is called {text!r}, and there is no file or folder of that name."
        f"{nearest(text, CATALOGUE)} Known: {', '.join(CATALOGUE)}."
    )


def _read_zip(path: Path, resize: int | None, fit: Fit) -> ImageSet:
    """The folder that a .zip file has, unpacked only while it is read."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as place:
            check_size(str(path), sum(member.file_size for member in archive.infolist()))
            archive.extractall(place)
            try:
                return read_folder(Path(place), name=path.stem, resize=resize, fit=fit)
            except DataError as error:
                raise DataError(str(error).replace(place, str(path))) from error
    # RuntimeError: a password, or (NotImplementedError) an unknown compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        raise DataError(f"{path}: not a whole .zip file ({error}); pack the folder again.") from error


def resized(images: ImageSet, side: int, fit: Fit = "stretch") -> ImageSet:
    """The set with every image a square of that side (bilinear, averaging when it shrinks)."""
    if images.shape[1:] == (side, side):
        return images
    scaled = {part: (_resize_all(pixels, side, fit), labels) for part, pixels, labels in images.parts()}
    found = image_set(name=images.name, parts=scaled, class_names=images.class_names)
    return replace(found, notes=images.notes, ground=images.ground)


def _resize_all(images: Images, side: int, fit: Fit) -> Images:
    import PIL.Image

    check_size(f"data.resize={side}", images.shape[0] * images.shape[1] * side * side)
    scaled = np.empty((*images.shape[:2], side, side), np.uint8)
    for target, source in zip(_planes(scaled), _planes(images), strict=True):
        target[:] = np.asarray(fitted(PIL.Image.fromarray(source), (side, side), fit))
    return scaled


def _planes(images: Images) -> Sequence[Images]:
    """Every channel of every image by itself, (H, W), sharing memory."""
    return images.reshape(-1, *images.shape[2:])  # type: ignore[return-value]  # an array of arrays is their sequence
