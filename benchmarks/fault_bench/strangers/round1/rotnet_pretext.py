#!/usr/bin/env python3
"""RotNet: learn to tell the rotation, then a linear classifier on the frozen features."""
import logging
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

cfg = SimpleNamespace(root="data", bs=64, pre_epochs=60, lin_epochs=30, labelled=5000, seed=12,
                      device=torch.device("cuda"))
logger = logging.getLogger("rotnet")


def rotate4(x):
    """(B, C, H, W) -> (4B, C, H, W) and the pretext labels 0..3; the true labels are not used."""
    out = torch.cat([torch.rot90(x, k, (2, 3)) for k in range(4)])
    lab = torch.arange(4, device=x.device).repeat_interleave(len(x))
    return out, lab


class NiN(nn.Module):
    def __init__(self):
        super().__init__()

        def b(i, o, k):
            return [nn.Conv2d(i, o, k, padding=k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(
            *b(3, 192, 5), *b(192, 160, 1), *b(160, 96, 1), nn.MaxPool2d(3, 2, 1),
            *b(96, 192, 5), *b(192, 192, 1), *b(192, 192, 1), nn.AvgPool2d(3, 2, 1))
        self.rot = nn.Sequential(*b(192, 192, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, 4))

    def forward(self, x):
        return self.rot(self.features(x))


def pretrain(net, loader):
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    sch = torch.optim.lr_scheduler.MultiStepLR(opt, [20, 40, 52], 0.2)
    for ep in range(cfg.pre_epochs):
        net.train()
        for x, _ in loader:
            x, r = rotate4(x.to(cfg.device))
            opt.zero_grad()
            loss = F.cross_entropy(net(x), r)
            loss.backward()
            opt.step()
        sch.step()
        logger.info("pretext %d %.4f", ep, loss.item())


def linear_eval(net, loader, test_loader):
    for p in net.parameters():
        p.requires_grad_(False)
    net.eval()
    head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(192 * 16, affine=False),
                         nn.Linear(192 * 16, 10)).to(cfg.device)
    opt = torch.optim.Adam(head.parameters(), 1e-3)
    for ep in range(cfg.lin_epochs):
        head.train()            # only the head; the features stay in eval mode
        for x, y in loader:
            with torch.no_grad():
                z = net.features(x.to(cfg.device))
            opt.zero_grad()
            F.cross_entropy(head(z), y.to(cfg.device)).backward()
            opt.step()
    head.eval()
    n = 0
    with torch.no_grad():
        for x, y in test_loader:
            n += (head(net.features(x.to(cfg.device))).argmax(1).cpu() == y).sum().item()
    return n / len(test_loader.dataset)


def main():
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(cfg.seed)
    nrm = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    aug = transforms.Compose([transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(), transforms.ToTensor(), nrm])
    plain = transforms.Compose([transforms.ToTensor(), nrm])
    train = datasets.CIFAR10(cfg.root, True, aug, download=True)
    few = Subset(train, torch.randperm(50000)[:cfg.labelled].tolist())
    test = datasets.CIFAR10(cfg.root, False, plain)
    mk = lambda d, s: DataLoader(d, cfg.bs, shuffle=s, num_workers=4, drop_last=s)
    net = NiN().to(cfg.device)
    pretrain(net, mk(train, True))
    logger.info("linear probe, %d labels: %.4f", cfg.labelled, linear_eval(net, mk(few, True), mk(test, False)))


if __name__ == "__main__":
    main()
