import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from nets import BigNet, SmallNet      # nets.py
from common import seed_everything, log

CFG = {
    'T': 3.0, 'alpha': 0.8, 'epochs': 30, 'bs': 128, 'lr': 1e-3, 'seed': 5,
    'teacher': 'big_fashion.pt',
}


class KDLoss(nn.Module):
    def __init__(self, T, alpha):
        super().__init__()
        self.T, self.alpha = T, alpha
        self.kl = nn.KLDivLoss(reduction='batchmean', log_target=True)

    def forward(self, s, t, y):
        kd = self.kl((s / self.T).log_softmax(1), (t / self.T).log_softmax(1))
        return self.alpha * self.T * self.T * kd + (1. - self.alpha) * F.cross_entropy(s, y)


class Distiller(nn.Module):
    """Keeps the teacher out of .train(), .parameters() and state_dict()."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student = student
        self._teacher = [teacher.eval().requires_grad_(False)]

    def forward(self, x):
        with torch.no_grad():
            t = self._teacher[0](x)
        return self.student(x), t


def batches(train):
    ops = [transforms.ToTensor(), transforms.Normalize(0.286, 0.353)]
    if train:
        ops.insert(0, transforms.RandomHorizontalFlip())
    ds = datasets.FashionMNIST('data', train=train, download=True, transform=transforms.Compose(ops))
    return DataLoader(ds, CFG['bs'], shuffle=train, num_workers=2)


def main():
    seed_everything(CFG['seed'])
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    teacher = BigNet()
    teacher.load_state_dict(torch.load(CFG['teacher'], map_location='cpu', weights_only=True))
    pair = Distiller(SmallNet(), teacher.to(dev)).to(dev)
    optim = torch.optim.Adam(pair.parameters(), CFG['lr'])     # student only
    sched = torch.optim.lr_scheduler.StepLR(optim, 10, 0.3)
    crit = KDLoss(CFG['T'], CFG['alpha'])
    train, test = batches(True), batches(False)
    for ep in range(CFG['epochs']):
        pair.train()
        for x, y in train:
            x, y = x.to(dev), y.to(dev)
            optim.zero_grad()
            crit(*pair(x), y).backward()
            optim.step()
        sched.step()
        log('epoch', ep)
    pair.eval()
    with torch.no_grad():
        good = sum(pair.student(x.to(dev)).argmax(1).cpu().eq(y).sum().item() for x, y in test)
    log('student on test: %.4f' % (good / len(test.dataset)))
    torch.save(pair.student.state_dict(), 'small_fashion.pt')


if __name__ == '__main__':
    main()
