# -*- coding: utf-8 -*-
"""CT slice classification (covid / normal).

The folder has one png per slice, named <patient>_<slice>.png, e.g. P0123_045.png
    slices/covid/P0123_045.png
    slices/normal/P0990_012.png
"""
import logging
from pathlib import Path

import torch
import torch.nn as nn
from PIL import Image
from sklearn.metrics import classification_report, roc_auc_score
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

log = logging.getLogger('ct')
logging.basicConfig(level=logging.INFO)

ROOT = Path('slices')
CLASSES = ['normal', 'covid']
SEED = 2021


class SliceDataset(Dataset):
    def __init__(self, items, tfm):
        self.items, self.tfm = items, tfm

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        path, y = self.items[k]
        return self.tfm(Image.open(path).convert('RGB')), y


def collect():
    items = []
    for y, c in enumerate(CLASSES):
        for p in sorted((ROOT / c).glob('*.png')):
            items.append((p, y))
    return items


def make_loaders(items):
    labels = [y for _, y in items]
    tr, rest = train_test_split(items, test_size=0.3, stratify=labels, random_state=SEED)
    va, te = train_test_split(rest, test_size=0.5, stratify=[y for _, y in rest], random_state=SEED)
    log.info('%d train / %d val / %d test slices', len(tr), len(va), len(te))
    norm = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    t_tr = transforms.Compose([transforms.Resize((224, 224)), transforms.RandomRotation(8), transforms.ToTensor(), norm])
    t_ev = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor(), norm])
    return (DataLoader(SliceDataset(tr, t_tr), 32, shuffle=True, num_workers=4),
            DataLoader(SliceDataset(va, t_ev), 64, num_workers=4),
            DataLoader(SliceDataset(te, t_ev), 64, num_workers=4))


def scores(net, dl, device):
    net.eval()
    ys, ps = [], []
    with torch.no_grad():
        for x, y in dl:
            ps.append(torch.softmax(net(x.to(device)), 1)[:, 1].cpu())
            ys.append(y)
    return torch.cat(ys).numpy(), torch.cat(ps).numpy()


def run():
    torch.manual_seed(SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    dl_tr, dl_va, dl_te = make_loaders(collect())
    net = models.densenet121(pretrained=True)
    net.classifier = nn.Linear(net.classifier.in_features, 2)
    net.to(device)
    optim = torch.optim.Adam(net.parameters(), lr=1e-4)
    ce = nn.CrossEntropyLoss()
    best = 0.
    for epoch in range(12):
        net.train()
        for x, y in dl_tr:
            optim.zero_grad()
            loss = ce(net(x.to(device)), y.to(device))
            loss.backward()
            optim.step()
        auc = roc_auc_score(*scores(net, dl_va, device))
        log.info('epoch %d val auc %.4f', epoch, auc)
        if auc > best:
            best = auc
            torch.save(net.state_dict(), 'ct_best.pt')
    net.load_state_dict(torch.load('ct_best.pt'))
    y, p = scores(net, dl_te, device)
    print(classification_report(y, p > 0.5, target_names=CLASSES))
    print('test AUC', roc_auc_score(y, p))


if __name__ == '__main__':
    run()
