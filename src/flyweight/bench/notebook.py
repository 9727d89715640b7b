"""Training the way course notebooks do it: pictures turned and shifted one by one with Pillow, fed by a DataLoader.

This is the other side of the comparison, written from what the documents describe (document 003, experiment 17); no
torchvision is needed for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

Pair = tuple[Tensor, int]


class Pictures(Dataset[Pair]):
    """One image at a time: rotate, then translate, then to a tensor, then normalise.

    images: (N, H, W) uint8. rotate in degrees, translate as a fraction of the side.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, mean: float, std: float, rotate: float, translate: float
    ) -> None:
        self.images, self.labels = images, labels
        self.mean, self.std, self.rotate, self.translate = mean, std, rotate, translate

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pair:
        picture = Image.fromarray(self.images[index])
        picture = picture.rotate(random.uniform(-self.rotate, self.rotate))  # noqa: S311  # no secret depends on it
        reach = self.translate * picture.width
        x, y = (round(random.uniform(-reach, reach)) for _ in range(2))  # noqa: S311
        picture = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, -x, 0, 1, -y))
        pixels = torch.from_numpy(np.array(picture, np.float32)).unsqueeze(0).div(255)
        return (pixels - self.mean) / self.std, int(self.labels[index])


def loader(pictures: Pictures, *, batch_size: int, workers: int) -> DataLoader[Pair]:
    """A shuffled DataLoader as in the documents; `workers` processes prepare pictures beside the training."""
    return DataLoader(
        pictures, batch_size=batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def train_epoch(model: nn.Module, batches: DataLoader[Pair], optimizer: torch.optim.Optimizer) -> Iterator[float]:
    """One step after the other; yields the loss of each, read at once as the documents do."""
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield loss.item()
