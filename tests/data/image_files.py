"""Small image sets written to disk as users have them: IDX, npz, folders of pictures. All drawn from one seed."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import PIL.Image

TYPE_BYTES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C}


def pictures(n: int, shape: tuple[int, ...] = (5, 4), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def labels(n: int, n_classes: int = 3) -> np.ndarray:
    return (np.arange(n) % n_classes).astype(np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    """The array as the bytes of an IDX file."""
    header = struct.pack(">HBB", 0, TYPE_BYTES[array.dtype.name], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npz_arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """12 + 6 images of 3 classes in the layout of mnist.npz."""
    arrays = {
        "x_train": pictures(12),
        "y_train": labels(12),
        "x_test": pictures(6, seed=1),
        "y_test": labels(6),
    }
    return arrays | changes


def write_npz(path: Path, **changes: np.ndarray) -> Path:
    np.savez_compressed(path, **npz_arrays(**changes))
    return path


def idx_files(**changes: np.ndarray) -> dict[str, bytes]:
    """The four files of an MNIST-like set, unpacked, by name."""
    arrays = npz_arrays(**changes)
    return {
        "train-images-idx3-ubyte": idx_bytes(arrays["x_train"]),
        "train-labels-idx1-ubyte": idx_bytes(arrays["y_train"]),
        "t10k-images-idx3-ubyte": idx_bytes(arrays["x_test"]),
        "t10k-labels-idx1-ubyte": idx_bytes(arrays["y_test"]),
    }


def write_files(folder: Path, files: dict[str, bytes], *, gz: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if gz else name)).write_bytes(gzip.compress(content) if gz else content)
    return folder


def picture_bytes(array: np.ndarray, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(array).save(stream, form)
    return stream.getvalue()


def write_classes(root: Path, counts: dict[str, int], shape: tuple[int, ...] = (5, 4)) -> Path:
    """One folder per class with that many PNG files, 0.png, 1.png, ..."""
    for seed, (name, count) in enumerate(counts.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for i, picture in enumerate(pictures(count, shape, seed)):
            (folder / f"{i}.png").write_bytes(picture_bytes(picture))
    return root
