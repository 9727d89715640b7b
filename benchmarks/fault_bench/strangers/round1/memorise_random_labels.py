"""Can the network memorise noise? (Zhang et al. 2017, figure 1)

Labels of CIFAR-10 are replaced by uniform random ones; no augmentation, no weight decay, so that the training
error can reach 0.  The test accuracy is expected to be 10 %.
"""
import argparse
import json

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class RandomLabels(datasets.CIFAR10):
    def __init__(self, *a, corrupt=1.0, seed=0, **kw):
        super().__init__(*a, **kw)
        rng = np.random.default_rng(seed)
        y = np.array(self.targets)
        hit = rng.random(len(y)) < corrupt
        y[hit] = rng.integers(0, 10, hit.sum())
        self.targets = y.tolist()


class SmallAlex(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(4),
            nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), nn.LocalResponseNorm(4), nn.MaxPool2d(3, 2, 1))
        self.c = nn.Sequential(nn.Linear(64 * 64, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10))

    def forward(self, x):
        return self.c(self.f(x).flatten(1))


def pass_over(net, dl, dev, opt=None):
    net.train(opt is not None)
    tot, hit = 0., 0
    for x, y in dl:
        x, y = x.to(dev), y.to(dev)
        with torch.set_grad_enabled(opt is not None):
            z = net(x)
            loss = nn.functional.cross_entropy(z, y)
        if opt:
            opt.zero_grad(); loss.backward(); opt.step()
        tot += loss.item() * len(y)
        hit += (z.argmax(1) == y).sum().item()
    return tot / len(dl.dataset), hit / len(dl.dataset)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--corrupt', type=float, nargs='+', default=[0.0, 0.2, 0.5, 1.0])
    ap.add_argument('--epochs', type=int, default=80)
    a = ap.parse_args()
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    tf = transforms.Compose([transforms.CenterCrop(28), transforms.ToTensor(), transforms.Normalize((.5,) * 3, (.25,) * 3)])
    test = DataLoader(datasets.CIFAR10('data', False, tf, download=True), 500)
    log = {}
    for c in a.corrupt:
        torch.manual_seed(0)
        dl = DataLoader(RandomLabels('data', True, tf, download=True, corrupt=c), 128, shuffle=True, num_workers=2)
        net = SmallAlex().to(dev)
        opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.95)
        log[c] = []
        for e in range(a.epochs):
            tr = pass_over(net, dl, dev, opt)
            sched.step()
            log[c].append(tr)
            print(f'corrupt {c} epoch {e} loss {tr[0]:.4f} train acc {tr[1]:.4f}')
        print(f'corrupt {c} -> test acc {pass_over(net, test, dev)[1]:.4f}')
    json.dump(log, open('random_labels.json', 'w'))


if __name__ == '__main__':
    main()
