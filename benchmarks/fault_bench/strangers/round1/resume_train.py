"""Train on our pcb folder. Preemptible VM: run again with --resume after a shutdown."""
import argparse
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import datasets, models, transforms


class WithTransform(Dataset):
    def __init__(self, subset, tfm):
        self.subset = subset
        self.tfm = tfm

    def __len__(self):
        return len(self.subset)

    def __getitem__(self, i):
        img, y = self.subset[i]
        return self.tfm(img), y


def build_data(root, bs):
    norm = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    t_train = transforms.Compose([transforms.RandomResizedCrop(224, scale=(0.7, 1.0)),
                                  transforms.RandomHorizontalFlip(), transforms.ToTensor(), norm])
    t_val = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), norm])
    ds = datasets.ImageFolder(root)
    n_val = len(ds) // 5
    train, val = random_split(ds, [len(ds) - n_val, n_val])
    return (DataLoader(WithTransform(train, t_train), bs, shuffle=True, num_workers=4),
            DataLoader(WithTransform(val, t_val), bs, num_workers=4), ds.classes)


def validate(model, loader, device):
    model.eval()
    good, total = 0, 0
    with torch.no_grad():
        for x, y in loader:
            good += (model(x.to(device)).argmax(1) == y.to(device)).sum().item()
            total += len(y)
    return good / total


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--root', default='pcb')
    ap.add_argument('--epochs', type=int, default=50)
    ap.add_argument('--bs', type=int, default=32)
    ap.add_argument('--resume', action='store_true')
    ap.add_argument('--ckpt', default='ckpt.pt')
    args = ap.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    train_dl, val_dl, classes = build_data(args.root, args.bs)
    model = models.resnet50(weights=models.ResNet50_Weights.DEFAULT)
    model.fc = nn.Linear(2048, len(classes))
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    criterion = nn.CrossEntropyLoss()
    start, best = 0, 0.0
    if args.resume and os.path.exists(args.ckpt):
        ck = torch.load(args.ckpt, map_location=device)
        model.load_state_dict(ck['model'])
        optimizer.load_state_dict(ck['optimizer'])
        scheduler.load_state_dict(ck['scheduler'])
        start, best = ck['epoch'] + 1, ck['best']

    for epoch in range(start, args.epochs):
        model.train()
        for x, y in train_dl:
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        scheduler.step()
        acc = validate(model, val_dl, device)
        print(f'epoch {epoch} val {acc:.4f}')
        if acc > best:
            best = acc
            torch.save(model.state_dict(), 'best.pt')
        torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict(),
                    'scheduler': scheduler.state_dict(), 'epoch': epoch, 'best': best}, args.ckpt)


if __name__ == '__main__':
    main()
