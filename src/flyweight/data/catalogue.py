"""The table of named image sets: their contents, mirrors, and the checksum of every file.

The checksums are those that TensorFlow Datasets and torchvision publish for these files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

MNIST: Final = "mnist"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A URL of a file, and the checksum ("sha256:..." or "md5:...") of the file there."""

    url: str
    checksum: str


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file by its name in the cache, and the places to download it from, the preferred one first."""

    name: str
    places: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class NamedSet:
    """An image set with a name; `files` must be downloaded, none for a set in the package.

    members: the four IDX files, by train_images, train_labels, test_images, test_labels; they are files of that name
    or, where there is an `archive`, inside that zip. first_label: the number of class 0 in the files. is_transposed:
    rows and columns of the stored images are exchanged. shape: (C, H, W). is_handwriting: white on black and centred,
    so that a photo of ink on paper must be made alike before it is read.
    """

    name: str
    description: str
    homepage: str
    licence: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int] = (1, 28, 28)
    n_train: int = 60_000
    n_test: int = 10_000
    download_megabytes: int = 0
    folder: str = ""
    files: tuple[RemoteFile, ...] = ()
    archive: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    first_label: int = 0
    is_transposed: bool = False
    is_handwriting: bool = False

    @property
    def is_built_in(self) -> bool:
        return not self.files


def _mirrored(mirrors: tuple[str, ...], checksums: Mapping[str, str]) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name=name, places=tuple(Place(url=mirror + name, checksum=checksum) for mirror in mirrors))
        for name, checksum in checksums.items()
    )


def _idx_members(prefix: str, *, test: str, labels: str = "idx1-ubyte") -> Mapping[str, str]:
    return MappingProxyType(
        {
            "train_images": f"{prefix}train-images-idx3-ubyte.gz",
            "train_labels": f"{prefix}train-labels-{labels}.gz",
            "test_images": f"{prefix}{test}-images-idx3-ubyte.gz",
            "test_labels": f"{prefix}{test}-labels-{labels}.gz",
        }
    )


_DIGITS: Final = tuple("0123456789")
_CAPITALS: Final = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_FASHION_MIRRORS: Final = (
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
_KMNIST_MIRRORS: Final = (
    "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    # The home site was unreachable for weeks at a time; the archive's copy has the same checksums.
    "https://web.archive.org/web/2022id_/http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
)
_QMNIST_MIRRORS: Final = (
    "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
    "https://github.com/facebookresearch/qmnist/raw/master/",
)
# The university's archive has the same members as NIST's, packed again: another checksum.
_EMNIST: Final = RemoteFile(
    name="emnist-gzip.zip",
    places=(
        Place(
            url="https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            checksum="sha256:fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
        ),
        Place(
            url="https://rds.westernsydney.edu.au/Institutes/MARCS/BENS/EMNIST/emnist-gzip.zip",
            checksum="sha256:909a2a39c5e86bdd7662425e9b9c4a49bb582bf8d0edad427f3c3a9d0c6f7259",
        ),
    ),
)

_SETS: Final = (
    NamedSet(
        name=MNIST,
        is_handwriting=True,
        description="handwritten digits",
        homepage="http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0",
        class_names=_DIGITS,
    ),
    NamedSet(
        name="fashion-mnist",
        description="articles of clothing",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        download_megabytes=31,
        folder="fashion-mnist",
        files=_mirrored(
            _FASHION_MIRRORS,
            {
                "train-images-idx3-ubyte.gz": "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "train-labels-idx1-ubyte.gz": "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "t10k-images-idx3-ubyte.gz": "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "t10k-labels-idx1-ubyte.gz": "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ),
        members=_idx_members("", test="t10k"),
    ),
    NamedSet(
        name="kmnist",
        is_handwriting=True,
        description="cursive Japanese",
        homepage="https://github.com/rois-codh/kmnist",
        licence="CC BY-SA 4.0",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        download_megabytes=21,
        folder="kmnist",
        files=_mirrored(
            _KMNIST_MIRRORS,
            {
                "train-images-idx3-ubyte.gz": "sha256:51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "train-labels-idx1-ubyte.gz": "sha256:e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "t10k-images-idx3-ubyte.gz": "sha256:edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "t10k-labels-idx1-ubyte.gz": "sha256:20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            },
        ),
        members=_idx_members("", test="t10k"),
    ),
    NamedSet(
        name="emnist-letters",
        is_handwriting=True,
        n_train=124_800,
        n_test=20_800,
        description="letters, case ignored",
        homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        licence="see its home page",
        class_names=_CAPITALS,
        download_megabytes=562,
        folder="emnist",
        files=(_EMNIST,),
        archive=_EMNIST.name,
        members=_idx_members("emnist-letters-", test="test"),
        first_label=1,
        is_transposed=True,
    ),
    NamedSet(
        name="emnist-balanced",
        is_handwriting=True,
        n_train=112_800,
        n_test=18_800,
        description="digits and letters",
        homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        licence="see its home page",
        # Small letters that look like their capitals have the class of the capitals.
        class_names=(*_DIGITS, *_CAPITALS, *"abdefghnqrt"),
        download_megabytes=562,
        folder="emnist",
        files=(_EMNIST,),
        archive=_EMNIST.name,
        members=_idx_members("emnist-balanced-", test="test"),
        is_transposed=True,
    ),
    NamedSet(
        name="qmnist",
        is_handwriting=True,
        n_test=60_000,
        description="MNIST, all test digits",
        homepage="https://github.com/facebookresearch/qmnist",
        licence="BSD",
        class_names=_DIGITS,
        download_megabytes=20,
        folder="qmnist",
        files=_mirrored(
            _QMNIST_MIRRORS,
            {
                "qmnist-train-images-idx3-ubyte.gz": "md5:ed72d4157d28c017586c42bc6afe6370",
                "qmnist-train-labels-idx2-int.gz": "md5:0058f8dd561b90ffdd0f734c6a30e5e4",
                "qmnist-test-images-idx3-ubyte.gz": "md5:1394631089c404de565df7b7aeaf9412",
                "qmnist-test-labels-idx2-int.gz": "md5:5b5b05890a5e13444e108efe57b788aa",
            },
        ),
        members=_idx_members("qmnist-", test="test", labels="idx2-int"),
    ),
)

CATALOGUE: Final[Mapping[str, NamedSet]] = MappingProxyType({named.name: named for named in _SETS})
