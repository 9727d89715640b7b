"""One picture as Pillow has it: opened from a file or from bytes, turned upright, in 8 bits a channel.

Goes in: a path, bytes, or an object of Pillow. Comes out: a loaded picture, or a DataError of one line.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from flyweight.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS: Final = 89_478_485  # from there on Pillow warns; more is a mistake or a decompression bomb


def opened(source: Path | BytesIO | Image, name: str) -> Image:
    """The loaded picture, turned upright as its camera says. name: what it is called in an error.

    Raises:
        DataError: no such file, no picture, a damaged one, none or too many pixels.
    """
    import PIL.Image
    import PIL.ImageOps

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


def plain_picture(picture: Image, name: str) -> Image:
    """The picture as 8-bit grey ("L") or colour ("RGB"); transparent pixels are black."""
    import PIL.Image

    mode = picture.mode
    if mode in ("L", "RGB"):
        picture.load()
        return picture
    if mode == "1":
        return picture.convert("L")
    if mode.startswith("I;16"):
        # convert("L") would cut the values off at 255.
        return PIL.Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if mode in ("I", "F"):
        raise DataError(f"{name}: pictures must have 8 or 16 bits a channel, found mode {mode}; save it as 8-bit PNG.")
    is_grey = mode in ("LA", "La")
    if is_grey or mode in ("RGBA", "PA", "RGBa") or "transparency" in picture.info:
        colours = picture.convert("RGBA")
        black = PIL.Image.new("RGBA", colours.size, (0, 0, 0, 255))
        return PIL.Image.alpha_composite(black, colours).convert("L" if is_grey else "RGB")
    return picture.convert("RGB")


def _beginning(source: Path | BytesIO | Image) -> str:
    start = b""
    if isinstance(source, Path | BytesIO):
        with source.open("rb") if isinstance(source, Path) else BytesIO(source.getvalue()) as stream:
            start = stream.read(16)
    if not start:
        return "an empty file"
    return f"text: {start.decode()!r}" if start.isascii() and b"\0" not in start else f"bytes {start.hex(' ')}"
