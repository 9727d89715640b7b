"""The C export as an Arduino library, in the layout of its specification: `arduino_files(file, ...)`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from flyweight import __version__
from flyweight.export.c import header, identifier, rows_of_numbers, source
from flyweight.export.format import IntegerFile

EXAMPLE: Final = "Classify"


def arduino_paths(name: str) -> tuple[str, ...]:
    """The files of a library by their paths in it; name: as of `identifier`."""
    sources = (f"src/{name}.h", f"src/{name}.c", f"examples/{EXAMPLE}/{EXAMPLE}.ino")
    return ("library.properties", "keywords.txt", "README.md", *sources)


def arduino_files(
    file: IntegerFile, *, card: str, readme: str, images: NDArray[np.uint8], parameters: int
) -> dict[str, str]:
    """The files by path. card: for the comments. images: (N, C, H, W) uint8, the first is in the example."""
    name = identifier(file.name)
    properties = {
        "name": name,
        "version": _three_numbers(__version__),
        "author": "flyweight",
        "maintainer": "flyweight",
        "sentence": f"An image classifier of {parameters} parameters in integers.",
        "paragraph": "Static memory only, no floating point. Made by flyweight from a trained net.",
        "category": "Data Processing",
        "url": "https://www.arduino.cc/reference/en/libraries/",
        "architectures": "*",
        "includes": f"{name}.h",
    }
    texts = (
        "".join(f"{key}={value}\n" for key, value in properties.items()),
        f"{name}_classify\tKEYWORD2\n{name.upper()}_CLASSES\tLITERAL1\n",
        readme,
        header(file, card=card),
        source(file, card=card),
        _sketch(name, images[0]),
    )
    return dict(zip(arduino_paths(name), texts, strict=True))


def _three_numbers(version: str) -> str:
    """A version as the library manager wants it.

    >>> _three_numbers("0.4.dev1"), _three_numbers("1.2.3")
    ('0.4.0', '1.2.3')
    """
    numbers = [part for part in version.split(".") if part.isdecimal()][:3]
    return ".".join([*numbers, "0", "0"][:3])


def _sketch(name: str, image: NDArray[np.uint8]) -> str:
    upper = name.upper()
    pixels = rows_of_numbers(image.transpose(1, 2, 0).ravel().tolist())
    return f"""// Classifies one image of the data and prints its class and the time it took.
#include <{name}.h>

static const char *const names[{upper}_CLASSES] = {upper}_CLASS_NAMES;
static const uint8_t pixels[{upper}_HEIGHT * {upper}_WIDTH * {upper}_CHANNELS] = {{
{pixels}
}};

void setup() {{
  Serial.begin(115200);
}}

void loop() {{
  static int32_t scores[{upper}_CLASSES];
  const unsigned long start = micros();
  const int best = {name}_classify(pixels, scores);
  const unsigned long end = micros();
  Serial.print(names[best]);
  Serial.print(" after ");
  Serial.print(end - start);
  Serial.println(" microseconds");
  delay(1000);
}}
"""
