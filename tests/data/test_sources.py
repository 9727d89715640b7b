"""Image sets by name and by path: what is loaded is what was stored."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import idx_bytes, idx_files, npz_arrays, pictures, write_files, write_npz

from flyweight.data.catalogue import CATALOGUE
from flyweight.data.downloads import default_cache
from flyweight.data.sources import load
from flyweight.errors import DataError, UsageError

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"

# NOTICE.md beside mnist.npz names the same sums.
PUBLISHED_MD5 = {
    "train_images": "6bbc9ace898e44ae57da46a324031adb",
    "train_labels": "a25bea736e30d166cdddb491f175f624",
    "test_images": "2646ac647ad5339dbf082846283269ea",
    "test_labels": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


@pytest.mark.parametrize("part", PUBLISHED_MD5)
def test_mnist_is_the_published_file_to_the_bit(mnist, part):
    """Written as IDX, the four arrays have the MD5 sums of the uncompressed originals."""
    array = getattr(mnist, part)
    stored = array[:, 0] if array.ndim == 4 else array.astype(np.uint8)

    assert hashlib.md5(idx_bytes(stored)).hexdigest() == PUBLISHED_MD5[part]


def test_mnist_keeps_the_promises_of_an_image_set(mnist):
    """Shapes, types and classes are those that the contract states, without a network."""
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.test_images.shape == (10_000, 1, 28, 28)
    assert mnist.train_images.dtype == np.uint8
    assert mnist.train_labels.dtype == mnist.test_labels.dtype == np.int64
    assert (mnist.shape, mnist.n_classes, mnist.class_names) == ((1, 28, 28), 10, tuple("0123456789"))
    assert mnist.validation_images is None
    assert mnist.fingerprint == "5113c00f2e64069e1bfba584a9d3fb9d94706a2534b32495b44e6386b1e62764"


def test_torch_may_share_the_arrays(mnist):
    """The arrays are contiguous and writable, so that torch.from_numpy takes them without a warning."""
    for _, images, labels in mnist.parts():
        for array in (images, labels):
            assert array.flags.c_contiguous
            assert array.flags.writeable


def test_loading_imports_neither_torch_nor_what_downloads_need():
    """Importing the readers is cheap: torch, Pillow, pooch, requests and rich stay out."""
    code = (
        "import sys, flyweight.data.sources, flyweight.data.splits; "
        "print(*[m for m in ('torch', 'PIL', 'pooch', 'requests', 'rich', 'filelock') if m in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == ""


def test_npz_holds_grey_images_as_they_were_saved(tmp_path):
    """Arrays come back unchanged, with a channel axis and the class numbers as names."""
    arrays = npz_arrays()

    found = load(write_npz(tmp_path / "mine.npz"))

    assert found.name == "mine"
    assert found.shape == (1, 5, 4)
    assert found.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(found.train_images[:, 0], arrays["x_train"])
    np.testing.assert_array_equal(found.test_labels, arrays["y_test"])


@pytest.mark.parametrize("is_channels_last", [True, False])
def test_npz_holds_colour_with_channels_first_or_last(tmp_path, is_channels_last):
    """(N, H, W, 3) and (N, 3, H, W) are the same images."""
    colour = {"x_train": pictures(12, (5, 4, 3)), "x_test": pictures(6, (5, 4, 3))}
    stored = colour if is_channels_last else {key: images.transpose(0, 3, 1, 2) for key, images in colour.items()}

    found = load(write_npz(tmp_path / "colour.npz", **stored))

    assert found.shape == (3, 5, 4)
    np.testing.assert_array_equal(found.train_images, colour["x_train"].transpose(0, 3, 1, 2))


def test_npz_may_bring_class_names_and_a_validation_split(tmp_path):
    """x_validation, y_validation and class_names are read where they are there; labels may be a column."""
    path = write_npz(
        tmp_path / "full.npz",
        x_validation=pictures(4, seed=2),
        y_validation=np.array([[0], [1], [2], [0]]),
        class_names=np.array(["ant", "bee", "cat"]),
    )

    found = load(path)

    assert found.class_names == ("ant", "bee", "cat")
    assert found.validation_labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(found.validation_images[:, 0], pictures(4, seed=2))


@pytest.mark.parametrize("gz", [False, True])
def test_a_folder_of_idx_files_is_the_same_set_plain_and_gzipped(tmp_path, gz):
    """The four files of MNIST's layout are found by their names."""
    found = load(write_files(tmp_path / "mine", idx_files(), gz=gz))

    assert found.name == "mine"
    assert found.fingerprint == load(write_npz(tmp_path / "same.npz")).fingerprint


def test_the_fingerprint_changes_with_a_pixel_a_label_and_the_order(tmp_path):
    """Sets that differ in any value, or in the order alone, have different fingerprints."""
    arrays = npz_arrays()
    pixel, label = arrays["x_train"].copy(), arrays["y_test"].copy()
    pixel[3, 2, 1] ^= 1
    label[0] = 1
    changes = [{}, {"x_train": pixel}, {"y_test": label}, {"x_train": arrays["x_train"][::-1]}]

    prints = {load(write_npz(tmp_path / f"{i}.npz", **change)).fingerprint for i, change in enumerate(changes)}

    assert len(prints) == len(changes)


def test_images_are_resized_only_on_request(tmp_path):
    """data.resize makes every image of every part that square; a flat image stays flat."""
    flat = np.full((12, 5, 4), 77, np.uint8)
    flat[0] = 5
    path = write_npz(tmp_path / "flat.npz", x_train=flat)

    assert load(path).shape == (1, 5, 4)
    assert load(path, resize=8).shape == (1, 8, 8)
    assert set(load(path, resize=8).train_images.ravel()) == {5, 77}
    assert load(path, resize=8).test_images.shape == (6, 1, 8, 8)


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    """A misspelt name is a usage error (exit code 2) that lists what there is."""
    with pytest.raises(UsageError, match=r"'minst'.*Did you mean 'mnist'\? Known: mnist, fashion-mnist") as caught:
        load("minst")

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("path", ["nowhere.npz", "no/such/folder", "~/surely-not-there"])
def test_a_path_that_is_not_there_is_a_data_error(path):
    """What looks like a path and is not there is bad data (exit code 6)."""
    with pytest.raises(DataError, match="no such file or folder") as caught:
        load(path)

    assert caught.value.exit_code == 6


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    """Single files of other kinds are not guessed at."""
    (tmp_path / "data.mat").write_text("1,2")

    with pytest.raises(DataError, match=r"\.npz, \.csv and \.zip files or folders, found a \.mat file"):
        load(tmp_path / "data.mat")


@pytest.mark.parametrize("side", [0, -3, 100_000])
def test_a_side_out_of_range_is_refused(side):
    """data.resize is 1 to 1024."""
    with pytest.raises(UsageError, match=f"1 to 1024 pixels, found {side}"):
        load("mnist", resize=side)


def test_every_named_set_says_where_each_of_its_files_is_and_what_its_checksum_is():
    """Each download has mirrors, and every place a checksum of the right length."""
    digits = {"sha256": 64, "md5": 32}

    assert len(CATALOGUE) >= 6
    assert [named.name for named in CATALOGUE.values() if named.is_built_in] == ["mnist"]
    for named in CATALOGUE.values():
        assert len(set(named.class_names)) == len(named.class_names)
        for file in named.files:
            assert len(file.places) >= 2
            for place in file.places:
                algorithm, _, digest = place.checksum.partition(":")
                assert len(digest) == digits[algorithm]
                assert int(digest, 16)
                assert place.url.startswith("http")
    assert len(CATALOGUE["emnist-balanced"].class_names) == 47


def test_every_named_set_has_its_row_in_the_documentation():
    """docs/data.md has a row for each set of the catalogue, with its images, classes and download, and no other."""
    expected = [
        (
            f"`{named.name}`",
            f"{named.n_train:,} + {named.n_test:,}",
            str(len(named.class_names)),
            f"{named.download_megabytes} MB" if named.files else "in the package",
        )
        for named in CATALOGUE.values()
    ]

    section = DOCUMENT.read_text(encoding="utf-8").partition("## By name")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]

    assert [(name, images, n_classes, size.partition(",")[0]) for name, _, images, n_classes, size in rows] == expected


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    """FLYWEIGHT_CACHE moves the cache; without it the platform's folder is used."""
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path))
    moved = default_cache()
    monkeypatch.delenv("FLYWEIGHT_CACHE")

    assert moved == tmp_path
    assert "flyweight" in str(default_cache())
