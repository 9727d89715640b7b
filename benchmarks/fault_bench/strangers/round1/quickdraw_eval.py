import glob
import os
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import Dataset, DataLoader

CLASSES = ["apple", "bicycle", "cat", "clock", "fish", "guitar", "house", "tree"]
PER_CLASS = 6000


class QuickDraw(Dataset):
    """28x28 bitmaps, one .npy per class; first 5000 train, next 500 val, last 500 test."""
    RANGES = {"train": (0, 5000), "val": (5000, 5500), "test": (5500, 6000)}

    def __init__(self, folder, split):
        lo, hi = self.RANGES[split]
        imgs, labs = [], []
        for k, c in enumerate(CLASSES):
            a = np.load(os.path.join(folder, c + ".npy"), mmap_mode="r")[:PER_CLASS]
            imgs.append(np.array(a[lo:hi]))
            labs += [k] * (hi - lo)
        self.x = np.concatenate(imgs).reshape(-1, 1, 28, 28)
        self.y = np.array(labs)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i]).float() / 127.5 - 1.0, int(self.y[i])


class Doodle(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * 49, 128), nn.LeakyReLU(0.1), nn.Dropout(0.5))
        self.g = nn.Linear(128, n)

    def forward(self, x):
        return self.g(self.f(x))


def loader(folder, split, bs=192):
    return DataLoader(QuickDraw(folder, split), batch_size=bs, shuffle=True, drop_last=True, num_workers=2)


def accuracy(model, dl):
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in dl:
            correct += (model(x).argmax(1) == y).sum().item()
    return correct / len(dl.dataset)


def main(folder="quickdraw"):
    torch.manual_seed(4)
    missing = [c for c in CLASSES if not glob.glob(f"{folder}/{c}.npy")]
    if missing:
        raise SystemExit(f"missing: {missing}")
    tr, va, te = (loader(folder, s) for s in ("train", "val", "test"))
    model = Doodle(len(CLASSES))
    opt = torch.optim.RMSprop(model.parameters(), lr=5e-4)
    crit = nn.CrossEntropyLoss()
    for ep in range(12):
        model.train()
        for x, y in tr:
            opt.zero_grad()
            loss = crit(model(x), y)
            loss.backward()
            opt.step()
        print(ep, "val", round(accuracy(model, va), 4))
    print("test", round(accuracy(model, te), 4))
    torch.save(model.state_dict(), "doodle.pt")


if __name__ == "__main__":
    main()
