import argparse
import statistics
import torch
import torch.nn as nn
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import USPS

parser = argparse.ArgumentParser("5 fold cross validation on USPS (train and test parts together)")
parser.add_argument('--folds', type=int, default=5)
parser.add_argument('--epochs', type=int, default=15)
parser.add_argument('--seed', type=int, default=0)


def reset_all(m):
    if hasattr(m, 'reset_parameters'):
        m.reset_parameters()


def body():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 16, 10))


def main():
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    # all 9298 images: the figure wanted is the cross-validated one, there is no extra test part
    tf = transforms.ToTensor()
    parts = [USPS('data', train=t, transform=tf, download=True) for t in (True, False)]
    data = ConcatDataset(parts)
    labels = [int(t) for p in parts for t in p.targets]
    model = body()
    result = []
    for k, (tr, va) in enumerate(StratifiedKFold(args.folds, shuffle=True, random_state=args.seed).split(labels, labels)):
        model.apply(reset_all)  # fresh weights and BN statistics for each fold
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
        loader = DataLoader(Subset(data, tr), 64, shuffle=True)
        for _ in range(args.epochs):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(Subset(data, va), 512))
        result.append(right / len(va))
        print(f'fold {k}: {result[-1]:.4f}')
    print(f'mean {statistics.mean(result):.4f}  sd {statistics.stdev(result):.4f}')


if __name__ == '__main__':
    main()
