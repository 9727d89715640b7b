"""Notebooks with the faults of the course documents (000, 002, 003, 004), in words of our own, cell by cell.

A mark (# CD01) is where a fault must be found; what is not marked must not be found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

IMPORTS = """\
!pip install -q torchsummary
%matplotlib inline
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms
from torchsummary import summary
from tqdm import tqdm
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")"""

SEED = """\
torch.manual_seed(26)
np.random.seed(26)"""

TRANSFORMS = """\
# what the images pass through
augmented = transforms.Compose([
    transforms.RandomApply([transforms.CenterCrop(22)], p=0.1),
    transforms.Resize((28, 28)),
    transforms.RandomRotation((-15.0, 15.0), fill=0),
    transforms.ToTensor(),
    transforms.Normalize((0.1307,), (0.3081,)),
])
train_transform = augmented

# never asked for
test_transform = transforms.Compose([
    transforms.ToTensor(),
    transforms.Normalize((0.1407,), (0.4081,)),
])"""

LOOK = """\
images, labels = next(iter(train_loader))
for place in range(6):
    print(labels[place].item())
torch.cuda.is_available?"""

STEPS = """\
def count_right(output, labels):
    return output.argmax(dim=1).eq(labels).sum().item()

def train(model, device, train_loader, optimizer, criterion):
    model.train()
    bar = tqdm(train_loader)
    summed, right, seen = 0, 0, 0
    for number, (images, labels) in enumerate(bar):
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        output = model(images)
        loss = criterion(output, labels)
        summed += loss.item()
        loss.backward()
        optimizer.step()
        right += count_right(output, labels)
        seen += len(images)
        bar.set_description(desc=f"loss {loss.item():.4f} batch {number} accuracy {100 * right / seen:.2f}")
    train_accuracies.append(100 * right / seen)
    train_losses.append(summed / len(train_loader))

def test(model, device, test_loader, criterion):
    model.eval()
    test_loss, right = 0, 0
    with torch.no_grad():
        for images, labels in test_loader:
            images, labels = images.to(device), labels.to(device)
            output = model(images)
            test_loss += criterion(output, labels).item()  # add up the batches
            right += count_right(output, labels)
    test_loss /= len(test_loader.dataset)  # DIVIDED
    test_losses.append(test_loss)
    test_accuracies.append(100.0 * right / len(test_loader.dataset))
    print(f"Average loss: {test_loss:.4f}, Accuracy: {right}/{len(test_loader.dataset)}")"""

TWICE = STEPS.replace("# DIVIDED", "# CD24")
ONCE = STEPS.replace("  # DIVIDED", "")

NET = """\
class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3)
        self.fc1 = nn.Linear(288, 65)
        self.fc2 = nn.Linear(65, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 3)
        x = x.view(-1, 288)
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(x), dim=1)  # LAST"""

NOTED_NET = NET.replace("# LAST", "# CD13")

LISTS = """\
train_losses, test_losses, train_accuracies, test_accuracies = [], [], [], []
wrong = {"images": [], "labels": [], "answers": []}"""

# 000: lr 10.01 and a summed loss at batch 512, without a seed, tested through the training transform.
DOCUMENT_000_START = [
    IMPORTS,
    TRANSFORMS.replace("(0.1407,), (0.4081,)),", "(0.1407,), (0.4081,)),  # CD06"),
    """\
train_data = datasets.MNIST("../data", train=True, download=True, transform=train_transform)
test_data = datasets.MNIST("../data", train=False, download=True, transform=train_transform)  # CD03""",
    """\
batch_size = 512
kwargs = {"batch_size": batch_size, "shuffle": False, "num_workers": 2, "pin_memory": True}
test_loader = torch.utils.data.DataLoader(test_data, **kwargs)
train_loader = torch.utils.data.DataLoader(train_data, **kwargs)  # CD07""",
    LOOK,
    NOTED_NET,
    LISTS,
    ONCE,
    """\
model = Net().to(device)  # CD09
optimizer = optim.SGD(model.parameters(), lr=10.01, momentum=0.9)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=15, gamma=0.1)
criterion = nn.CrossEntropyLoss(
    reduction="sum",  # CD10
)
for epoch in range(1, 2):
    train(model, device, train_loader, optimizer, criterion)
    test(model, device, test_loader, criterion)
    scheduler.step()""",
]

# 000 at its end: seeded, the mean of the loss, divided once more by the images.
DOCUMENT_000_END = [
    IMPORTS,
    SEED,
    """\
def seed_worker(worker):
    np.random.seed(26)

g = torch.Generator()
g.manual_seed(26)""",
    TRANSFORMS.replace("(0.1407,), (0.4081,)),", "(0.1407,), (0.4081,)),  # CD06"),
    """\
train_data = datasets.MNIST("../data", train=True, download=True, transform=train_transform)
test_data = datasets.MNIST("../data", train=False, download=True, transform=train_transform)  # CD03""",
    """\
kwargs = {"batch_size": 32, "shuffle": False, "worker_init_fn": seed_worker, "generator": g}
test_loader = torch.utils.data.DataLoader(test_data, **kwargs)
train_loader = torch.utils.data.DataLoader(train_data, **kwargs)  # CD07""",
    NOTED_NET,
    """\
model = Net().to(device)
summary(model, input_size=(1, 28, 28))""",
    LISTS,
    TWICE,
    """\
model = Net().to(device)
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=15, gamma=0.1)
criterion = nn.CrossEntropyLoss(reduction="mean")
for epoch in range(1, 2):
    train(model, device, train_loader, optimizer, criterion)
    test(model, device, test_loader, criterion)
    scheduler.step()""",
]

# 002: every figure is of the training images.
DOCUMENT_002 = [
    IMPORTS,
    TRANSFORMS.replace("(0.1407,), (0.4081,)),", "(0.1407,), (0.4081,)),  # CD06"),
    """\
train_data = datasets.MNIST("../data", train=True, download=True, transform=train_transform)
test_data = datasets.MNIST("../data", train=True, download=True, transform=train_transform)  # CD01 CD03""",
    """\
batch_size = 1024
kwargs = {"batch_size": batch_size, "shuffle": False, "num_workers": 2, "pin_memory": True}
test_loader = torch.utils.data.DataLoader(test_data, **kwargs)
train_loader = torch.utils.data.DataLoader(train_data, **kwargs)  # CD07""",
    LOOK,
    TWICE,
    NOTED_NET,
    LISTS,
    """\
model = Net().to(device)  # CD09
summary(model, input_size=(1, 28, 28))
optimizer = optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=15, gamma=0.1)
print("lr", scheduler.get_last_lr())
criterion = nn.CrossEntropyLoss()
for epoch in range(1, 2):
    print(f"Epoch {epoch}")
    train(model, device, train_loader, optimizer, criterion)
    test(model, device, train_loader, criterion)  # CD02
    scheduler.step()""",
    "",
]

EXPLORED = """\
# look at the numbers first
train_data = datasets.MNIST("../data", train=True, download=True, transform=transforms.ToTensor())
train_loader = DataLoader(train_data, batch_size=1024, shuffle=False)
mean, std, n_images = 0.0, 0.0, 0
for images, _ in train_loader:
    size = images.size(0)
    images = images.view(size, -1)
    mean += images.mean(dim=1).sum().item()
    std += images.std(dim=1).sum().item()
    n_images += size
mean /= n_images
std /= n_images"""

EQUAL_TRANSFORMS = """\
train_transform = transforms.Compose([
    transforms.RandomApply([transforms.CenterCrop(22)], p=0.1),
    transforms.Resize((28, 28)),
    transforms.RandomRotation((-15.0, 15.0), fill=0),
    transforms.ToTensor(),
    transforms.Normalize((0.1307,), (0.3081,)),
])
val_transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
test_transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])"""

SPLIT_LOADERS = """\
kwargs = {"batch_size": 1024, "shuffle": True, "num_workers": 2, "pin_memory": True}
test_loader = torch.utils.data.DataLoader(test_data, **kwargs)
val_loader = torch.utils.data.DataLoader(val_data, **kwargs)
train_loader = torch.utils.data.DataLoader(train_data, **kwargs)
print(len(train_loader.dataset), len(val_loader.dataset), len(test_loader.dataset))"""

PER_IMAGE_STEPS = """\
def count_right(output, labels):
    return output.argmax(dim=1).eq(labels).sum().item()

def train(model, device, train_loader, optimizer, criterion):
    model.train()
    bar = tqdm(train_loader)
    right, seen = 0, 0
    for number, (images, labels) in enumerate(bar):
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        output = model(images)
        loss = criterion(output, labels)
        loss = loss.mean()
        loss.backward()
        optimizer.step()
        right += count_right(output, labels)
        seen += len(images)
        bar.set_description(desc=f"loss {loss.item():.4f} batch {number}")
    train_accuracies.append(100 * right / seen)
    train_losses.append(loss.item())  # CD25

def evaluate(model, device, loader, criterion, set_name="Test", losses=None, accuracies=None):
    model.eval()
    total, right = 0, 0
    n_images = len(loader.dataset)
    with torch.no_grad():
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            output = model(images)
            total += criterion(output, labels).sum().item()
            right += count_right(output, labels)
    average = total / n_images
    accuracy = 100.0 * right / n_images
    if losses is not None:
        losses.append(average)
    if accuracies is not None:
        accuracies.append(accuracy)
    print(f"{set_name}: {average:.4f}, {right}/{n_images} ({accuracy:.2f}%)")
    return average, accuracy"""

# 003 up to its 13th run: the validation images are augmented, the seed comes too late, a pool is no pool.
DOCUMENT_003_EARLY = [
    IMPORTS,
    EXPLORED,
    EQUAL_TRANSFORMS,
    """\
full_data = datasets.MNIST("../data", train=True, download=True, transform=train_transform)
train_size = 50000
val_size = len(full_data) - train_size
train_data, val_data = random_split(full_data, [train_size, val_size])  # CD04 CD08

torch.manual_seed(42)
test_data = datasets.MNIST("../data", train=False, download=True, transform=test_transform)""",
    SPLIT_LOADERS,
    NOTED_NET.replace(
        "        x = F.relu(self.conv2(x))\n        x = F.max_pool2d(x, 3)",
        "        x = F.relu(self.conv2(x), 2)  # CD28",
    ),
    LISTS + "\nval_losses, val_accuracies = [], []",
    PER_IMAGE_STEPS,
    """\
%%time
model = Net().to(device)
criterion = nn.CrossEntropyLoss(reduction="none")
optimizer = optim.Adam(model.parameters(), lr=0.001)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
for epoch in range(1, 21):
    train(model, device, train_loader, optimizer, criterion)
    evaluate(model, device, val_loader, criterion, set_name="Validation", losses=val_losses, accuracies=val_accuracies)
    scheduler.step()
evaluate(model, device, test_loader, criterion, set_name="Test", losses=test_losses, accuracies=test_accuracies)""",
]

# 003 from its 14th run on: the augmentation is lost, layers are idle, the best epoch is the one of the test.
DOCUMENT_003_LATE = [
    IMPORTS,
    EXPLORED,
    EQUAL_TRANSFORMS,
    """\
full_data = datasets.MNIST("../data", train=True, download=True, transform=train_transform)
train_data, val_data = random_split(full_data, [50000, 10000])  # CD08
torch.manual_seed(42)
# the validation images should come as they are
val_data.dataset.transform = val_transform  # CD05
test_data = datasets.MNIST("../data", train=False, download=True, transform=test_transform)""",
    SPLIT_LOADERS,
    """\
class Net(nn.Module):
    def __init__(self, dropout_p=0.5):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 14, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm2d(14)
        self.conv2 = nn.Conv2d(14, 16, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv8 = nn.Conv2d(16, 16, kernel_size=3, stride=1, padding=1)  # CD30
        self.bn8 = nn.BatchNorm2d(16)  # CD30
        self.dropout = nn.Dropout(p=dropout_p)
        self.fc1 = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 2)
        x = torch.relu(self.bn2(self.conv2(x)))
        # x = self.conv8(x)
        x = F.avg_pool2d(x, kernel_size=x.size()[2:])
        x = self.dropout(x.view(x.size(0), -1))
        x = self.fc1(x)
        return F.log_softmax(x, dim=1)  # CD13

model = Net().to(device)
summary(model, input_size=(1, 28, 28))
has_norm = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())""",
    LISTS + "\nval_losses, val_accuracies = [], []",
    PER_IMAGE_STEPS,
    """\
model = Net(dropout_p=0.1).to(device)
criterion = nn.CrossEntropyLoss(reduction="none")
optimizer = optim.Adam(model.parameters(), lr=0.01)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.1)
for epoch in range(1, 21):
    train(model, device, train_loader, optimizer, criterion)
    evaluate(model, device, val_loader, criterion, set_name="Validation", losses=val_losses, accuracies=val_accuracies)
    evaluate(model, device, test_loader, criterion, set_name="Test", losses=test_losses, accuracies=test_accuracies)
    scheduler.step()""",
    """\
best = int(np.argmax(test_accuracies))  # CD26
print(f"best epoch {best + 1}: {test_accuracies[best]:.2f}")""",
]

# 004: sound, but for layers that forward no longer calls.
DOCUMENT_004 = [
    IMPORTS,
    """\
class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.pool1 = nn.MaxPool2d(2, 2)
        self.dropout1 = nn.Dropout2d(0.1)  # CD30
        self.fc1 = nn.Linear(4 * 13 * 13, 25)
        self.bn_fc1 = nn.BatchNorm1d(20)  # CD30
        self.dropout_fc = nn.Dropout(0.3)
        self.out = nn.Linear(25, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.pool1(x)
        # x = self.dropout1(x)
        x = x.view(-1, 4 * 13 * 13)
        x = F.relu((self.fc1(x)))
        x = self.dropout_fc(x)
        x = self.out(x)
        return F.log_softmax(x, dim=1)""",
    """\
!pip install torchsummary
use_cuda = torch.cuda.is_available()
model = Net().to(device)
summary(model, input_size=(1, 28, 28))""",
    """\
torch.manual_seed(1)
batch_size = 128
kwargs = {"num_workers": 1, "pin_memory": True} if use_cuda else {}
train_loader = torch.utils.data.DataLoader(
    datasets.MNIST("../data", train=True, download=True,
                   transform=transforms.Compose([
                       transforms.RandomRotation(10),
                       transforms.RandomAffine(0, translate=(0.1, 0.1)),
                       transforms.ToTensor(),
                       transforms.Normalize((0.1307,), (0.3081,))
                   ])),
    batch_size=batch_size, shuffle=True, **kwargs)
test_loader = torch.utils.data.DataLoader(
    datasets.MNIST("../data", train=False, transform=transforms.Compose([
                       transforms.ToTensor(),
                       transforms.Normalize((0.1307,), (0.3081,))
                   ])),
    batch_size=batch_size, shuffle=True, **kwargs)""",
    """\
model = Net().to(device)
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)""",
    """\
def train(model, device, train_loader, optimizer, epoch):
    model.train()
    bar = tqdm(train_loader)
    for number, (images, labels) in enumerate(bar):
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        output = model(images)
        loss = F.nll_loss(output, labels)
        loss.backward()
        optimizer.step()
        bar.set_description(desc=f"loss={loss.item()} batch={number}")
    scheduler.step()

def test(model, device, test_loader):
    model.eval()
    test_loss, right = 0, 0
    with torch.no_grad():
        for images, labels in test_loader:
            images, labels = images.to(device), labels.to(device)
            output = model(images)
            test_loss += F.nll_loss(output, labels, reduction="sum").item()
            answers = output.argmax(dim=1, keepdim=True)
            right += answers.eq(labels.view_as(answers)).sum().item()
    test_loss /= len(test_loader.dataset)
    print(f"loss {test_loss:.4f}, {right}/{len(test_loader.dataset)}")""",
    """\
for epoch in range(1, 21):
    train(model, device, train_loader, optimizer, epoch)
    test(model, device, test_loader)""",
]

DOCUMENTS = {
    "000 at the start": DOCUMENT_000_START,
    "000 at the end": DOCUMENT_000_END,
    "002": DOCUMENT_002,
    "003, early": DOCUMENT_003_EARLY,
    "003, late": DOCUMENT_003_LATE,
    "004": DOCUMENT_004,
}


def write_notebook(path: Path, cells: Sequence[str], *, nbformat: int = 4) -> Path:
    """The cells as a notebook file, each after a cell of text, in format 4 or 3."""
    name = "source" if nbformat == 4 else "input"
    made = []
    for cell in cells:
        made.append({"cell_type": "markdown", "metadata": {}, "source": ["# *a title*"]})
        made.append({"cell_type": "code", "metadata": {}, "outputs": [], name: cell.splitlines(keepends=True)})
    tables: dict[str, object] = {"nbformat": nbformat, "nbformat_minor": 0, "metadata": {}}
    tables |= {"cells": made} if nbformat == 4 else {"worksheets": [{"cells": made}]}
    path.write_text(json.dumps(tables), encoding="utf-8")
    return path
