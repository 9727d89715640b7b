import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
import torchvision
import torchvision.transforms as T


@dataclass
class Config:
    epochs: int = 100
    batch_size: int = 128
    lr: float = 0.1
    wd: float = 5e-4
    seed: int = 0
    root: str = '/data/cifar'


CFG = [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M']


class VGG(nn.Module):
    def __init__(self, cfg=CFG, n_cls=10):
        super().__init__()
        layers, c = [], 3
        for v in cfg:
            if v == 'M':
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(c, v, 3, padding=1, bias=False), nn.BatchNorm2d(v), nn.ReLU(True)]
                c = v
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, n_cls)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def seed_all(s):
    random.seed(s)
    np.random.seed(s)
    torch.manual_seed(s)
    torch.cuda.manual_seed_all(s)


def get_data(c):
    norm = T.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    aug = T.Compose([T.RandomCrop(32, 4), T.RandomHorizontalFlip(), T.ToTensor(), norm])
    plain = T.Compose([T.ToTensor(), norm])
    full_aug = torchvision.datasets.CIFAR10(c.root, train=True, transform=aug, download=True)
    full_plain = torchvision.datasets.CIFAR10(c.root, train=True, transform=plain)
    test = torchvision.datasets.CIFAR10(c.root, train=False, transform=plain)
    idx = np.random.permutation(len(full_aug))
    tr, va = Subset(full_aug, idx[:45000]), Subset(full_plain, idx[45000:])
    mk = lambda d, sh: DataLoader(d, batch_size=c.batch_size, shuffle=sh, num_workers=4, pin_memory=True)
    return mk(tr, True), mk(va, False), mk(test, False)


def one_step(net, batch, crit, opt, sch, dev):
    x, y = (t.to(dev, non_blocking=True) for t in batch)
    loss = crit(net(x), y)
    opt.zero_grad(set_to_none=True)
    loss.backward()
    opt.step()
    sch.step()
    return loss.item()


def accuracy(net, loader, dev):
    net.eval()
    hits = n = 0
    with torch.no_grad():
        for x, y in loader:
            hits += net(x.to(dev)).argmax(-1).eq(y.to(dev)).sum().item()
            n += y.numel()
    return hits / n


def main(c=Config()):
    seed_all(c.seed)
    dev = torch.device('cuda')
    trl, val, tel = get_data(c)
    net = VGG().to(dev)
    crit = nn.CrossEntropyLoss()
    opt = torch.optim.SGD(net.parameters(), lr=c.lr, momentum=0.9, weight_decay=c.wd, nesterov=True)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=c.epochs)
    best = -1
    for ep in range(c.epochs):
        net.train()
        losses = [one_step(net, b, crit, opt, sch, dev) for b in trl]
        va = accuracy(net, val, dev)
        print(f'[{ep + 1}/{c.epochs}] loss={np.mean(losses):.3f} val={va:.4f} lr={opt.param_groups[0]["lr"]:.5f}')
        if va > best:
            best = va
            torch.save(net.state_dict(), 'vgg_best.pt')
    net.load_state_dict(torch.load('vgg_best.pt'))
    print('test', accuracy(net, tel, dev))


if __name__ == '__main__':
    main()
