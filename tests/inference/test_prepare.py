"""Photos and scans of digits come back as what MNIST holds."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from flyweight.data.catalogue import CATALOGUE
from flyweight.data.pictures import MAX_PIXELS
from flyweight.errors import DataError
from flyweight.inference.pictures import pictures
from flyweight.inference.prepare import Prepared, as_mnist, prepare
from flyweight.inference.sheet import sheet_of

PHOTOS = 60


def read_digit(path: Path, shape: tuple[int, int, int] = (1, 28, 28)) -> Prepared:
    (picture,) = pictures(path, shape)
    return as_mnist(picture, shape)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """(200, 28, 28) uint8 test digits."""
    with np.load(str(files("flyweight.data") / "mnist.npz")) as mnist:
        return mnist["x_test"][:200]


def photo_of(digit: np.ndarray, rng: np.random.Generator, *, dark_on_light: bool) -> Image.Image:
    """The digit large and off-centre on paper with a gradient of light and noise, as a camera would see it."""
    side = int(rng.integers(4, 10)) * 28
    ink = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), float) / 255
    height, width = (int(side * rng.uniform(1.2, 2.0)) for _ in range(2))
    sheet = np.zeros((height, width))
    top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    sheet[top : top + side, left : left + side] = ink
    y, x = np.mgrid[:height, :width]
    light = 200 + 40 * (rng.uniform(-1, 1) * (x / width - 0.5) + rng.uniform(-1, 1) * (y / height - 0.5))
    picture = light * (1 - 0.75 * sheet) + rng.normal(0, 3, sheet.shape)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    return Image.fromarray(picture if dark_on_light else 255 - picture).convert("RGB")


@pytest.mark.parametrize("dark_on_light", [True, False])
def test_a_photo_of_a_digit_comes_back_near_to_the_digit(digits, tmp_path, dark_on_light):
    """It differs little from its original, and less than from any other digit, through a JPEG too."""
    rng, differences, n_recognised = np.random.default_rng(0), [], 0
    for digit in digits[:PHOTOS]:
        path = tmp_path / "photo.jpg"
        photo_of(digit, rng, dark_on_light=dark_on_light).save(path, quality=85)
        found = read_digit(path)
        assert found.image.shape == (1, 28, 28)
        assert found.image.dtype == np.uint8
        assert any("inverted" in note for note in found.notes) is dark_on_light
        to_each = np.abs(digits.astype(float) - found.image[0]).mean(axis=(1, 2))
        differences.append(np.abs(found.image[0].astype(float) - digit).mean())
        n_recognised += bool(np.array_equal(digits[to_each.argmin()], digit))

    blank = digits.mean()
    assert len(differences) == PHOTOS
    assert np.median(differences) < 0.3 * blank
    assert n_recognised >= 0.9 * PHOTOS  # thin strokes are thickened, which makes some nearer to another digit


def test_a_digit_of_mnist_passes_as_it_is(digits, tmp_path):
    """What already is light on dark, centred and of the net's size is not touched; its negative is only inverted."""
    for digit in digits:
        Image.fromarray(digit).save(tmp_path / "digit.png")
        Image.fromarray(255 - digit).save(tmp_path / "negative.png")

        unchanged, negative = read_digit(tmp_path / "digit.png"), read_digit(tmp_path / "negative.png")

        assert np.array_equal(unchanged.image[0], digit)
        assert np.array_equal(negative.image[0], digit)
        assert "inverted" in negative.notes[0]


def test_the_frame_is_the_nets(digits, tmp_path):
    """Other sizes and colour nets get the digit in their own shape, its mass in the middle."""
    photo_of(digits[0], np.random.default_rng(1), dark_on_light=True).save(tmp_path / "photo.png")

    found = read_digit(tmp_path / "photo.png", (3, 32, 40)).image

    assert found.shape == (3, 32, 40)
    assert np.array_equal(found[0], found[2])
    y, x = np.mgrid[:32, :40]
    mass = found[0].astype(float)
    assert abs((mass * y).sum() / mass.sum() - 15.5) < 1
    assert abs((mass * x).sum() / mass.sum() - 19.5) < 1


def test_a_sideways_photo_is_turned_as_its_camera_says(digits, tmp_path):
    """The EXIF orientation is obeyed."""
    upright = photo_of(digits[0], np.random.default_rng(2), dark_on_light=True)
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)

    assert np.array_equal(read_digit(tmp_path / "turned.png").image, read_digit(tmp_path / "upright.png").image)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than the file holds."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def bad_files(folder: Path) -> dict[str, Path]:
    named = {name: folder / f"{name}.png" for name in ("text", "empty", "page", "tiny", "bomb", "cut", "missing")}
    named["text"].write_text("this is no picture")
    named["empty"].write_bytes(b"")
    Image.new("L", (200, 200), 230).save(named["page"])
    Image.new("L", (1, 1)).save(named["tiny"])
    named["bomb"].write_bytes(png_claiming(40_000, 40_000))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)).save(named["cut"])
    named["cut"].write_bytes(named["cut"].read_bytes()[:2000])
    return named | {"folder": folder}


@pytest.mark.parametrize("case", ["text", "empty", "page", "tiny", "bomb", "cut", "missing", "folder"])
def test_a_picture_that_is_not_a_digit_is_one_line(tmp_path, case):
    """The file is named, and what to give instead."""
    with pytest.raises(DataError) as caught:
        read_digit(bad_files(tmp_path)[case])

    message = str(caught.value)
    assert str(bad_files(tmp_path)[case]) in message
    assert "\n" not in message
    assert len(message) < 300 + len(str(tmp_path))


def test_the_bound_on_pixels_lets_cameras_through():
    """A picture of 50 megapixels may be read."""
    assert MAX_PIXELS >= 50_000_000


def test_reading_needs_no_torch():
    """Pillow and numpy do."""
    script = "import sys, flyweight.inference.prepare; print({'torch', 'scipy', 'matplotlib'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_strokes_that_touch_at_corners_are_one_digit_and_a_speck_is_none(tmp_path):
    """A staircase of pixels and the bar apart from it are kept; a speck of dirt changes nothing."""
    sheet = np.full((90, 90), 255, np.uint8)
    for step in range(40):
        sheet[20 + step, 20 + step] = 0
    sheet[20:23, 45:65] = 0
    dirty = sheet.copy()
    dirty[80, 5] = 0
    found = []
    for name, picture in (("clean", sheet), ("dirty", dirty)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        found.append(read_digit(tmp_path / f"{name}.png"))

    assert np.array_equal(found[0].image, found[1].image)
    assert any("50 % of the width and 44 % of the height" in note for note in found[0].notes)


def test_pictures_for_sets_of_handwriting_are_made_like_them():
    """All named sets but that of clothing hold handwriting, so a photo of ink on paper is turned to white on black."""
    paper = np.full((60, 60), 240, np.uint8)
    paper[15:45, 28:33] = 20
    (picture,) = pictures(paper, (1, 28, 28))

    inverted = {name for name in CATALOGUE if prepare(picture, (1, 28, 28), data=name).image[0, 0, 0] < 50}

    assert inverted == set(CATALOGUE) - {"fashion-mnist"}
    assert len(inverted) == 5


def nearest_digit(found: np.ndarray, digits: np.ndarray) -> int:
    """Position of the digit that differs least from a prepared image, (1, 28, 28)."""
    return int(np.abs(digits.astype(float) - found[0]).mean(axis=(1, 2)).argmin())


def enlarged(digit: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(255 - digit).resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("board", [False, True])
def test_a_sheet_on_a_table_is_found(digits, board):
    """Paper on a dark table, turned and off-centre, and a dark board on a light wall give the digit and no warning."""
    rng, n_sheets, n_recognised = np.random.default_rng(3), 0, 0
    for number, digit in enumerate(digits[:30]):
        sheet = Image.new("L", (300, 260), 230)
        sheet.paste(enlarged(digit, 180).point(lambda value: value * 230 // 255), (60, 40))
        angle = float(rng.uniform(-12, 12))
        turned, form = sheet.rotate(angle, expand=True), Image.new("L", sheet.size, 255).rotate(angle, expand=True)
        photo = Image.new("L", (640, 480), 45)
        photo.paste(turned, (int(rng.integers(0, 250)), int(rng.integers(0, 110))), form)
        pixels = np.asarray(photo) + rng.normal(0, 3, (480, 640))
        pixels = np.clip(255 - pixels if board else pixels, 0, 255).astype(np.uint8)

        (picture,) = pictures(pixels, (1, 28, 28))
        found = as_mnist(picture)

        n_sheets += "found a sheet in it" in found.notes
        straight = np.asarray(Image.fromarray(found.image[0]).rotate(-angle))[None]
        n_recognised += nearest_digit(straight, digits) == number
        assert found.warnings == ()

    assert n_sheets == 30
    assert n_recognised >= 27


def test_a_thick_digit_is_no_sheet(digits):
    """Light digits on black and their negatives: a ring, a bar and an 8 have straight or sharp borders too."""
    n_sheets = 0
    for digit in digits:
        light = np.pad(np.asarray(enlarged(digit, 140), dtype=float), 20, constant_values=255)
        n_sheets += (sheet_of(light) is not None) + (sheet_of(255 - light) is not None)

    assert len(digits) == 200
    assert n_sheets <= 2


def test_a_small_digit_is_cut_out_of_the_picture_itself(digits):
    """40 pixels of a page of 2,000 x 2,800 give the same image as the same pixels alone."""
    rng, n_recognised = np.random.default_rng(4), 0
    for number, digit in enumerate(digits[:20]):
        page = Image.new("L", (2000, 2800), 255)
        page.paste(enlarged(digit, 56), (int(rng.integers(100, 1800)), int(rng.integers(100, 2600))))
        (picture,) = pictures(np.asarray(page), (1, 28, 28))
        n_recognised += nearest_digit(as_mnist(picture).image, digits) == number

    assert n_recognised >= 19


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_two_thin_strokes_on_a_large_page_are_found(noise):
    """A 7 of two strokes, 2 pixels wide and 50 high, becomes as bright as the digits of MNIST."""
    page = Image.new("L", (2000, 2800), 240)
    ImageDraw.Draw(page).line([(600, 900), (640, 900), (615, 950)], fill=40, width=2)
    pixels = np.clip(np.asarray(page) + np.random.default_rng(5).normal(0, noise, (2800, 2000)), 0, 255)

    (picture,) = pictures(pixels.astype(np.uint8), (1, 28, 28))
    found = as_mnist(picture)

    assert found.warnings == ()
    assert 15 < found.image[0].mean() < 42  # MNIST's sevens: 19 to 42, nine of ten
    assert (found.image > 200).sum() > 25
    assert found.image.max() == 255


@pytest.mark.parametrize(
    ("places", "n_things"), [([(40, 60)], 1), ([(40, 60), (240, 70)], 2), ([(30, 20), (230, 20), (130, 200)], 3)]
)
def test_things_that_are_apart_are_counted(digits, places, n_things):
    """A picture of several digits has a warning with their number; the strokes of one digit are one thing."""
    sheet = Image.new("L", (440, 400), 255)
    for number, place in enumerate(places):
        sheet.paste(enlarged(digits[number], 160), place)
    (picture,) = pictures(np.asarray(sheet), (1, 28, 28))

    found = as_mnist(picture)

    assert found.warnings == (() if n_things == 1 else (f"{n_things} things drawn",))


def test_digits_of_one_writer_are_one_thing(digits):
    """Of 100 digits of MNIST, some with gaps in their strokes, at most one is taken for two."""
    n_warned = 0
    for digit in digits[:100]:
        sheet = Image.new("L", (200, 200), 255)
        sheet.paste(enlarged(digit, 140), (30, 30))
        (picture,) = pictures(np.asarray(sheet), (1, 28, 28))
        n_warned += bool(as_mnist(picture).warnings)

    assert n_warned <= 1


def test_a_digit_that_is_cut_off_has_a_warning(digits):
    """At the edge of the picture, and at the edge of its sheet."""
    sheet = Image.new("L", (200, 200), 255)
    sheet.paste(enlarged(digits[0], 160), (100, 20))
    table = Image.new("L", (400, 400), 30)
    table.paste(sheet, (100, 100))
    for photo in (sheet, table):
        (picture,) = pictures(np.asarray(photo), (1, 28, 28))

        assert "touches the edge" in as_mnist(picture).warnings
