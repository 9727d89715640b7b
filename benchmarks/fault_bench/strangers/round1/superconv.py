"""Super-convergence experiment (one cycle policy) on CIFAR-10."""
import argparse
import yaml
import torch
import torch.nn as nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from torchvision import datasets, transforms as T
import torchvision.models as tvm

DEFAULT = """
model: resnet18
epochs: 24
batch_size: 512
max_lr: 0.4
weight_decay: 5.0e-4
workers: 8
seed: 8
"""


def parse():
    p = argparse.ArgumentParser()
    p.add_argument('-c', '--config', help='yaml file')
    a = p.parse_args()
    cfg = yaml.safe_load(DEFAULT)
    if a.config:
        with open(a.config) as fh:
            cfg.update(yaml.safe_load(fh))
    return cfg


def loaders(cfg):
    m, s = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    tr = datasets.CIFAR10('data', True, T.Compose([T.RandomCrop(32, 4), T.RandomHorizontalFlip(), T.ToTensor(),
                                                   T.Normalize(m, s)]), download=True)
    te = datasets.CIFAR10('data', False, T.Compose([T.ToTensor(), T.Normalize(m, s)]))
    kw = dict(batch_size=cfg['batch_size'], num_workers=cfg['workers'], pin_memory=True)
    return DataLoader(tr, shuffle=True, drop_last=True, **kw), DataLoader(te, **kw)


def build(cfg):
    net = getattr(tvm, cfg['model'])(num_classes=10)
    net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net.cuda()


class Run:
    def __init__(self, cfg):
        self.cfg = cfg
        torch.manual_seed(cfg['seed'])
        self.train_dl, self.test_dl = loaders(cfg)
        self.net = build(cfg)
        self.opt = torch.optim.SGD(self.net.parameters(), lr=cfg['max_lr'], momentum=0.9,
                                   weight_decay=cfg['weight_decay'])
        total = cfg['epochs'] * len(self.train_dl)
        self.sched = OneCycleLR(self.opt, max_lr=cfg['max_lr'], total_steps=total, pct_start=0.3)
        self.loss_fn = nn.CrossEntropyLoss()

    def epoch(self):
        self.net.train()
        tot = 0.
        for x, y in self.train_dl:
            x, y = x.cuda(non_blocking=True), y.cuda(non_blocking=True)
            self.opt.zero_grad()
            loss = self.loss_fn(self.net(x), y)
            loss.backward()
            self.opt.step()
            tot += loss.item()
        return tot / len(self.train_dl)

    @torch.no_grad()
    def test(self):
        self.net.eval()
        ok = 0
        for x, y in self.test_dl:
            ok += (self.net(x.cuda()).argmax(1) == y.cuda()).sum().item()
        return ok / len(self.test_dl.dataset)

    def go(self):
        for e in range(self.cfg['epochs']):
            l = self.epoch()
            self.sched.step()
            print(f'epoch {e + 1} loss {l:.4f} lr {self.sched.get_last_lr()[0]:.4f}')
        acc = self.test()
        print('test acc', acc)
        torch.save({'cfg': self.cfg, 'state': self.net.state_dict(), 'acc': acc}, 'run.pt')


if __name__ == '__main__':
    Run(parse()).go()
