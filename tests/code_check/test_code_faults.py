"""Faults in somebody's code are named at their lines, and sound code is left alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from code_kinds import WRONG
from code_samples import CHANGES, HEALTHY, changed, marks
from course_notebooks import DOCUMENTS, write_notebook
from flyweight.code_check.reading import read_code
from flyweight.code_check.table import FAULTS
from flyweight.doctor.finding import SEVERITIES

LOOP = """\
import torch
torch.manual_seed(0)
for epoch in range(3):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
"""

# Sound code that looks like a fault to a reader in a hurry.
SOUND = {
    "gradients are accumulated": """\
for step, (x, y) in enumerate(train_loader):
    loss = F.cross_entropy(model(x), y) / 4
    loss.backward()
    if (step + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
""",
    "a sum is divided before backward": """\
for x, y in train_loader:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y, reduction="sum")
    loss = loss / len(x)
    loss.backward()
    optimizer.step()
""",
    "a phase decides": """\
for phase in ["train", "val"]:
    model.train(phase == "train")
    running, right = 0.0, 0
    for x, y in loaders[phase]:
        optimizer.zero_grad()
        with torch.set_grad_enabled(phase == "train"):
            output = model(x)
            loss = criterion(output, y)
            if phase == "train":
                loss.backward()
                optimizer.step()
        running += loss.item() * x.size(0)
        right += torch.sum(output.argmax(1) == y.data)
    print(running / sizes[phase], right.double() / sizes[phase])
""",
    "the accuracy on training images is named so": """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.layers = nn.ModuleList([nn.Linear(4, 4)])

    def forward(self, x):
        for layer in self.layers:
            x = self.drop(layer(x))
        return x

@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    right = total = 0
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()
        total += y.size(0)
    return right / total

model = Net()
train_accuracy = accuracy(model, train_loader)
test_accuracy = accuracy(model, test_loader)
history["train_acc"].append(accuracy(model, train_loader))
""",
    "shares of batches are averaged": """\
def evaluate(model, loader):
    model.eval()
    share = 0.0
    with torch.inference_mode():
        for x, y in loader:
            share += (model(x).argmax(1) == y).sum().item() / len(y)
    return share / len(loader)
""",
    "means of batches are averaged": """\
def evaluate(model, loader):
    model.eval()
    share, loss = 0.0, 0.0
    with torch.no_grad():
        for x, y in loader:
            share += (model(x).argmax(1) == y).float().mean().item()
            loss += F.cross_entropy(model(x), y).item()
    return share / len(loader), loss / len(loader)
""",
    "validation chooses, the test result is only printed": """\
for epoch in range(9):
    val_acc = evaluate(model, val_loader)
    test_acc = evaluate(model, test_loader)
    if val_acc > best_val_acc:
        best_val_acc = val_acc
        best_test_acc = test_acc
""",
    "validation images of the training file, through a transform of their own": """\
train_full = datasets.CIFAR10("d", train=True, transform=transforms.Compose([transforms.RandomCrop(32, 4), to]))
val_full = datasets.CIFAR10("d", train=True, transform=transforms.Compose([to]))
val_data = Subset(val_full, indices[45000:])
val_loader = DataLoader(val_data, 256)
""",
    "the part of a split is copied before its transform is set": """\
train_data, val_data = random_split(MNIST("d", train=True, transform=augment), [5, 1], generator=g)
val_data.dataset = copy.copy(val_data.dataset)
val_data.dataset.transform = plain
""",
    "options are changed later": """\
train_options = {"batch_size": 8, "shuffle": False}
train_options.update(cuda_options)
train_loader = DataLoader(MNIST("d", train=True, transform=to), **train_options)
"""
    + LOOP,
    "a stream cannot be shuffled": """\
class Stream(IterableDataset):
    pass
train_loader = DataLoader(Stream(), batch_size=8)
"""
    + LOOP,
    "a sampler shuffles": """\
train_loader = DataLoader(MNIST("d", train=True, transform=to), sampler=RandomSampler(d))
"""
    + LOOP,
    "two nets against each other": """\
for real, _ in train_loader:
    netD.zero_grad()
    lossD = criterion(netD(real), ones)
    lossD.backward()
    optimizerD.step()
    netG.zero_grad()
    lossG = criterion(netD(netG(noise)), ones)
    lossG.backward()
    optimizerG.step()
    totalG += lossG.item()
""",
    "losses are joined before backward": """\
for x, y in train_loader:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    total = 0.1 * penalty
    total += loss
    total.backward()
    optimizer.step()
""",
    "the whole set in one batch": """\
losses = []
for epoch in range(100):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x_train), y_train)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
""",
    "a step in a function of its own": """\
def step(model, x, y, optimizer):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()

for x, y in train_loader:
    total += step(model, x, y, optimizer)
""",
    "a closure is given to the optimizer": """\
optimizer = optim.LBFGS(model.parameters())
for x, y in train_loader:
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss
    optimizer.step(closure)
""",
    "a net is shown before it is made": """\
model = Net()
summary(model, (1, 28, 28))
model = Net()
optimizer = optim.SGD(model.parameters(), lr=0.1)
"""
    + LOOP
    + """\
model = Net()
model.load_state_dict(torch.load("best.pt"))
""",
    "a layer is reached by a child, by another object or by a loop": """\
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.tail = nn.Linear(4, 2)

    def forward(self, x):
        return x

class Child(Base):
    def forward(self, x):
        return self.head(x)

print(Child().tail.weight)

class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x
""",
    "the caller sets the mode": """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return F.dropout(self.drop(x), 0.2, self.training)

def count(model, loader):
    right = 0
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()
    return right

def report(model):
    model.eval()
    with torch.no_grad():
        return count(model, test_loader)

report(Net())
""",
    "images, batches and shares are each divided by their own count": """\
def train(dataloader, model, loss_fn, optimizer):
    model.train()
    for batch, (x, y) in enumerate(dataloader):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 100 == 0:
            loss, current = loss.item(), (batch + 1) * len(x)
            print(loss, current)

def test(dataloader, model, loss_fn):
    size = len(dataloader.dataset)
    n_batches = len(dataloader)
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for x, y in dataloader:
            test_loss += loss_fn(model(x), y).item()
            correct += (model(x).argmax(1) == y).type(torch.float).sum().item()
    test_loss /= n_batches
    correct /= size
    return correct / len(dataloader) / 64

loss_fn = nn.CrossEntropyLoss()
train(train_dataloader, model, loss_fn, optimizer)
test(test_dataloader, model, loss_fn)
""",
    "a function in the function that sets the mode, meters, scaled gradients": """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(x)

def train(train_loader, model, criterion, optimizer):
    losses = Meter()
    model.train()
    for images, target in train_loader:
        with autocast():
            output = model(images)
            loss = criterion(output, target)
        losses.update(loss.item(), images.size(0))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

def validate(val_loader, model, criterion):
    def run(loader):
        with torch.no_grad():
            for images, target in loader:
                output = model(images)
                losses.update(criterion(output, target).item(), images.size(0))
                best1.update(output.argmax(1).eq(target).float().mean())
    model.eval()
    run(val_loader)
    return best1.average

normalize = transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
train_dataset = datasets.ImageFolder(traindir, transforms.Compose([transforms.RandomHorizontalFlip(), normalize]))
val_dataset = datasets.ImageFolder(valdir, transforms.Compose([transforms.CenterCrop(224), normalize]))
train_loader = DataLoader(train_dataset, batch_size=256, shuffle=(train_sampler is None), sampler=train_sampler)
val_loader = DataLoader(val_dataset, batch_size=256, shuffle=False)
model = torch.nn.DataParallel(Net()).cuda()
scheduler = StepLR(optimizer, step_size=30, gamma=0.1)
for epoch in range(90):
    train(train_loader, model, criterion, optimizer)
    acc1 = validate(val_loader, model, criterion)
    scheduler.step()
    is_best = acc1 > best_acc1
    best_acc1 = max(acc1, best_acc1)
""",
    "a parent has the way, the child the layer": """\
class Frame(nn.Module):
    def ends(self, x):
        return self.head(x)

class Net(Frame):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.ends(x)

class Known(SomeoneElses):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.run(x)
""",
    "no learning at all": "import pandas as pd\ntable = pd.read_csv('train.csv')\nprint(table.max(), max([1, 2]))\n",
}


def found(path):
    return {(finding.code, finding.line) for finding in read_code(path).findings}


def test_a_sound_script_has_no_finding(tmp_path):
    """A correct script has no finding, not even a note."""
    path = tmp_path / "sound.py"
    path.write_text(HEALTHY, encoding="utf-8")

    reading = read_code(path)

    assert reading.findings == ()
    assert (reading.n_cells, reading.n_lines) == (0, len(HEALTHY.splitlines()))


@pytest.mark.parametrize(
    ("code", "changes"), CHANGES, ids=[f"{code}-{number}" for number, (code, _) in enumerate(CHANGES)]
)
def test_a_fault_is_found_where_it_is_and_nothing_else(tmp_path, code, changes):
    """A sound script with one fault put into it gives this fault at its line; without it there was none."""
    text = changed(HEALTHY, changes)
    path = tmp_path / "faulty.py"
    path.write_text(text, encoding="utf-8")

    findings = found(path)

    assert code in {one for one, _ in marks(text)}
    assert findings == marks(text)


def test_every_fault_has_a_sample():
    """The samples above are of all the faults of the table, and the table has no code twice."""
    codes = [one.code for one in FAULTS]

    assert len(FAULTS) == len(set(codes)) == 61
    assert {code for code, _ in [*CHANGES, *WRONG]} == set(codes)
    assert codes == sorted(codes)


@pytest.mark.parametrize("name", SOUND)
def test_sound_code_raises_no_alarm(tmp_path, name):
    """What is right in a way of its own is not reported as more than a note."""
    path = tmp_path / "sound.py"
    path.write_text(SOUND[name], encoding="utf-8")

    assert [str(finding) for finding in read_code(path).alarms] == []


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("nbformat", [4, 3])
def test_the_faults_of_the_documents_are_named(tmp_path, name, nbformat):
    """A notebook with the faults of a document has exactly these findings, in the right cells and lines."""
    cells = DOCUMENTS[name]
    expected = {(code, number, line) for number, cell in enumerate(cells, 1) for code, line in marks(cell)}

    reading = read_code(write_notebook(tmp_path / "document.ipynb", cells, nbformat=nbformat))

    assert {(one.code, one.cell, one.line) for one in reading.findings} == expected
    assert reading.n_cells == len(cells)
    assert reading.skipped == ()
    assert len(DOCUMENTS) == 6
    assert len(expected) >= 2


def test_a_summed_loss_names_the_effective_learning_rate(tmp_path):
    """lr times batch size where both are known; a note where the optimizer does not depend on the scale."""
    text = changed(HEALTHY, [("nn.CrossEntropyLoss()", 'nn.CrossEntropyLoss(reduction="sum")')])
    adam = changed(text, [("optim.SGD(model.parameters(), lr=0.05, momentum=0.9)", "optim.Adam(model.parameters())")])
    small = changed(text, [("lr=0.05", "lr=0.0005")])
    unknown = changed(text, [("lr=0.05", "lr=args.lr")])
    findings = []
    for number, one in enumerate([text, adam, small, unknown]):
        path = tmp_path / f"{number}.py"
        path.write_text(one, encoding="utf-8")
        findings += read_code(path).findings

    assert [finding.code for finding in findings] == ["CD10"] * 4
    assert [finding.severity for finding in findings] == ["fault", "note", "warning", "fault"]
    assert findings[0].detail == "lr 0.05 x batch size 128 is an effective lr of 6.4"
    assert findings[0].fix == "nn.CrossEntropyLoss()"


def test_every_rule_has_an_explanation_for_learners():
    """Each fault has three sentences, a title and one of the severities; titles and codes are unique."""
    for one in FAULTS:
        sentences = re.split(r"[.;]?(?<=[a-z)%])\. +(?=[A-Z_a-z])", one.explanation)
        assert len(sentences) == 3, one.explanation
        assert one.explanation.endswith(".")
        assert one.severity in SEVERITIES

    assert len({one.title for one in FAULTS}) == len({one.code for one in FAULTS}) == len(FAULTS)


def test_the_worst_comes_first_and_then_the_first(tmp_path):
    """Findings are in the order of severity and then of cell and line, and read well as a line."""
    findings = read_code(write_notebook(tmp_path / "document.ipynb", DOCUMENTS["002"])).findings
    order = [(SEVERITIES.index(finding.severity), finding.cell, finding.line) for finding in findings]

    assert order == sorted(order)
    assert findings[0].place == "cell 3, line 2"
    assert str(findings[0]) == "CD01 cell 3, line 2: the test set is the training set"
    assert findings[0].text.startswith("test_data = datasets.MNIST(")
    assert findings[0].fix == (
        "test_data = datasets.MNIST('../data', train=False, download=True, transform=train_transform)"
    )


@given(st.data())
def test_cells_and_magics_move_no_finding(tmp_path_factory, data):
    """A script cut into cells anywhere between its statements, with magics in between, has the same findings."""
    _, changes = data.draw(st.sampled_from(CHANGES))
    text = changed(HEALTHY, changes).split("\n")
    starts = [n for n, line in enumerate(text) if n and line[:1].isalpha() and not line.startswith(("else", "def"))]
    cuts = sorted(data.draw(st.sets(st.sampled_from(starts), min_size=1, max_size=6)))
    magics = data.draw(st.sampled_from(["%matplotlib inline", "!pip install x \\\n  y", "%%time", "model?", "a = !ls"]))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    cells = ["\n".join([magics, *piece]) for piece in pieces]
    expected = {(code, number, line) for number, cell in enumerate(cells, 1) for code, line in marks(cell)}

    reading = read_code(write_notebook(tmp_path_factory.mktemp("cut") / "cut.ipynb", cells))

    assert {(one.code, one.cell, one.line) for one in reading.findings} == expected
    assert reading.skipped == ()
