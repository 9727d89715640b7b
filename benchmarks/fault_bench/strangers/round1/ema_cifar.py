import copy
import math
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms as T


class EMA:
    def __init__(self, model, decay=0.999):
        self.decay = decay
        self.shadow = copy.deepcopy(model).eval()
        for p in self.shadow.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for s, p in zip(self.shadow.parameters(), model.parameters()):
            s.mul_(self.decay).add_(p, alpha=1 - self.decay)


class PreAct(nn.Module):
    def __init__(self, ci, co, s):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(ci), nn.BatchNorm2d(co)
        self.c1 = nn.Conv2d(ci, co, 3, s, 1, bias=False)
        self.c2 = nn.Conv2d(co, co, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(ci, co, 1, s, bias=False) if (ci != co or s != 1) else None

    def forward(self, x):
        h = F.relu(self.bn1(x))
        sc = self.short(h) if self.short is not None else x
        h = self.c2(F.relu(self.bn2(self.c1(h))))
        return h + sc


def wrn(depth=16, k=4, n_cls=10):
    n = (depth - 4) // 6
    widths = [16, 16 * k, 32 * k, 64 * k]
    mods = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    for i in range(3):
        for j in range(n):
            mods.append(PreAct(widths[i] if j == 0 else widths[i + 1], widths[i + 1], 2 if (i > 0 and j == 0) else 1))
    mods += [nn.BatchNorm2d(widths[3]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[3], n_cls)]
    return nn.Sequential(*mods)


def warmup_cosine(step, total, warm):
    if step < warm:
        return step / max(1, warm)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))


@torch.no_grad()
def acc(m, dl):
    m.eval()
    return sum((m(x.cuda()).argmax(1).cpu() == y).sum().item() for x, y in dl) / len(dl.dataset)


def main():
    torch.manual_seed(int(os.getenv('SEED', 0)))
    nrm = T.Normalize((.4914, .4822, .4465), (.2470, .2435, .2616))
    tr = datasets.CIFAR10('data', True, T.Compose([T.RandomCrop(32, 4, padding_mode='reflect'),
                          T.RandomHorizontalFlip(), T.ToTensor(), nrm]), download=True)
    te = datasets.CIFAR10('data', False, T.Compose([T.ToTensor(), nrm]))
    tr_dl = DataLoader(tr, 128, shuffle=True, num_workers=6, drop_last=True)
    te_dl = DataLoader(te, 500, num_workers=4)
    net = wrn().cuda()
    ema = EMA(net)
    epochs, total = 50, 50 * len(tr_dl)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    sch = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: warmup_cosine(s, total, 1000))
    for ep in range(epochs):
        net.train()
        for x, y in tr_dl:
            loss = F.cross_entropy(net(x.cuda()), y.cuda())
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            ema.update(net)
        print(f'epoch {ep + 1} loss {loss.item():.3f}')
    print('raw', acc(net, te_dl), 'ema', acc(ema.shadow, te_dl))
    torch.save(ema.shadow.state_dict(), 'wrn_ema.pt')


if __name__ == '__main__':
    main()
