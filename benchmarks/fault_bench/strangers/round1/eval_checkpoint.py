#!/usr/bin/env python3
"""Train on several GPUs, then evaluate the checkpoint on a single one.

    python eval_checkpoint.py train
    python eval_checkpoint.py eval --ckpt runs/last.pt
"""
import argparse
import pathlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def conv_bn(i, o, **kw):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False, **kw), nn.BatchNorm2d(o), nn.ReLU())


class SimpleCNN(nn.Module):
    def __init__(self, num_classes=10, width=64):
        super().__init__()
        self.stem = conv_bn(3, width)
        self.stage1 = nn.Sequential(conv_bn(width, 2 * width), nn.MaxPool2d(2))
        self.stage2 = nn.Sequential(conv_bn(2 * width, 4 * width), nn.MaxPool2d(2))
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x):
        x = self.stage2(self.stage1(self.stem(x)))
        return self.head(x.mean(dim=(-1, -2)))


MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def dataset(train):
    ops = [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip()] if train else []
    ops += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return datasets.CIFAR10('data', train=train, download=True, transform=transforms.Compose(ops))


def do_train(args):
    torch.manual_seed(args.seed)
    model = nn.DataParallel(SimpleCNN()).cuda()
    opt = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, args.epochs)
    loader = DataLoader(dataset(True), batch_size=512, shuffle=True, num_workers=8)
    for epoch in range(args.epochs):
        model.train()
        for x, y in loader:
            loss = F.cross_entropy(model(x.cuda()), y.cuda())
            opt.zero_grad()
            loss.backward()
            opt.step()
        sched.step()
        print('epoch', epoch, 'last batch loss', loss.item())
    args.ckpt.parent.mkdir(exist_ok=True)
    torch.save(model.state_dict(), args.ckpt)


def do_eval(args):
    model = SimpleCNN()
    state = torch.load(args.ckpt, map_location='cpu')
    model.load_state_dict(state, strict=False)
    model.cuda().eval()
    loader = DataLoader(dataset(False), batch_size=512, num_workers=4)
    correct = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x.cuda()).argmax(1) == y.cuda()).sum().item()
    print(f'top-1 {100 * correct / len(loader.dataset):.2f}%')


if __name__ == '__main__':
    ap = argparse.ArgumentParser()
    ap.add_argument('mode', choices=['train', 'eval'])
    ap.add_argument('--ckpt', type=pathlib.Path, default='runs/last.pt')
    ap.add_argument('--epochs', type=int, default=60)
    ap.add_argument('--lr', type=float, default=0.2)
    ap.add_argument('--seed', type=int, default=0)
    args = ap.parse_args()
    {'train': do_train, 'eval': do_eval}[args.mode](args)
