"""Pictures as people have them: transparent, grey in a colour format, damaged, in every layout of folders."""

import zipfile

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from image_files import picture_bytes, pictures, write_classes

from flyweight.data.pictures import fitted
from flyweight.data.sources import load
from flyweight.errors import DataError
from flyweight.inference.pictures import pictures as opened
from flyweight.inference.prepare import resize_only


def refused(path, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    message.encode()
    return message


def drawing(number: int, mode: str, *, ink: int = 0) -> PIL.Image.Image:
    """A line on nothing: (1) and (0) of alpha, as drawing programs save it."""
    picture = PIL.Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    PIL.ImageDraw.Draw(picture).line([(number % 9, 0), (8, 8 - number % 9)], fill=(ink, ink, ink, 255), width=2)
    if mode == "P":
        indexed = PIL.Image.fromarray((np.asarray(picture)[..., 3] // 255).astype(np.uint8), "P")
        indexed.putpalette([ink] * 6)
        indexed.info["transparency"] = 0
        return indexed
    return picture.convert(mode)


def write_drawings(folder, mode: str, *, ink: int = 0) -> None:
    for number in range(14):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        drawing(number, mode, ink=ink).save(place / f"{number}.png", transparency=0 if mode == "P" else None)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (255, 0)])
def test_drawings_on_transparency_are_seen_in_training_and_in_prediction_alike(tmp_path, mode, ink, ground):
    """Black ink is laid on white, white ink on black; the same file is the same image for training and prediction."""
    write_drawings(tmp_path / "set", mode, ink=ink)

    found = load(tmp_path / "set")

    assert found.shape == (1, 9, 9)
    assert found.ground == ground
    assert found.notes == (f"14 pictures with transparency, laid on {'white' if ground else 'black'}",)
    path = tmp_path / "set" / "a" / "0.png"
    (picture,) = opened(path, found.shape)
    predicted = resize_only(picture, found.shape, found.ground).image
    expected = np.where(np.asarray(drawing(0, "RGBA"))[..., 3] > 0, ink, ground)
    np.testing.assert_array_equal(predicted[0], expected)
    assert any(np.array_equal(image, predicted) for _, images, _ in found.parts() for image in images)


def test_grey_is_grey_by_its_pixels(tmp_path):
    """A GIF, a palette picture and an RGB picture whose pixels are grey leave a grey set grey."""
    write_classes(tmp_path, {"ant": 6, "bee": 6})
    grey = PIL.Image.fromarray(pictures(1)[0])
    grey.save(tmp_path / "ant" / "a.gif")
    grey.convert("P").save(tmp_path / "ant" / "b.png")
    grey.convert("RGB").save(tmp_path / "ant" / "c.png")

    assert load(tmp_path).shape == (1, 5, 4)


def test_files_left_out_are_counted_by_kind(tmp_path):
    """What cannot be read, and what lies outside of the classes, is said; files of the system are not."""
    write_classes(tmp_path, {"ant": 6, "bee": 6})
    for name in ("ant/IMG_1.HEIC", "bee/IMG_2.heic", "bee/notes.txt", "bee/Thumbs.db", "ant/.DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loose.png").write_bytes(picture_bytes(pictures(1)[0]))

    first, second = load(tmp_path).notes

    assert first.startswith("left out: 2 .heic, 1 .txt (")
    assert second == "left out: 1 picture outside of the class folders"


def test_a_class_with_unreadable_pictures_only_names_their_kind(tmp_path):
    """It is not "none"."""
    write_classes(tmp_path, {"ant": 6, "bee": 0})
    (tmp_path / "bee" / "IMG_1.HEIC").write_bytes(b"x")

    assert "found 1 .heic" in refused(tmp_path)


def test_all_damaged_pictures_are_named_at_once_up_to_ten(tmp_path):
    """People mend them in one go."""
    write_classes(tmp_path, {"ant": 16, "bee": 6})
    for number in range(12):
        (tmp_path / "ant" / f"{number}.png").write_bytes(b"hello")

    message = refused(tmp_path)

    assert message.startswith(f"{tmp_path}: 12 of 22 pictures cannot be read: ant/0.png: ")
    assert all(f" ant/{number}.png:" in message for number in range(10))
    assert "ant/10.png" not in message
    assert message.endswith("; and 2 more.")


def test_pictures_in_sub_folders_of_a_class_count(tmp_path):
    """40 pictures and 60 in a folder below them are 100, and that is said."""
    write_classes(tmp_path, {"ant": 4, "bee": 6})
    write_classes(tmp_path / "ant", {"sub": 6})

    found = load(tmp_path)

    assert len(found.train_labels) + len(found.test_labels) == 16
    assert found.notes == ("6 pictures in sub-folders of a class count for that class: ant 6",)


def test_a_link_back_to_a_class_is_read_once(tmp_path):
    """A circle of folders ends."""
    write_classes(tmp_path, {"ant": 6, "bee": 6})
    (tmp_path / "ant" / "again").symlink_to(tmp_path / "ant", target_is_directory=True)

    assert len(load(tmp_path).train_labels) == 10


def test_classes_beside_a_test_folder_with_the_same_classes(tmp_path):
    """a/ b/ and test/a test/b: the classes train, and test/ tests."""
    write_classes(tmp_path, {"ant": 6, "bee": 6})
    write_classes(tmp_path / "test", {"ant": 2, "bee": 1})

    found = load(tmp_path)

    assert found.class_names == ("ant", "bee")
    assert (len(found.train_labels), found.test_labels.tolist()) == (12, [0, 0, 1])


def test_loose_pictures_in_a_test_folder_are_refused(tmp_path):
    """a/ b/ and test/*.png: the pictures have no class, and test is none."""
    write_classes(tmp_path, {"ant": 6, "bee": 6, "test": 3})

    message = refused(tmp_path)

    assert f"{tmp_path}/test: must have one sub-folder of pictures per class" in message
    assert "found 3 pictures without a class; move test/ away, or rename it if it is a class" in message


@pytest.mark.parametrize("part", ["train", "test"])
def test_parts_inside_of_classes_are_refused(tmp_path, part):
    """ant/train, ant/test: read as one class, test images would train."""
    write_classes(tmp_path, {"ant": 6, "bee": 6})
    write_classes(tmp_path / "ant", {part: 6})

    assert f"make it {part}/ant/" in refused(tmp_path)


def test_test_and_validation_without_training_are_refused(tmp_path):
    """Nobody means two classes called test and val."""
    write_classes(tmp_path, {"test": 6, "val": 6})

    assert "must have train/ or class folders beside test, val/, found neither" in refused(tmp_path)


def test_two_folders_for_one_part_are_refused(tmp_path):
    """train/ and Train/ are not one folder on every system."""
    write_classes(tmp_path / "train", {"ant": 6, "bee": 6})
    write_classes(tmp_path / "Train", {"ant": 6, "bee": 6})

    assert "one folder must have the train images, found Train/ and train/" in refused(tmp_path)


def test_a_folder_around_the_set_is_looked_into(tmp_path):
    """As unpacked archives have one."""
    write_classes(tmp_path / "photos" / "train", {"ant": 6, "bee": 6})

    assert load(tmp_path).class_names == ("ant", "bee")


def test_a_class_name_that_is_no_text_is_refused(tmp_path):
    """Bytes that are not UTF-8 would end in an error when the run is written."""
    write_classes(tmp_path, {"ant": 6, b"b\xffe".decode(errors="surrogateescape"): 6})

    assert "the name of a class must be printable UTF-8" in refused(tmp_path)


def test_a_zip_file_is_read_as_its_folder(tmp_path):
    """The same images in the same order, and nothing is left behind."""
    write_classes(tmp_path / "set" / "train", {"ant": 6, "bee": 6})
    write_classes(tmp_path / "set" / "test", {"ant": 2, "bee": 2})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))

    assert load(tmp_path / "set.zip").fingerprint == load(tmp_path / "set").fingerprint


def test_a_damaged_zip_file_and_what_is_wrong_in_a_whole_one_are_named_by_its_path(tmp_path):
    """Not by a folder that is gone."""
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 and no more")
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("ant/0.png", b"hello")

    assert "bad.zip: not a whole .zip file" in refused(tmp_path / "bad.zip")
    assert refused(tmp_path / "one.zip").startswith(f"{tmp_path}/one.zip/ant/0.png: must be a picture")


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (np.zeros((12, 5, 4)), [0, 1] * 6, "found 12 equal ones (all values are 0)"),
        (np.tile(pictures(1), (12, 1, 1)), [0, 1] * 6, "found 12 equal ones (they are copies of one image)"),
        (np.repeat(pictures(6), 2, axis=0), [0, 1] * 6, "found 6 different training images, each in more than one"),
    ],
)
def test_images_that_tell_nothing_of_their_class_are_an_error(tmp_path, images, labels, expected):
    """Empty images, copies of one image, and the same images in each class cannot be learned."""
    test = {"x_test": pictures(2), "y_test": np.arange(2)}
    np.savez(tmp_path / "a.npz", x_train=images.astype(np.uint8), y_train=np.array(labels), **test)

    assert expected in refused(tmp_path / "a.npz")


def test_a_few_copies_across_classes_are_no_error(tmp_path):
    """Sets that people collected have some."""
    images = pictures(12)
    images[1] = images[0]
    test = {"x_test": pictures(2), "y_test": np.arange(2)}
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.array([0, 1] * 6), **test)

    assert len(load(tmp_path / "a.npz").train_labels) == 12


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (np.linspace(0, 1, 240, dtype=np.float32), "0 to 1: save (x * 255.0).round()"),
        (np.linspace(0, 255, 240), "0 to 255: save x.round().astype('uint8')"),
        (np.linspace(-1, 1, 240), "-1 to 1: scale with x = (x - (-1)) * 127.5"),
        (np.linspace(0, 65535, 240).astype(np.uint16), "0 to 65535: save (x * 0.00389105).round()"),
        (np.arange(240) % 200, "0 to 199: save x.round().astype('uint8')"),
        (np.full(240, np.nan), "look for NaN"),
        (np.arange(240) % 2 == 0, "0 to 1: save (x * 255.0)"),
    ],
)
def test_advice_for_other_types_follows_the_range_that_was_found(tmp_path, array, advice):
    """Values 0 to 255 multiplied by 255 would wrap round."""
    test = {"x_test": pictures(2), "y_test": np.arange(2)}
    np.savez(tmp_path / "a.npz", x_train=array.reshape(12, 5, 4), y_train=np.array([0, 1] * 6), **test)

    assert advice in refused(tmp_path / "a.npz")


def test_a_picture_is_stretched_padded_or_cut():
    """A white picture of 8 x 4 with a black left half, on a square of 4."""
    wide = np.full((4, 8), 255, np.uint8)
    wide[:, :2] = 0
    wide[0] = wide[-1] = 200
    picture = PIL.Image.fromarray(wide)

    padded, cut = (np.asarray(fitted(picture, (8, 8), fit)) for fit in ("pad", "crop"))

    assert np.asarray(fitted(picture, (8, 8), "stretch"))[4, 0] < 10
    assert (padded[:2] == 200).all()
    assert (padded[-2:] == 200).all()
    np.testing.assert_array_equal(padded[2:6], wide)
    assert (cut[4, 1:] == 255).all()


def test_a_set_is_padded_or_cut_like_its_pictures(tmp_path):
    """data.fit is for folders and arrays alike."""
    write_classes(tmp_path / "set", {"ant": 6, "bee": 6}, (4, 8))
    stored = load(tmp_path / "set")
    parts = {f"{kind}_{part}": array for part, *pair in stored.parts() for kind, array in zip("xy", pair, strict=True)}
    np.savez(tmp_path / "set.npz", **parts)

    for fit in ("stretch", "pad", "crop"):
        folder, arrays = (load(tmp_path / name, resize=6, fit=fit) for name in ("set", "set.npz"))
        np.testing.assert_array_equal(folder.train_images, arrays.train_images)


def write_csv(path, header: str, rows) -> None:
    path.write_text("\n".join([*([header] if header else []), *(",".join(map(str, row)) for row in rows)]) + "\n")


@pytest.mark.parametrize("layout", ["kaggle", "no header", "label last", "with id"])
def test_pixels_in_a_csv_file_are_images(tmp_path, layout):
    """Kaggle's train.csv and its relatives: the values come back as they were, a sixth of each class is test."""
    images, labels = pictures(24, (4, 4)), [5, 7] * 12
    pixels = [f"pixel{number}" for number in range(16)]
    columns = {
        "kaggle": ["label", *pixels],
        "no header": ["label", *pixels],
        "label last": [*pixels, "label"],
        "with id": ["id", "label", *pixels],
    }[layout]
    cells = [
        {"id": n, "label": labels[n]} | dict(zip(pixels, image, strict=True))
        for n, image in enumerate(images.reshape(24, 16))
    ]
    header = "" if layout == "no header" else ",".join(columns)
    write_csv(tmp_path / "a.csv", header, [[row[column] for column in columns] for row in cells])

    found = load(tmp_path / "a.csv")

    assert found.class_names == ("5", "7")
    assert (len(found.train_labels), len(found.test_labels)) == (20, 4)
    everything = {image.tobytes() for _, those, _ in found.parts() for image in those}
    assert everything == {image.tobytes() for image in images}
    assert found.train_images[0, 0].tobytes() in {image.tobytes() for image in images[0::2]}


def test_a_test_file_beside_a_train_file_tests_if_it_has_labels(tmp_path):
    """Kaggle's test.csv has none, so it is left out, and that is said."""
    header = ",".join(f"pixel{number}" for number in range(9))
    write_csv(tmp_path / "train.csv", f"label,{header}", [[n % 2, *row] for n, row in enumerate(pictures(12, (9,)))])
    write_csv(tmp_path / "test.csv", header, pictures(4, (9,)))

    assert load(tmp_path / "train.csv").notes == ("left out: test.csv (it has no labels)",)
    write_csv(tmp_path / "test.csv", f"label,{header}", [[n % 2, *row] for n, row in enumerate(pictures(4, (9,)))])
    assert load(tmp_path / "train.csv").test_labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_of_spreadsheets_are_read(tmp_path, delimiter):
    """The same table gives the same set."""
    header = ",".join(f"pixel{number}" for number in range(9))
    write_csv(tmp_path / "a.csv", f"label,{header}", [[n % 2, *row] for n, row in enumerate(pictures(12, (9,)))])
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text().replace(",", delimiter))

    assert load(tmp_path / "b.csv").fingerprint == load(tmp_path / "a.csv").fingerprint


@pytest.mark.parametrize("name", ["{}.png", "images/{}.png", "{}"])
def test_a_csv_file_that_names_pictures(tmp_path, name):
    """By path, by name or without the suffix, as Kaggle has them; labels are words."""
    (tmp_path / "images").mkdir()
    for number, picture in enumerate(pictures(12)):
        (tmp_path / "images" / f"{number}.png").write_bytes(picture_bytes(picture))
    write_csv(
        tmp_path / "a.csv", "id,label", [[name.format(number), ("ant", "bee")[number % 2]] for number in range(12)]
    )

    found = load(tmp_path / "a.csv")

    assert found.class_names == ("ant", "bee")
    assert {image.tobytes() for image in found.train_images[found.train_labels == 1]} <= {
        picture.tobytes() for picture in pictures(12)[1::2]
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b,c\n1,2,3\n", "must have a column of labels"),
        ("label,a,b,c,d,e\n1,2,3,4,5,6\n", "must make up a square, grey or colour, found 5 columns"),
        ("label,a,b,c,d\n1,2,3,4,900\n", "must be whole numbers from 0 to 255"),
        ("label,a,b,c,d\n1,2,3,4,x\n", "pixels must be numbers from 0 to 255"),
        ("label,a,b,c,d\n1,2,3\n", "each row must have 5 columns, found fewer in row 1"),
        ("label\n1\n", "columns of pixels or of file names"),
        ("id,label\nnowhere.png,1\n", "found none or several for 1: nowhere.png"),
        ("", "must have"),
    ],
)
def test_a_csv_file_that_is_no_set_is_refused(tmp_path, text, expected):
    """One line each, with what was found."""
    (tmp_path / "a.csv").write_text(text)

    assert expected in refused(tmp_path / "a.csv")
