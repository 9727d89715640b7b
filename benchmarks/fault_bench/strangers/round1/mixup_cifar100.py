import argparse
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torchvision import datasets, transforms
from models.wideresnet import WideResNet   # local
from utils import AverageMeter, save_checkpoint, set_seed

parser = argparse.ArgumentParser(description='CIFAR-100 + mixup')
parser.add_argument('--alpha', type=float, default=0.4)
parser.add_argument('--epochs', type=int, default=200)
parser.add_argument('--lr', type=float, default=0.1)
parser.add_argument('--seed', type=int, default=0)
parser.add_argument('--data', default='./data')


def mixup_data(x, y, alpha):
    """Returns mixed inputs, pairs of targets, and lambda"""
    lam = np.random.beta(alpha, alpha) if alpha > 0 else 1.
    index = torch.randperm(x.size(0), device=x.device)
    mixed_x = lam * x + (1 - lam) * x[index]
    return mixed_x, y, y[index], lam


def train(loader, model, optimizer, args):
    model.train()
    losses = AverageMeter()
    for x, y in loader:
        x, y = x.cuda(), y.cuda()
        x, y_a, y_b, lam = mixup_data(x, y, args.alpha)
        logits = model(x)
        loss = F.cross_entropy(logits, y_a)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), x.size(0))
    return losses.avg


def evaluate(loader, model):
    model.eval()
    top1 = AverageMeter()
    with torch.no_grad():
        for x, y in loader:
            pred = model(x.cuda()).argmax(1).cpu()
            top1.update((pred == y).float().mean().item() * 100, y.size(0))
    return top1.avg


def main():
    args = parser.parse_args()
    set_seed(args.seed)
    norm = transforms.Normalize((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    tr = transforms.Compose([transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(),
                             transforms.ToTensor(), norm])
    te = transforms.Compose([transforms.ToTensor(), norm])
    train_loader = torch.utils.data.DataLoader(datasets.CIFAR100(args.data, True, tr, download=True),
                                               batch_size=128, shuffle=True, num_workers=4)
    test_loader = torch.utils.data.DataLoader(datasets.CIFAR100(args.data, False, te),
                                              batch_size=256, shuffle=False, num_workers=4)
    model = WideResNet(depth=28, width=10, num_classes=100).cuda()
    optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [60, 120, 160], gamma=0.2)
    for epoch in range(args.epochs):
        loss = train(train_loader, model, optimizer, args)
        scheduler.step()
        print('epoch %3d  train loss %.4f' % (epoch, loss))
        save_checkpoint({'epoch': epoch + 1, 'state_dict': model.state_dict(),
                         'optimizer': optimizer.state_dict()}, 'last.pth.tar')
    print('test top-1: %.2f' % evaluate(test_loader, model))


if __name__ == '__main__':
    main()
