"""Plain torch datasets and a plain nn.Module, trained with fastai's Learner."""
from functools import partial

import torch
from fastai.callback.schedule import *          # patches fit_one_cycle
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import Adam
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

torch.manual_seed(20)
device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

tfm = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])
full = datasets.FashionMNIST('data', train=True, download=True, transform=tfm)
held_out = datasets.FashionMNIST('data', train=False, download=True, transform=tfm)
train, valid = random_split(full, (50_000, 10_000))


def conv(ni, nf, ks=3, stride=2, act=True):
    layers = [nn.Conv2d(ni, nf, ks, stride, ks // 2, bias=False), nn.BatchNorm2d(nf)]
    if act:
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def simple_cnn():
    return nn.Sequential(
        conv(1, 16, ks=5),   # 14
        conv(16, 32),        # 7
        conv(32, 64),        # 4
        conv(64, 128),       # 2
        conv(128, 10, act=False),  # 1
        nn.Flatten())


def main():
    dls = DataLoaders(DataLoader(train, 256, shuffle=True, drop_last=True, num_workers=4),
                      DataLoader(valid, 512, num_workers=4), device=device)
    net = simple_cnn().to(device)
    learn = Learner(dls, net, loss_func=CrossEntropyLossFlat(),
                    opt_func=partial(Adam, sqr_mom=0.99), metrics=accuracy, wd=0.05,
                    cbs=[SaveModelCallback(monitor='accuracy', fname='fashion_best')])
    learn.fit_one_cycle(12, 6e-3)
    # SaveModelCallback has put the best epoch (on valid) back at the end of fit
    test_dl = DataLoader(held_out, 512)
    learn.model.eval()
    n = 0
    with torch.no_grad():
        for xb, yb in test_dl:
            n += (learn.model(xb.to(device)).argmax(1).cpu() == yb).sum().item()
    print('test accuracy', n / len(held_out))


if __name__ == '__main__':
    main()
