"""Madry-style adversarial training, MNIST, eps = 0.3."""
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import SGD
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

P = argparse.ArgumentParser()
P.add_argument('--eps', type=float, default=0.3)
P.add_argument('--alpha', type=float, default=0.01)
P.add_argument('--steps', type=int, default=40)
P.add_argument('--epochs', type=int, default=40)
P.add_argument('--seed', type=int, default=0)


def net():
    # pixels stay in [0, 1]: no Normalize, so that eps has its usual meaning
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Linear(1024, 10))


def attack(model, x, y, eps, alpha, steps):
    was = model.training
    model.eval()
    delta = torch.empty_like(x).uniform_(-eps, eps)
    delta = ((x + delta).clamp(0, 1) - x).requires_grad_(True)
    for _ in range(steps):
        loss = F.cross_entropy(model(x + delta), y)
        g, = torch.autograd.grad(loss, delta)
        with torch.no_grad():
            delta += alpha * g.sign()
            delta.clamp_(-eps, eps)
            delta.copy_((x + delta).clamp(0, 1) - x)
    model.train(was)
    return (x + delta).detach()


def robust_accuracy(model, dl, a, dev):
    model.eval()
    clean = adv = n = 0
    for x, y in dl:
        x, y = x.to(dev), y.to(dev)
        xa = attack(model, x, y, a.eps, a.alpha, a.steps)
        with torch.no_grad():
            clean += (model(x).argmax(1) == y).sum().item()
            adv += (model(xa).argmax(1) == y).sum().item()
        n += len(y)
    return clean / n, adv / n


def main():
    a = P.parse_args()
    torch.manual_seed(a.seed)
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    full = datasets.MNIST('data', train=True, download=True, transform=transforms.ToTensor())
    tr, va = random_split(full, [58000, 2000], generator=torch.Generator().manual_seed(a.seed))
    te = datasets.MNIST('data', train=False, transform=transforms.ToTensor())
    tr_dl, va_dl, te_dl = DataLoader(tr, 128, shuffle=True), DataLoader(va, 500), DataLoader(te, 500)
    model = net().to(dev)
    opt = SGD(model.parameters(), lr=0.05, momentum=0.9)
    best = (-1, None)
    for ep in range(a.epochs):
        for g in opt.param_groups:
            g['lr'] = 0.05 if ep < 25 else 0.005
        for x, y in tr_dl:
            x, y = x.to(dev), y.to(dev)
            xa = attack(model, x, y, a.eps, a.alpha, a.steps)
            model.train()
            opt.zero_grad()
            F.cross_entropy(model(xa), y).backward()
            opt.step()
        c, r = robust_accuracy(model, va_dl, a, dev)
        print(f'{ep} clean {c:.4f} robust {r:.4f}')
        if r > best[0]:
            best = (r, {k: v.clone() for k, v in model.state_dict().items()})
    model.load_state_dict(best[1])
    print('test clean %.4f, test robust %.4f' % robust_accuracy(model, te_dl, a, dev))


if __name__ == '__main__':
    main()
