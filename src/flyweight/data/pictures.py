"""Reads one picture, in the same way for training and prediction.

Goes in: a file or an opened picture. Comes out: 8-bit grey or colour, upright, with transparent pixels laid on a ground
that the caller states, and fitted into a frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES: Final = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".pbm")
)
BLACK, WHITE = 0, 255
MAX_PIXELS: Final = 89_478_485  # from there on Pillow warns; more is a mistake or a decompression bomb

# How a picture that is not square becomes one: squeezed, with bars of the colour of its border, or cut.
Fit = Literal["stretch", "pad", "crop"]

_GROUNDS_READ: Final = 200  # transparent pictures that are read to choose the ground
_LOOKED_AT: Final = (256, 256)  # and their size then


def read_picture(
    path: Path, resize: int | None = None, *, fit: Fit = "stretch", ground: int = BLACK
) -> NDArray[np.uint8]:
    """(H, W, C) uint8 of one picture: turned upright as its camera says, grey if its pixels are.

    Raises:
        DataError: no picture, a damaged one, one with other than 8 or 16 bits, a decompression bomb.
    """
    picture = plain_picture(opened(path, str(path)), str(path), ground=ground)
    if resize is not None:
        picture = fitted(picture, (resize, resize), fit)
    array: NDArray[np.uint8] = np.asarray(picture, np.uint8)
    if array.ndim == 2:
        return array[:, :, None]
    is_grey = (array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all()
    return array[:, :, :1] if is_grey else array


def opened(source: Path | BytesIO | Image, name: str) -> Image:
    """The loaded picture, turned upright as its camera says. name: what it is called in an error.

    Raises:
        DataError: no such file, no picture, a damaged one, none or too many pixels.
    """
    import PIL.Image
    import PIL.ImageOps

    if isinstance(source, Path) and source.exists() and not source.is_file() and not source.is_dir():
        raise DataError(f"{name}: must be a picture, found a pipe or a device; give the path of a PNG or JPEG.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            # A damaged tag or EXIF entry does not change the pixels.
            warnings.filterwarnings("ignore", category=UserWarning)
            with nullcontext(source) if isinstance(source, PIL.Image.Image) else PIL.Image.open(source) as picture:
                if not 0 < picture.width * picture.height <= MAX_PIXELS:
                    raise DataError(
                        f"{name} has {picture.width} x {picture.height} pixels; a picture may have 1 to {MAX_PIXELS:,}."
                    )
                picture.load()
                return PIL.ImageOps.exif_transpose(picture)
    except FileNotFoundError:
        raise DataError(f"{name}: no such file; give the path of a PNG or JPEG.") from None
    except IsADirectoryError:
        raise DataError(f"{name} is a folder; give the path of a PNG or JPEG.") from None
    except PIL.UnidentifiedImageError as error:
        raise DataError(f"{name}: must be a picture, found {_beginning(source)}; give a PNG or JPEG.") from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: a picture may have {MAX_PIXELS:,} pixels, found more; shrink it.") from error
    # Pillow's decoders raise these for damaged files.
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{name}: damaged picture ({error}); replace it, or save it again as PNG or JPEG.") from error


def plain_picture(picture: Image, name: str, *, ground: int = BLACK) -> Image:
    """The picture as 8-bit grey ("L") or colour ("RGB"); transparent pixels are laid on the ground."""
    import PIL.Image

    mode = picture.mode
    if mode in ("L", "RGB") and "transparency" not in picture.info:
        picture.load()
        return picture
    if mode == "1":
        return picture.convert("L")
    if mode.startswith("I;16"):
        # convert("L") would cut the values off at 255.
        return PIL.Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if mode in ("I", "F"):
        raise DataError(f"{name}: pictures must have 8 or 16 bits a channel, found mode {mode}; save it as 8-bit PNG.")
    if picture.has_transparency_data:
        colours = picture.convert("RGBA")
        below = PIL.Image.new("RGBA", colours.size, (ground, ground, ground, 255))
        is_grey = mode in ("L", "LA", "La")
        return PIL.Image.alpha_composite(below, colours).convert("L" if is_grey else "RGB")
    return picture.convert("RGB")


def fitted(picture: Image, size: tuple[int, int], fit: Fit) -> Image:
    """An "L" or "RGB" picture at (width, height), bilinear; it averages when it shrinks."""
    import PIL.Image
    import PIL.ImageOps

    bilinear = PIL.Image.Resampling.BILINEAR
    if fit == "crop":
        return PIL.ImageOps.fit(picture, size, bilinear)
    if fit == "pad":
        pixels = np.asarray(picture).reshape(picture.height, picture.width, -1)
        border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
        colour = tuple(int(value) for value in np.median(border, axis=0))
        return PIL.ImageOps.pad(picture, size, bilinear, color=colour if len(colour) > 1 else colour[0])
    return picture.resize(size, bilinear)


def ground_for(paths: Iterable[Path]) -> tuple[int | None, int]:
    """The ground on which transparent pictures can be seen, and how many there are; None without any.

    It is white where what is drawn is dark on average, else black. One ground is chosen for all.
    """
    import PIL.Image

    n_transparent, sums, weights = 0, 0.0, 0.0
    for path in paths:
        try:
            with warnings.catch_warnings(action="ignore"), PIL.Image.open(path) as picture:
                if not picture.has_transparency_data:
                    continue
                if n_transparent >= _GROUNDS_READ:
                    n_transparent += 1
                    continue
                small = picture.convert("RGBA")
                small.thumbnail(_LOOKED_AT, PIL.Image.Resampling.NEAREST)
        except (OSError, ValueError, SyntaxError, EOFError, PIL.Image.DecompressionBombError):
            continue  # reported where it is read
        luminance, alpha = drawn(small)
        n_transparent += bool((alpha < 1).any())
        sums, weights = sums + float((luminance * alpha).sum()), weights + float(alpha.sum())
    if n_transparent == 0:
        return None, 0
    return (WHITE if sums < 128 * weights or weights == 0 else BLACK), n_transparent


def drawn(picture: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(H, W) luminance 0 to 255, and opacity 0 to 1, of a picture with transparency."""
    colours = picture.convert("RGBA")
    return np.asarray(colours.convert("L"), np.float64), np.asarray(colours, np.float64)[..., 3] / 255


def _beginning(source: Path | BytesIO | Image) -> str:
    start = b""
    if isinstance(source, Path | BytesIO):
        with source.open("rb") if isinstance(source, Path) else BytesIO(source.getvalue()) as stream:
            start = stream.read(16)
    if not start:
        return "an empty file"
    return f"text: {start.decode()!r}" if start.isascii() and b"\0" not in start else f"bytes {start.hex(' ')}"
