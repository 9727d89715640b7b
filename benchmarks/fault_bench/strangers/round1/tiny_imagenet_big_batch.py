"""Train ResNet-34 on Tiny-ImageNet (folder layout: tiny/train/<wnid>/*.JPEG, tiny/val_sorted/<wnid>/*.JPEG)."""
import os
import torch
import torch.nn as nn
import torchvision.models as models
import torchvision.transforms as T
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from tqdm import tqdm

ROOT = os.environ.get("TINY_ROOT", "tiny")
BATCH_SIZE = 256
EPOCHS = 30


def build_loaders():
    norm = T.Normalize((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
    train_ds = ImageFolder(os.path.join(ROOT, "train"),
                           T.Compose([T.RandomCrop(64, padding=8), T.RandomHorizontalFlip(), T.ToTensor(), norm]))
    val_ds = ImageFolder(os.path.join(ROOT, "val_sorted"), T.Compose([T.ToTensor(), norm]))
    assert train_ds.class_to_idx == val_ds.class_to_idx
    return (DataLoader(train_ds, BATCH_SIZE, shuffle=True, num_workers=8, pin_memory=True),
            DataLoader(val_ds, BATCH_SIZE, num_workers=8, pin_memory=True))


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    total_loss = 0
    for images, labels in tqdm(loader):
        images, labels = images.cuda(), labels.cuda()
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total_loss += loss
    return total_loss / len(loader)


def validate(model, loader, criterion):
    model.eval()
    all_out, all_lab = [], []
    for images, labels in loader:
        outputs = model(images.cuda())
        all_out.append(outputs)
        all_lab.append(labels.cuda())
    out, lab = torch.cat(all_out), torch.cat(all_lab)
    loss = criterion(out, lab)
    top1 = (out.argmax(1) == lab).float().mean()
    top5 = (out.topk(5, 1).indices == lab[:, None]).any(1).float().mean()
    return loss.item(), top1.item(), top5.item()


def main():
    torch.manual_seed(0)
    train_loader, val_loader = build_loaders()
    model = models.resnet34(num_classes=200)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.cuda()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[15, 25], gamma=0.1)
    train_losses = []
    for epoch in range(EPOCHS):
        train_losses.append(train_one_epoch(model, train_loader, criterion, optimizer))
        vl, t1, t5 = validate(model, val_loader, criterion)
        scheduler.step()
        print(f"{epoch}: train {train_losses[-1]:.3f} val {vl:.3f} top1 {t1:.3f} top5 {t5:.3f}")
    torch.save({"model": model.state_dict(), "train_losses": train_losses}, "tiny_r34.pth")


if __name__ == "__main__":
    main()
