import os
import random
import numpy as np
import torch
from sklearn.metrics import f1_score, precision_score, recall_score
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms


def set_seed(seed=0):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class LeafModel(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.backbone = models.resnet34(weights="DEFAULT")
        self.backbone.fc = nn.Sequential(nn.Dropout(0.3), nn.Linear(512, num_classes))

    def forward(self, x):
        return self.backbone(x)


def get_loaders(root, bs):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    a = transforms.Compose([transforms.RandomResizedCrop(224, scale=(0.5, 1)), transforms.RandomHorizontalFlip(),
                            transforms.RandomVerticalFlip(), transforms.ToTensor(), transforms.Normalize(mean, std)])
    b = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
                            transforms.Normalize(mean, std)])
    tr = datasets.ImageFolder(os.path.join(root, 'train'), a)
    va = datasets.ImageFolder(os.path.join(root, 'valid'), b)
    te = datasets.ImageFolder(os.path.join(root, 'test'), b)
    return (DataLoader(tr, bs, shuffle=True, num_workers=4), DataLoader(va, bs, num_workers=4),
            DataLoader(te, bs, num_workers=4), tr.classes)


def train_epoch(model, dl, crit, opt, dev):
    model.train()
    losses = []
    for x, y in dl:
        opt.zero_grad()
        loss = crit(model(x.to(dev)), y.to(dev))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return np.mean(losses)


@torch.no_grad()
def evaluate(model, dl, dev):
    model.eval()
    f1, prec, rec = 0., 0., 0.
    for x, y in dl:
        pred = model(x.to(dev)).argmax(1).cpu().numpy()
        y = y.numpy()
        f1 += f1_score(y, pred, average='macro')
        prec += precision_score(pred, y, average='macro', zero_division=0)
        rec += recall_score(pred, y, average='macro', zero_division=0)
    n = len(dl)
    return f1 / n, prec / n, rec / n


def main():
    set_seed(17)
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    tr, va, te, classes = get_loaders('plantvillage', 32)
    model = LeafModel(len(classes)).to(dev)
    crit = nn.CrossEntropyLoss()
    opt = optim.AdamW(model.parameters(), lr=2e-4)
    best = 0.
    for ep in range(1, 16):
        loss = train_epoch(model, tr, crit, opt, dev)
        f1, p, r = evaluate(model, va, dev)
        print(f'{ep} loss {loss:.4f} f1 {f1:.4f} precision {p:.4f} recall {r:.4f}')
        if f1 > best:
            best = f1
            torch.save(model.state_dict(), 'leaf.pt')
    model.load_state_dict(torch.load('leaf.pt', map_location=dev))
    print('TEST f1 %.4f precision %.4f recall %.4f' % evaluate(model, te, dev))


if __name__ == '__main__':
    main()
