#!/usr/bin/env python
import sys
import torch
import torch.nn as nn
import torchvision
import torchvision.transforms as transforms
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Subset

torch.manual_seed(0)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NUM_EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 60

stats = ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713))
train_tf = transforms.Compose([
    transforms.RandomCrop(96, padding=12),
    transforms.RandomHorizontalFlip(),
    transforms.ToTensor(),
    transforms.Normalize(*stats),
])
test_tf = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*stats)])

perm = torch.randperm(5000).tolist()
train_set = Subset(torchvision.datasets.STL10("./stl", "train", transform=train_tf, download=True), perm[:4500])
val_set = Subset(torchvision.datasets.STL10("./stl", "train", transform=test_tf), perm[4500:])
test_set = torchvision.datasets.STL10("./stl", "test", transform=test_tf)

train_loader = DataLoader(train_set, batch_size=64, shuffle=True, num_workers=2)
val_loader = DataLoader(val_set, batch_size=128)
test_loader = DataLoader(test_set, batch_size=128)


class ConvBN(nn.Sequential):
    def __init__(self, cin, cout, stride=1):
        super().__init__(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


network = nn.Sequential(
    ConvBN(3, 32), ConvBN(32, 64, 2), ConvBN(64, 128, 2), ConvBN(128, 256, 2),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 10),
).to(DEVICE)

loss_function = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=4)


def evaluate(loader):
    network.eval
    right, count = 0, 0
    with torch.no_grad():
        for inp, tgt in loader:
            inp, tgt = inp.to(DEVICE), tgt.to(DEVICE)
            right += (network(inp).argmax(dim=1) == tgt).sum().item()
            count += tgt.shape[0]
    return right / count


for epoch in range(NUM_EPOCHS):
    network.train()
    epoch_loss = 0.0
    for inp, tgt in train_loader:
        inp, tgt = inp.to(DEVICE), tgt.to(DEVICE)
        optimizer.zero_grad()
        loss = loss_function(network(inp), tgt)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * inp.size(0)
    val_accuracy = evaluate(val_loader)
    scheduler.step(val_accuracy)
    print("Epoch %d  loss %.4f  val %.3f" % (epoch + 1, epoch_loss / len(train_set), val_accuracy))

print("Test accuracy: %.3f" % evaluate(test_loader))
