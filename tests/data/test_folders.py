"""A folder of pictures as a set: classes by sub-folder, any one size, clear words about what does not fit."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from image_files import picture_bytes, pictures, write_classes

from flyweight.data.folders import hold_out_test, natural
from flyweight.data.pictures import read_picture
from flyweight.data.sources import load
from flyweight.errors import DataError


def refused(path, **options) -> str:
    """The message of the DataError that loading raises, checked to be one line with exit code 6."""
    with pytest.raises(DataError) as caught:
        load(path, **options)
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_train_val_and_test_are_kept_apart_where_they_exist(tmp_path):
    """Each part holds its own pictures, bit for bit, in natural order of class and file."""
    write_classes(tmp_path / "train", {"1": 11, "2": 3, "10": 2})
    write_classes(tmp_path / "val", {"1": 2, "10": 1})
    write_classes(tmp_path / "test", {"2": 2})

    found = load(tmp_path)

    assert found.class_names == ("1", "2", "10")
    assert found.train_labels.tolist() == [0] * 11 + [1] * 3 + [2] * 2
    assert found.validation_labels.tolist() == [0, 0, 2]
    assert found.test_labels.tolist() == [1, 1]
    np.testing.assert_array_equal(found.train_images[:11, 0], pictures(11, (5, 4), 0))
    np.testing.assert_array_equal(found.validation_images[:2, 0], pictures(2, (5, 4), 0))


def test_without_a_test_folder_a_sixth_of_each_class_is_held_out(tmp_path):
    """Every picture is in exactly one part, and the choice is the same every time."""
    write_classes(tmp_path, {"ant": 12, "bee": 30})

    found, again = load(tmp_path), load(tmp_path)

    assert np.bincount(found.test_labels).tolist() == [2, 5]
    assert np.bincount(found.train_labels).tolist() == [10, 25]
    everything = {image.tobytes() for _, images, _ in found.parts() for image in images}
    assert len(everything) == 42
    assert found.fingerprint == again.fingerprint


def test_the_held_out_images_are_the_same_for_ever():
    """The choice rests on the raw stream of PCG64 and on nothing else."""
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)

    _, (test_images, test_labels) = hold_out_test(images, np.array([0] * 6 + [1] * 6))

    assert test_images.ravel().tolist() == [3, 11]
    assert test_labels.tolist() == [0, 1]


def test_a_train_folder_alone_has_its_test_images_held_out(tmp_path):
    """train/ without test/ gives a sixth of each class away."""
    write_classes(tmp_path / "train", {"ant": 6, "bee": 6})

    found = load(tmp_path)

    assert (len(found.train_labels), len(found.test_labels)) == (10, 2)


def test_names_are_sorted_as_people_count():
    """Numbers inside names count by value."""
    assert sorted(["img10", "img9", "img1", "Img2"], key=natural) == ["img1", "Img2", "img9", "img10"]


def test_colour_pictures_give_three_channels(tmp_path):
    """(H, W, 3) pictures come back as (3, H, W), unchanged."""
    write_classes(tmp_path / "train", {"ant": 2, "bee": 2}, (5, 4, 3))
    write_classes(tmp_path / "test", {"ant": 1}, (5, 4, 3))

    found = load(tmp_path)

    assert found.shape == (3, 5, 4)
    np.testing.assert_array_equal(found.train_images[:2], pictures(2, (5, 4, 3), 0).transpose(0, 3, 1, 2))


def test_one_colour_picture_makes_the_whole_set_colour(tmp_path):
    """Grey pictures of such a set have three equal channels."""
    write_classes(tmp_path / "train", {"ant": 2}, (5, 4))
    write_classes(tmp_path / "train", {"bee": 1}, (5, 4, 3))
    write_classes(tmp_path / "test", {"ant": 1}, (5, 4))

    found = load(tmp_path)

    assert found.shape == (3, 5, 4)
    assert (found.test_images[0, 0] == found.test_images[0, 2]).all()


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, [255]),
        ("L", 9, [9]),
        ("LA", (200, 0), [0]),
        ("RGBA", (200, 100, 50, 0), [0]),
        ("RGBA", (200, 100, 50, 255), [200, 100, 50]),
        ("I;16", 0x1234, [0x12]),
    ],
)
def test_every_kind_of_picture_becomes_eight_bits_without_transparency(tmp_path, mode, value, expected):
    """Bilevel to 0 and 255, 16 bits to their upper 8, transparent to black."""
    PIL.Image.new(mode, (3, 2), value).save(tmp_path / "picture.png")

    found = read_picture(tmp_path / "picture.png")

    assert found.shape == (2, 3, len(expected))
    assert found[0, 0].tolist() == expected


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    """EXIF orientation 6: the stored columns are the seen rows."""
    picture = PIL.Image.new("L", (6, 4))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)

    assert read_picture(tmp_path / "turned.jpg").shape == (6, 4, 1)


def test_pictures_of_two_sizes_are_refused_by_name_and_resized_only_on_request(tmp_path):
    """The message names both files, both sizes and data.resize; with it they are read."""
    write_classes(tmp_path, {"ant": 6}, (5, 4))
    write_classes(tmp_path, {"bee": 6}, (8, 9))

    message = refused(tmp_path)

    assert f"{tmp_path}/bee/0.png: is 9 x 8" in message
    assert f"{tmp_path}/ant/0.png is 4 x 5" in message
    assert "Set data.resize (for example 4)" in message
    assert load(tmp_path, resize=6).shape == (1, 6, 6)


def test_other_files_beside_pictures_are_left_alone(tmp_path):
    """Notes, thumbnails and hidden files are not images."""
    write_classes(tmp_path, {"ant": 6, "bee": 6})
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "._0.png"):
        (tmp_path / "ant" / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()

    assert len(load(tmp_path).class_names) == 2


def test_an_empty_folder_is_refused(tmp_path):
    """The message says what a folder must hold."""
    assert "one sub-folder of pictures per class, or IDX files" in refused(tmp_path)


def test_pictures_without_classes_are_refused(tmp_path):
    """Pictures that lie loose in the folder are counted."""
    (tmp_path / "0.png").write_bytes(picture_bytes(pictures(1)[0]))

    assert "found 1 pictures without a class" in refused(tmp_path)


def test_an_empty_class_folder_is_refused(tmp_path):
    """A class without pictures is named."""
    write_classes(tmp_path, {"ant": 6, "bee": 0})

    assert f"{tmp_path}/bee: must have pictures" in refused(tmp_path)


def test_one_class_is_refused(tmp_path):
    """There is nothing to tell apart."""
    write_classes(tmp_path, {"ant": 6})

    assert "at least 2 classes are needed, found training images of 1: 'ant'" in refused(tmp_path)


def test_a_class_that_only_the_test_folder_has_is_refused(tmp_path):
    """What was never trained cannot be tested."""
    write_classes(tmp_path / "train", {"ant": 2, "bee": 2})
    write_classes(tmp_path / "test", {"ant": 1, "cat": 1})

    assert "cat: this class has no training images; the classes are ant, bee" in refused(tmp_path)


def test_a_stray_folder_beside_train_is_refused(tmp_path):
    """It would otherwise be left out without a word."""
    write_classes(tmp_path / "train", {"ant": 2, "bee": 2})
    write_classes(tmp_path / "extra", {"ant": 2})

    assert "found extra/ too" in refused(tmp_path)


def damaged(tmp_path, content: bytes, name: str = "0.png"):
    write_classes(tmp_path, {"ant": 6, "bee": 6})
    (tmp_path / "ant" / name).write_bytes(content)
    return tmp_path


def test_an_image_that_is_text_is_refused(tmp_path):
    """The beginning of the text is shown."""
    assert "must be a picture, found text: 'hello'" in refused(damaged(tmp_path, b"hello"))


def test_an_image_of_no_bytes_is_refused(tmp_path):
    """An empty file is called one."""
    assert "found an empty file" in refused(damaged(tmp_path, b""))


@pytest.mark.parametrize(("form", "name"), [("PNG", "0.png"), ("JPEG", "z.jpg"), ("BMP", "z.bmp"), ("GIF", "z.gif")])
def test_half_an_image_is_refused(tmp_path, form, name):
    """A picture that is cut off is named, whatever its format."""
    whole = picture_bytes(pictures(1, (60, 60))[0], form)
    write_classes(tmp_path, {"ant": 6, "bee": 6}, (60, 60))
    (tmp_path / "ant" / name).write_bytes(whole[: len(whole) // 2])

    assert f"{name}: damaged picture" in refused(tmp_path)


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG file whose header claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, side):
    """Between once and twice Pillow's limit, where it only warns, and beyond."""
    message = refused(damaged(tmp_path, png_claiming(side, side)))

    assert "0.png: a picture may have 89,478,485 pixels, found more" in message


def test_a_float_picture_is_refused(tmp_path):
    """There is no telling what its white is."""
    stream = io.BytesIO()
    PIL.Image.new("F", (4, 5), 0.5).save(stream, "TIFF")

    assert "8 or 16 bits a channel, found mode F" in refused(damaged(tmp_path, stream.getvalue(), "z.tiff"))
