"""IDX and npz files that are not what they must be: one clear line each, never a traceback of numpy's."""

import gzip
import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import idx_bytes, idx_files, labels, npz_arrays, pictures, write_files, write_npz

from flyweight.data import imageset
from flyweight.data.idx import read_idx
from flyweight.data.sources import load
from flyweight.errors import DataError


def refused(path) -> str:
    """The message of the DataError that loading raises, checked to be one line with exit code 6."""
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)
    return str(caught.value)


def idx_folder(tmp_path, name: str, content: bytes):
    return write_files(tmp_path / "set", idx_files() | {name: content})


IMAGES = "train-images-idx3-ubyte"


def test_a_wrong_magic_number_is_refused_with_what_was_found(tmp_path):
    """The four bytes that are there are shown beside those that must be."""
    message = refused(idx_folder(tmp_path, IMAGES, b"\x89PNG" + bytes(40)))

    assert "begins with 00 00" in message
    assert "89 50 4e 47" in message


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"\0\0\x08\x03\0\0"])
def test_a_file_that_ends_in_its_header_is_refused(tmp_path, content):
    """Even a file of no bytes has a message of its own."""
    assert "found" in refused(idx_folder(tmp_path, IMAGES, content))


def test_a_count_beyond_the_file_is_refused_with_both_sizes(tmp_path):
    """A header with a count beyond the end of the file: the error has the needed and the found size."""
    whole = idx_files()[IMAGES]
    claims_more = whole[:4] + struct.pack(">I", 1000) + whole[8:]

    message = refused(idx_folder(tmp_path, IMAGES, claims_more))

    assert "needs 20,000 bytes" in message
    assert "found 240 (cut off)" in message


def test_values_after_the_last_one_are_refused(tmp_path):
    """A file that goes on after what its header announces is not read in part."""
    assert "found more" in refused(idx_folder(tmp_path, IMAGES, idx_files()[IMAGES] + b"\0"))


def test_a_header_that_asks_for_terabytes_allocates_nothing(tmp_path):
    """Sizes are limited before memory is taken."""
    folder = idx_folder(tmp_path, IMAGES, b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**10, 2**10))
    tracemalloc.start()

    message = refused(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "at most 2,147,483,648" in message
    assert peak < 10 * 2**20


@pytest.mark.parametrize("damage", [lambda packed: packed[:-20], lambda _: b"text", lambda packed: packed[:12]])
def test_a_damaged_gzip_file_is_refused(tmp_path, damage):
    """Cut off, replaced by text, or all but empty."""
    folder = write_files(tmp_path / "set", idx_files(), gz=True)
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))

    assert "damaged gzip file" in refused(folder)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int32"])
def test_idx_files_are_read_in_every_type_of_integer(tmp_path, kind):
    """Big-endian values come back as native numbers."""
    values = np.array([[1, -2, 3], [100, 5, -6]]).astype(kind)
    (tmp_path / "values").write_bytes(idx_bytes(values))

    found = read_idx(tmp_path / "values")

    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype


@given(st.binary(max_size=64))
def test_whatever_the_bytes_are_reading_ends_in_an_array_or_a_data_error(tmp_path_factory, content):
    """No bytes make the reader raise anything else."""
    path = tmp_path_factory.mktemp("any") / "bytes"
    path.write_bytes(content)

    try:
        found = read_idx(path)
    except DataError:
        return
    assert found.nbytes < len(content)


def test_missing_idx_files_are_named(tmp_path):
    """The error has the missing and the found arrays."""
    folder = write_files(tmp_path / "set", idx_files())
    (folder / "t10k-labels-idx1-ubyte").unlink()

    message = refused(folder)

    assert "test labels are missing" in message
    assert IMAGES in message


def test_two_sets_in_one_folder_are_not_guessed_at(tmp_path):
    """Two files for one role are both named."""
    folder = write_files(tmp_path / "set", idx_files())
    (folder / "emnist-letters-train-images-idx3-ubyte").write_bytes(b"")

    assert "emnist-letters-train-images-idx3-ubyte" in refused(folder)


def test_labels_outside_the_classes_are_refused(tmp_path):
    """A test label that no training image has is refused with its range."""
    path = write_npz(tmp_path / "bad.npz", y_test=np.array([0, 1, 2, 0, 1, 9], np.uint8))

    assert "test labels must be 0 to 2 for 3 classes, found 0 to 9" in refused(path)


@pytest.mark.parametrize("label", [-1, 10**9])
def test_training_labels_out_of_all_reason_are_refused(tmp_path, label):
    """Negative labels, and labels that would make a class for every atom."""
    wrong = labels(12).astype(np.int64)
    wrong[0] = label

    assert "train labels must be 0 to" in refused(write_npz(tmp_path / "bad.npz", y_train=wrong))


def test_a_class_without_training_images_is_named(tmp_path):
    """Labels from 1 are the usual cause: class 0 is empty."""
    path = write_npz(tmp_path / "bad.npz", y_train=labels(12) + 1, y_test=labels(6) + 1)

    assert "found none of '0'" in refused(path)


def test_one_class_is_not_enough(tmp_path):
    """There is nothing to tell apart in a set of one class."""
    path = write_npz(tmp_path / "bad.npz", y_train=labels(12, 1), y_test=labels(6, 1))

    assert "at least 2" in refused(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"x_train": pictures(12).astype(np.float32) / 255},
            "found float32, 0 to 1: save (x * 255",
        ),
        ({"x_train": pictures(12, (5, 4, 2))}, "1 or 3 channels, found (12, 5, 4, 2)"),
        ({"x_train": pictures(12, ())}, "found (12,)"),
        ({"x_train": pictures(11)}, "found 11 images and 12 labels"),
        ({"x_train": pictures(0), "y_train": labels(0)}, "at least 1 train image"),
        ({"x_test": pictures(6, (5, 5))}, "Set data.resize"),
        ({"y_train": labels(12).astype(np.float32)}, "labels must be integers"),
        ({"y_train": np.eye(12, 3, dtype=np.uint8)}, "labels must be integers of shape (N,)"),
        ({"class_names": np.array(["a", "b"])}, "must be 0 to 1 for 2 classes"),
        ({"class_names": np.arange(3)}, "class_names must be text"),
        ({"x_validation": pictures(2)}, "y_validation missing"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_what_was_found(tmp_path, changes, expected):
    """Type, shape, count and names are each checked, and each message names what was found."""
    assert expected in refused(write_npz(tmp_path / "bad.npz", **changes))


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"y_train": np.eye(3)[labels(12)]}, "labels.argmax(axis=1)"),
        ({"y_train": labels(12).astype(float)}, "save labels.astype('int64')"),
        ({"y_train": labels(12).astype(str)}, "save labels.astype('int64')"),
        ({"y_train": np.array(["cat", "dog"])[labels(12) % 2]}, "numpy.unique(labels, return_inverse=True)"),
        ({"y_train": labels(12) + 2, "y_test": labels(6) + 2}, "subtract 2 from all of them"),
        ({"x_train": np.zeros((12, 36), np.uint8)}, "save x.reshape(-1, 6, 6)"),
    ],
)
def test_arrays_in_a_common_shape_are_refused_with_the_line_that_mends_them(tmp_path, changes, advice):
    assert advice in refused(write_npz(tmp_path / "a.npz", **changes))


def test_a_csv_file_with_its_labels_last_is_refused_with_what_to_do(tmp_path):
    """Without names in the first line the first column is the labels; there it is a pixel that is always 0."""
    rows = [[0, *range(1, 16), label] for label in labels(30)]
    (tmp_path / "a.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))

    assert "labels must be in the first column, found only '0'" in refused(tmp_path / "a.csv")


def test_missing_arrays_are_named(tmp_path):
    """The error of an .npz of another layout has the needed and the found keys."""
    np.savez(tmp_path / "other.npz", images=pictures(3), labels=labels(3))

    message = refused(tmp_path / "other.npz")

    assert "x_train, y_train, x_test, y_test missing" in message
    assert "found images, labels" in message


class Planted:
    """Unpickling this would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_object_arrays_are_refused_and_never_unpickled(tmp_path):
    """A pickle in an .npz is not run."""
    trap = tmp_path / "sprung"
    objects = np.empty(12, object)
    objects[0] = Planted(trap)
    np.savez(tmp_path / "bad.npz", **npz_arrays(y_train=objects))

    message = refused(tmp_path / "bad.npz")

    assert "never unpickled" in message
    assert not trap.exists()


def test_a_file_that_is_a_bare_pickle_is_refused(tmp_path):
    """numpy would offer to unpickle it; here it is no .npz file."""
    (tmp_path / "bad.npz").write_bytes(pickle.dumps({"x_train": 1}))

    assert "not a whole .npz file" in refused(tmp_path / "bad.npz")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_cut_off_npz_is_refused(tmp_path, keep):
    """Wherever the file ends."""
    path = write_npz(tmp_path / "bad.npz")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])

    assert "not a whole .npz file" in refused(path)


def test_a_flipped_bit_in_an_npz_is_noticed(tmp_path):
    """The checksum inside the zip is compared."""
    path = tmp_path / "bad.npz"
    np.savez(path, **npz_arrays())
    content = bytearray(path.read_bytes())
    content[content.index(npz_arrays()["x_train"].tobytes()) + 5] ^= 1
    path.write_bytes(content)

    assert "not a whole .npz file (Bad CRC-32" in refused(path)


def npy_bytes(shape: tuple[int, ...], values: bytes) -> bytes:
    """A .npy member whose header claims `shape`, whatever its values are."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue() + values


def with_member(path, name: str, content: bytes):
    write_npz(path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in (members | {name: content}).items():
            archive.writestr(key, value)
    return path


def test_an_npz_header_that_claims_terabytes_allocates_nothing(tmp_path):
    """The shape of a header is compared with the size of the member before numpy is let at it."""
    path = with_member(tmp_path / "bomb.npz", "x_train.npy", npy_bytes((10**6, 10**3, 10**3), b"\0" * 100))

    assert "needs 1,000,000,000,128 bytes" in refused(path)


def test_an_npz_header_that_is_no_header_is_refused(tmp_path):
    """A header that numpy cannot even split into words (found by flipping bytes) is a damaged file like any other."""
    content = npy_bytes((12, 5, 4), bytes(240)).replace(b"}", b"(")

    assert "not a whole .npz file" in refused(with_member(tmp_path / "bad.npz", "x_train.npy", content))


def test_an_npz_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    """A decompression bomb: 30 MB of zeros in 30 kB, with the limit lowered to 20 MB."""
    monkeypatch.setattr(imageset, "MAX_BYTES", 20_000_000)
    zeros = npy_bytes((300, 1000, 100), bytes(30_000_000))
    path = with_member(tmp_path / "bomb.npz", "x_train.npy", zeros)
    tracemalloc.start()

    message = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert path.stat().st_size < 50_000
    assert "at most 20,000,000" in message
    assert peak < 2_000_000


def test_a_gzip_bomb_is_read_no_further_than_its_header_says(tmp_path):
    """100 MB of zeros behind a header of 240 bytes: refused after 241."""
    folder = write_files(tmp_path / "set", idx_files(), gz=True)
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(idx_files()[IMAGES] + bytes(100_000_000), 1))
    tracemalloc.start()

    message = refused(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "found more" in message
    assert peak < 10_000_000
