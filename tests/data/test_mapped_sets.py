"""Sets too large to read are mapped: equal to read ones in everything, checked as they are, and hardly in memory."""

import math
import random
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import idx_bytes, idx_files, labels, npz_arrays, pictures, write_files, write_npz

from flyweight.data import imageset
from flyweight.data.catalogue import CATALOGUE
from flyweight.data.idx import map_idx, read_idx
from flyweight.data.sources import load
from flyweight.data.splits import split, summary
from flyweight.errors import DataError

# Whatever has a byte is large, and nothing is.
ALL, NONE = 0, 2**62


def load_beyond(limit: int, path, **options):
    """The set at `path`, mapped if its images have more bytes than `limit`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imageset, "MAPPED_ABOVE_BYTES", limit)
        return load(path, **options)


def is_mapped(array) -> bool:
    """Whether the values of an array lie in a file."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def write_stored(path, **changes):
    """The .npz file that numpy.savez writes: nothing in it is compressed."""
    np.savez(path, **npz_arrays(**changes))
    return path


def everything(found) -> tuple:
    """All that there is to tell of a set."""
    arrays = [
        (part, array.tobytes(), array.shape, array.strides, array.dtype.str, str(array.flags), type(array))
        for part, images, classes in found.parts()
        for array in (images, classes)
    ]
    return arrays, summary(found, split(found, seed=1, validation=3)), found.n_classes, found.validation_images is None


@st.composite
def sets(draw) -> dict[str, np.ndarray]:
    """Arrays of a set: grey or colour, in either layout and order, with validation images of its own or not."""
    side = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    shape = draw(st.sampled_from([side, (*side, 3), (3, *side), (*side, 1)]))
    counts = {"train": draw(st.integers(6, 20)), "test": draw(st.integers(1, 6))}
    if draw(st.booleans()):
        counts["validation"] = draw(st.integers(3, 6))
    order = draw(st.sampled_from("CF"))
    images = {f"x_{part}": np.asarray(pictures(n, shape, n), order=order) for part, n in counts.items()}
    return images | {f"y_{part}": labels(n) for part, n in counts.items()}


@given(arrays=sets(), is_stored=st.booleans(), resize=st.sampled_from([None, 1, 4]), prefix=st.binary(max_size=40))
def test_a_mapped_npz_is_the_set_that_is_read(tmp_path_factory, arrays, is_stored, resize, prefix):
    """Values, types, shapes, flags, fingerprint, split and statistics; resized too, and with bytes before the zip."""
    path = tmp_path_factory.mktemp("any") / "mine.npz"
    (np.savez if is_stored else np.savez_compressed)(path, **arrays)
    path.write_bytes(prefix + path.read_bytes())

    mapped, read = load_beyond(ALL, path, resize=resize), load_beyond(NONE, path, resize=resize)

    assert everything(mapped) == everything(read)
    assert not is_mapped(read.train_images)


@given(
    n=st.integers(6, 20),
    side=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    is_packed=st.booleans(),
    resize=st.sampled_from([None, 1, 4]),
)
def test_a_mapped_folder_of_idx_files_is_the_set_that_is_read(tmp_path_factory, n, side, is_packed, resize):
    """As for .npz files."""
    arrays = {"x_train": pictures(n, side), "y_train": labels(n), "x_test": pictures(6, side, 1)}
    folder = write_files(tmp_path_factory.mktemp("any") / "set", idx_files(**arrays), gz=is_packed)

    mapped, read = load_beyond(ALL, folder, resize=resize), load_beyond(NONE, folder, resize=resize)

    assert everything(mapped) == everything(read)
    assert is_mapped(mapped.train_images) == (not is_packed and (resize is None or side == (resize, resize)))
    assert not is_mapped(read.train_images)


COLOUR = {"x_train": pictures(12, (3, 5, 4)), "x_test": pictures(6, (3, 5, 4))}


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda folder: write_stored(folder / "grey.npz"), True),
        (lambda folder: write_stored(folder / "colour.npz", **COLOUR), True),
        (lambda folder: write_npz(folder / "packed.npz"), False),
        (lambda folder: write_files(folder / "idx", idx_files()), True),
        (lambda folder: write_files(folder / "gz", idx_files(), gz=True), False),
    ],
    ids=["npz", "npz in colour", "compressed npz", "idx", "gzipped idx"],
)
def test_images_stay_in_files_that_hold_them_as_they_are(tmp_path, write, expected):
    """Beyond the limit and not at it, where the file is not packed; labels are always read."""
    path = write(tmp_path)
    n_bytes = sum(images.nbytes for _, images, _ in load(path).parts())

    found = load_beyond(n_bytes // 2, path)

    assert is_mapped(found.train_images) == is_mapped(found.test_images) == expected
    assert not is_mapped(found.train_labels)
    assert not is_mapped(load_beyond(2 * n_bytes + 1000, path).train_images)


def test_sets_of_the_usual_sizes_are_read():
    """No set of the catalogue is large enough to be mapped; a million images of 28 x 28 are."""
    sizes = [(one.n_train + one.n_test) * math.prod(one.shape) for one in CATALOGUE.values()]

    assert len(sizes) >= 6
    assert not any(map(imageset.is_large, sizes))
    assert imageset.is_large(1_000_000 * 28 * 28)


def test_a_mapped_set_is_private_to_the_process(tmp_path):
    """Its arrays may be written to, as torch wants of memory that it shares, and the file is never changed."""
    torch = pytest.importorskip("torch")
    path = write_stored(tmp_path / "mine.npz")
    before = path.read_bytes()
    images = load_beyond(ALL, path).train_images

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(images).zero_()

    assert is_mapped(images)
    assert not images.any()
    assert path.read_bytes() == before


def outcome(path, limit: int) -> str:
    """The fingerprint of a set, or the message that it is refused with."""
    try:
        return load_beyond(limit, path).fingerprint
    except DataError as error:
        return str(error)


@given(seed=st.integers(0, 2**32), damage=st.sampled_from(["flip", "cut", "append"]))
def test_a_damaged_npz_ends_the_same_mapped_and_read(tmp_path_factory, seed, damage):
    """A byte changed anywhere, an end cut off, bytes put behind: the same line, or the same set."""
    arrays = {"x_train": pictures(400), "y_train": labels(400)}
    path = write_stored(tmp_path_factory.mktemp("any") / "mine.npz", **arrays)
    path.write_bytes(damaged(path.read_bytes(), damage, random.Random(seed)))

    assert outcome(path, ALL) == outcome(path, NONE)


@given(seed=st.integers(0, 2**32), damage=st.sampled_from(["flip", "cut", "append"]))
def test_a_damaged_idx_file_ends_the_same_mapped_and_read(tmp_path_factory, seed, damage):
    """As for .npz files."""
    folder = write_files(tmp_path_factory.mktemp("any") / "set", idx_files())
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damaged(path.read_bytes(), damage, random.Random(seed)))

    assert outcome(folder, ALL) == outcome(folder, NONE)


def damaged(content: bytes, damage: str, generator: random.Random) -> bytes:
    # Half of all places lie in the first bytes, where headers are.
    place = generator.randrange(generator.choice([40, len(content)]))
    if damage == "cut":
        return content[:place]
    if damage == "append":
        return content + generator.randbytes(1 + place % 50)
    return content[:place] + bytes([content[place] ^ generator.randrange(1, 256)]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x_train": pictures(12).astype(np.float32)}, "must be uint8 (0 to 255), found float32"),
        ({"x_train": pictures(12, (5, 4, 2))}, "1 or 3 channels, found (12, 5, 4, 2)"),
        ({"x_train": pictures(0), "y_train": labels(0)}, "at least 1 train image"),
        ({"x_test": pictures(6, (5, 5))}, "Set data.resize"),
        ({"x_train": np.array([None] * 12)}, "never unpickled"),
        ({"y_train": labels(12) + 1}, "found none of '0'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_the_same_words(tmp_path, changes, expected):
    """Type, shape and labels of a set that would be mapped are checked like those of one that is read."""
    path = write_stored(tmp_path / "bad.npz", **changes)

    message = outcome(path, ALL)

    assert expected in message
    assert message == outcome(path, NONE)


def test_a_flipped_bit_of_a_mapped_npz_is_noticed(tmp_path):
    """The checksum inside the zip is compared before the member is mapped."""
    # More than zipfile looks at for the header.
    images = pictures(150_000)
    path = write_stored(tmp_path / "bad.npz", x_train=images, y_train=labels(len(images)))
    content = bytearray(path.read_bytes())
    content[content.index(images.tobytes()) + images.nbytes - 1] ^= 1
    path.write_bytes(content)

    assert "not a whole .npz file (Bad CRC-32" in outcome(path, ALL)


def test_a_directory_that_claims_more_than_is_stored_maps_nothing_behind_it(tmp_path):
    """A member's header and its entry agree on 20 values that are not there: what lies behind is not taken for them."""
    path = write_stored(tmp_path / "bad.npz")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    whole = len(members["x_train.npy"])
    members["x_train.npy"] = members["x_train.npy"][:-20]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = bytearray(path.read_bytes())
    # In the directory the size as unpacked stands 24 bytes after the entry's signature; x_train is its first entry.
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, whole)
    path.write_bytes(content)

    assert "not a whole .npz file" in outcome(path, ALL)
    assert outcome(path, ALL) == outcome(path, NONE)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32"])
def test_values_that_are_not_plain_bytes_are_read(tmp_path, kind):
    """Mapped big-endian numbers would have to be turned one by one."""
    path = tmp_path / "values"
    path.write_bytes(idx_bytes(pictures(12).astype(kind)))

    found = map_idx(path)

    assert not is_mapped(found)
    np.testing.assert_array_equal(found, read_idx(path))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.gz", "."])
def test_a_file_that_cannot_be_mapped_because_it_is_missing_is_refused(tmp_path, name):
    """In the words of the reader."""
    with pytest.raises(DataError, match="cannot be read"):
        map_idx(tmp_path / name)


def test_an_idx_file_beyond_all_size_is_refused_though_it_is_whole(tmp_path, monkeypatch):
    """The limit of what is taken at all holds for mapped files too."""
    folder = write_files(tmp_path / "set", idx_files())
    monkeypatch.setattr(imageset, "MAX_BYTES", 200)

    assert "at most 200 bytes, found 240" in outcome(folder, ALL)


@pytest.mark.parametrize("layout", ["npz", "idx"])
def test_a_mapped_set_takes_hardly_any_memory(tmp_path, layout):
    """Loaded, split, hashed and measured, a set of 31 MB never has more than half of that in memory."""
    arrays = {
        "x_train": np.repeat(np.arange(2, dtype=np.uint8), 20_000 * 28 * 28).reshape(40_000, 28, 28),
        "y_train": labels(40_000),
        "x_test": pictures(6, (28, 28)),
    }
    if layout == "npz":
        path = write_stored(tmp_path / "large.npz", **arrays)
    else:
        path = write_files(tmp_path / "large", idx_files(**arrays))
    del arrays
    tracemalloc.start()

    found = load_beyond(10_000_000, path)
    loaded = tracemalloc.get_traced_memory()[1]
    summary(found, split(found, seed=0))
    summarised = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert is_mapped(found.train_images)
    assert loaded < 5_000_000
    assert summarised < 15_000_000
