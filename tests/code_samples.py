"""A sound training script, and the ways in which each fault is put into it; a mark (# CD01) is where it must be found.

All of it is text that is only ever read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HEALTHY = """\
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Subset, random_split
from torchvision import datasets, transforms
from tqdm import tqdm

torch.manual_seed(7)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

train_transform = transforms.Compose([
    transforms.RandomRotation(10, fill=0),
    transforms.ToTensor(),
    transforms.Normalize((0.1307,), (0.3081,)),
])
test_transform = transforms.Compose([
    transforms.ToTensor(),
    transforms.Normalize((0.1307,), (0.3081,)),
])

train_data = datasets.MNIST("data", train=True, download=True, transform=train_transform)
clean_data = datasets.MNIST("data", train=True, download=True, transform=test_transform)
order = torch.randperm(len(train_data))
part_data = Subset(train_data, order[:50000])
val_data = Subset(clean_data, order[50000:])
test_data = datasets.MNIST("data", train=False, transform=test_transform)

options = dict(batch_size=128, num_workers=2)
train_loader = DataLoader(part_data, shuffle=True, **options)
val_loader = DataLoader(val_data, **options)
test_loader = DataLoader(test_data, **options)


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(16 * 12 * 12, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.drop(torch.flatten(x, 1))
        return self.out(x)


def right_answers(output, target):
    return output.argmax(dim=1).eq(target).sum().item()


def train(model, device, train_loader, optimizer, criterion):
    model.train()
    total, correct = 0.0, 0
    bar = tqdm(train_loader)
    for step, (data, target) in enumerate(bar):
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        output = model(data)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(data)
        correct += right_answers(output, target)
        bar.set_description(f"batch {step} loss {loss.item():.4f}")
    train_losses.append(total / len(train_loader.dataset))
    train_accuracies.append(100 * correct / len(train_loader.dataset))


def test(model, device, test_loader):
    model.eval()
    total, correct = 0.0, 0
    with torch.no_grad():
        for data, target in test_loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            total += F.cross_entropy(output, target, reduction="sum").item()
            correct += right_answers(output, target)
    total /= len(test_loader.dataset)
    accuracy = 100.0 * correct / len(test_loader.dataset)
    print(f"loss {total:.4f}, {correct} of {len(test_loader.dataset)} ({accuracy:.2f} %)")
    return total, accuracy


train_losses, train_accuracies, test_accuracies = [], [], []
model = Digits().to(device)
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = StepLR(optimizer, step_size=5, gamma=0.5)
criterion = nn.CrossEntropyLoss()
best_val = 0.0
for epoch in range(1, 21):
    train(model, device, train_loader, optimizer, criterion)
    val_loss, val_accuracy = test(model, device, val_loader)
    scheduler.step()
    if val_accuracy > best_val:
        best_val = val_accuracy
        torch.save(model.state_dict(), "best.pt")
test_loss, test_accuracy = test(model, device, test_loader)
test_accuracies.append(test_accuracy)
"""

MARK = re.compile(r"# ((?:CD\d\d ?)+)$")

# Each: the code, and what is replaced by what. A code may be there more than once, for its other forms.
CHANGES: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "CD01",
        [
            (
                'MNIST("data", train=False, transform=test_transform)',
                'MNIST("data", train=True, transform=test_transform)  # CD01',
            )
        ],
    ),
    (
        "CD01",
        [("test_loader = DataLoader(test_data, **options)", "test_loader = DataLoader(clean_data, **options)  # CD01")],
    ),
    (
        "CD01",
        [
            (
                'MNIST("data", train=False, transform=test_transform)',
                'MNIST("data", True, transform=test_transform)  # CD01',
            )
        ],
    ),
    (
        "CD01",
        [
            (
                "test_loader = DataLoader(test_data, **options)",
                'test_loader = DataLoader(\n    datasets.SVHN("data",\n        split="train",  # CD01\n    ),\n)',
            )
        ],
    ),
    (
        "CD02",
        [
            (
                "test_accuracy = test(model, device, test_loader)",
                "test_accuracy = test(model, device, train_loader)  # CD02",
            ),
        ],
    ),
    (
        "CD02",
        [
            (
                "test_loss, test_accuracy = test(model, device, test_loader)",
                "print(test(model, device, train_loader))  # CD02",
            ),
            ("    val_loss, val_accuracy = test(model, device, val_loader)\n", ""),
            (
                "    if val_accuracy > best_val:\n        best_val = val_accuracy\n        torch.save"
                '(model.state_dict(), "best.pt")\n',
                "",
            ),
        ],
    ),
    ("CD03", [("train=False, transform=test_transform)", "train=False, transform=train_transform)  # CD03")]),
    (
        "CD03",
        [
            (
                "test_transform = transforms.Compose([",
                "test_transform = transforms.Compose([\n    transforms.ColorJitter(0.1),",
            ),
            ("train=False, transform=test_transform)", "train=False, transform=test_transform)  # CD03"),
            ("val_data = Subset(clean_data, order[50000:])", "val_data = Subset(clean_data, order[50000:])  # CD04"),
        ],
    ),
    (
        "CD04",
        [
            (
                "part_data = Subset(train_data, order[:50000])\nval_data = Subset(clean_data, order[50000:])",
                "part_data, val_data = random_split(train_data, [50000, 10000])  # CD04",
            )
        ],
    ),
    (
        "CD04",
        [("val_data = Subset(clean_data, order[50000:])", "val_data = Subset(train_data, order[50000:])  # CD04")],
    ),
    (
        "CD04",
        [
            (
                "DataLoader(part_data, shuffle=True, **options)",
                "DataLoader(train_data, sampler=SubsetRandomSampler(order[:50000]), **options)",
            ),
            (
                "DataLoader(val_data, **options)",
                "DataLoader(train_data, sampler=SubsetRandomSampler(order[50000:]))  # CD04",
            ),
        ],
    ),
    (
        "CD05",
        [
            (
                "part_data = Subset(train_data, order[:50000])\nval_data = Subset(clean_data, order[50000:])",
                "part_data, val_data = random_split(train_data, [50000, 10000])\n"
                "val_data.dataset.transform = test_transform  # CD05",
            ),
        ],
    ),
    (
        "CD05",
        [
            (
                "part_data = Subset(train_data, order[:50000])\nval_data = Subset(clean_data, order[50000:])",
                "halves = random_split(clean_data, [50000, 10000])\npart_data, val_data = halves[0], halves[1]\n"
                "part_data.dataset.transform = train_transform  # CD05",
            ),
        ],
    ),
    (
        "CD06",
        [
            ("train=False, transform=test_transform)", "train=False, transform=other)"),
            (
                "test_data = ",
                "other = transforms.Compose([\n    transforms.ToTensor(),\n"
                "    transforms.Normalize((0.14,), (0.41,)),  # CD06\n])\ntest_data = ",
            ),
        ],
    ),
    ("CD06", [("train=False, transform=test_transform)", "train=False, transform=transforms.ToTensor())  # CD06")]),
    (
        "CD07",
        [
            (
                "train_loader = DataLoader(part_data, shuffle=True, **options)",
                "train_loader = DataLoader(part_data, **options)  # CD07",
            )
        ],
    ),
    (
        "CD07",
        [
            (
                "train_loader = DataLoader(part_data, shuffle=True, **options)",
                "train_loader = DataLoader(part_data, shuffle=False, **options)  # CD07",
            )
        ],
    ),
    (
        "CD08",
        [
            ("torch.manual_seed(7)\n", ""),
            (
                "part_data = Subset(train_data, order[:50000])\nval_data = Subset(clean_data, order[50000:])",
                "part_data, val_data = random_split(clean_data, [50000, 10000])  # CD08\ntorch.manual_seed(7)",
            ),
        ],
    ),
    ("CD09", [("torch.manual_seed(7)\n", ""), ("model = Digits().to(device)", "model = Digits().to(device)  # CD09")]),
    ("CD10", [("criterion = nn.CrossEntropyLoss()", 'criterion = nn.CrossEntropyLoss(reduction="sum")  # CD10')]),
    ("CD10", [("criterion = nn.CrossEntropyLoss()", "criterion = nn.CrossEntropyLoss(size_average=False)  # CD10")]),
    ("CD10", [("loss = criterion(output, target)", 'loss = F.cross_entropy(output, target, reduction="sum")  # CD10')]),
    ("CD11", [("        return self.out(x)", "        return F.softmax(self.out(x), dim=1)  # CD11")]),
    (
        "CD11",
        [
            (
                "self.out = nn.Linear(16 * 12 * 12, 10)",
                "self.out = nn.Sequential(nn.Linear(16 * 12 * 12, 10), nn.Softmax(dim=1))  # CD11",
            ),
        ],
    ),
    (
        "CD11",
        [
            (
                "        loss = criterion(output, target)",
                "        loss = criterion(torch.softmax(output, dim=1), target)  # CD11",
            )
        ],
    ),
    ("CD12", [("loss = criterion(output, target)", "loss = F.nll_loss(output, target)  # CD12")]),
    (
        "CD12",
        [
            ("criterion = nn.CrossEntropyLoss()", "criterion = nn.NLLLoss()"),
            ("        loss = criterion(output, target)", "        loss = criterion(output, target)  # CD12"),
        ],
    ),
    ("CD13", [("        return self.out(x)", "        return F.log_softmax(self.out(x), dim=1)  # CD13")]),
    ("CD14", [("        optimizer.zero_grad()\n", ""), ("        loss.backward()", "        loss.backward()  # CD14")]),
    (
        "CD14",
        [
            ("        optimizer.zero_grad()\n", ""),
            ("    model.train()\n", "    model.train()\n    optimizer.zero_grad()\n"),
            ("        loss.backward()", "        loss.backward()  # CD14"),
        ],
    ),
    (
        "CD15",
        [
            ("        optimizer.zero_grad()\n", ""),
            ("        optimizer.step()", "        optimizer.zero_grad()\n        optimizer.step()  # CD15"),
        ],
    ),
    (
        "CD15",
        [
            ("        optimizer.zero_grad()\n", "        optimizer.zero_grad()\n        optimizer.step()  # CD15\n"),
            ("        loss.backward()\n        optimizer.step()\n", "        loss.backward()\n"),
        ],
    ),
    ("CD16", [("        loss.backward()\n", ""), ("        optimizer.step()", "        optimizer.step()  # CD16")]),
    (
        "CD17",
        [
            ("        loss.backward()\n        optimizer.step()", "        loss.backward()  # CD17"),
            ("scheduler = StepLR(optimizer, step_size=5, gamma=0.5)\n", ""),
            ("    scheduler.step()\n", ""),
        ],
    ),
    (
        "CD18",
        [
            (
                "criterion = nn.CrossEntropyLoss()",
                "criterion = nn.CrossEntropyLoss()\nmodel = Digits().to(device)  # CD18",
            )
        ],
    ),
    (
        "CD19",
        [
            ("    scheduler.step()\n", ""),
            (
                "    train(model, device, train_loader",
                "    scheduler.step()  # CD19\n    train(model, device, train_loader",
            ),
        ],
    ),
    (
        "CD20",
        [("    scheduler.step()\n", ""), ("step_size=5, gamma=0.5)", "step_size=5, gamma=0.5)  # CD20")],
    ),
    (
        "CD21",
        [
            ("    model.eval()\n", ""),
            ("        for data, target in test_loader:", "        for data, target in test_loader:  # CD21"),
        ],
    ),
    (
        "CD22",
        [
            ("    with torch.no_grad():\n", "    if True:\n"),
            ("        for data, target in test_loader:", "        for data, target in test_loader:  # CD22"),
        ],
    ),
    (
        "CD23",
        [
            (
                "    accuracy = 100.0 * correct / len(test_loader.dataset)",
                "    accuracy = 100.0 * correct / len(test_loader)  # CD23",
            )
        ],
    ),
    (
        "CD23",
        [
            (
                "train_accuracies.append(100 * correct / len(train_loader.dataset))",
                "train_accuracies.append(correct / len(train_loader))  # CD23",
            )
        ],
    ),
    (
        "CD24",
        [
            (
                'total += F.cross_entropy(output, target, reduction="sum").item()',
                "total += F.cross_entropy(output, target).item()",
            ),
            ("    total /= len(test_loader.dataset)", "    total /= len(test_loader.dataset)  # CD24"),
        ],
    ),
    (
        "CD24",
        [
            ("total += loss.item() * len(data)", "total += loss.item()"),
            (
                "    train_losses.append(total / len(train_loader.dataset))",
                "    train_losses.append(total / len(train_loader.dataset))  # CD24",
            ),
        ],
    ),
    (
        "CD25",
        [
            (
                "    train_losses.append(total / len(train_loader.dataset))",
                "    train_losses.append(loss.item())  # CD25",
            )
        ],
    ),
    (
        "CD25",
        [
            ("    train_losses.append(total / len(train_loader.dataset))\n", ""),
            (
                "    train_accuracies.append(100 * correct / len(train_loader.dataset))",
                "    return loss.item(), correct  # CD25",
            ),
        ],
    ),
    (
        "CD26",
        [
            (
                "val_loss, val_accuracy = test(model, device, val_loader)",
                "test_loss, test_accuracy = test(model, device, test_loader)",
            ),
            (
                "    if val_accuracy > best_val:\n        best_val = val_accuracy",
                "    if test_accuracy > best_val:  # CD26\n        best_val = test_accuracy",
            ),
        ],
    ),
    (
        "CD26",
        [
            (
                "test_accuracies.append(test_accuracy)",
                "test_accuracies.append(test_accuracy)\nprint(max(test_accuracies))  # CD26",
            )
        ],
    ),
    (
        "CD26",
        [
            (
                "    return total, accuracy",
                "    if accuracy > best:  # CD26\n        best = accuracy\n    return total, accuracy",
            ),
            ("    val_loss, val_accuracy = test(model, device, val_loader)", "    val_loss, val_accuracy = 0, 0"),
        ],
    ),
    (
        "CD27",
        [
            ("        total += loss.item() * len(data)", "        total += loss  # CD27"),
            ("append(total / len(train_loader.dataset))", "append(total / len(train_loader))"),
        ],
    ),
    ("CD28", [("x = F.max_pool2d(F.relu(self.conv2(x)), 2)", "x = F.relu(self.conv2(x), 2)  # CD28")]),
    ("CD29", [("x = self.drop(torch.flatten(x, 1))", "x = self.drop(F.dropout(torch.flatten(x, 1), 0.2))  # CD29")]),
    (
        "CD30",
        [
            (
                "        self.drop = nn.Dropout(0.1)",
                "        self.drop = nn.Dropout(0.1)\n        self.conv3 = nn.Conv2d(16, 16, 3)  # CD30",
            )
        ],
    ),
    (
        "CD30",
        [
            ("        x = F.relu(self.norm1(self.conv1(x)))", "        x = F.relu(self.conv1(x))"),
            ("        self.norm1 = nn.BatchNorm2d(8)", "        self.norm1 = nn.BatchNorm2d(8)  # CD30"),
        ],
    ),
]


def changed(text: str, changes: Iterable[tuple[str, str]]) -> str:
    """The text with each change made once; a change that is not possible is a mistake of the test."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def marks(text: str) -> set[tuple[str, int]]:
    """The codes that a text is marked with, and the lines of the marks."""
    return {
        (code, number)
        for number, line in enumerate(text.split("\n"), 1)
        for found in [MARK.search(line)]
        if found
        for code in found[1].split()
    }
