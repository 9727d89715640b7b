"""Programs with the kinds of fault that span several lines, and right ones of the same kind; only ever read."""

from __future__ import annotations

# For each code: programs with the fault at the marked lines, and programs that only look like it.
LOOP = """\
for epoch in range(20):
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
"""

WRONG: list[tuple[str, str]] = [
    ("CD31", "model.eval  # CD31\n"),
    ("CD31", "class A:\n    def test(self):\n        self.net.eval  # CD31\n"),
    ("CD31", LOOP.replace("optimizer.step()", "optimizer.step  # CD31")),
    (
        "CD32",
        """\
for i, (x, y) in enumerate(loader):
    opt.zero_grad(set_to_none=True)  # CD32
    (criterion(model(x), y) / accum_steps).backward()
    if (i + 1) % accum_steps == 0 or i + 1 == len(loader):
        opt.step()
        sched.step()
""",
    ),
    (
        "CD33",
        """\
steps = len(train_dl) * n_epochs
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

def one_pass(dl):
    for x, y in dl:
        optimizer.zero_grad()
        criterion(net(x), y).backward()
        optimizer.step()

for epoch in range(n_epochs):
    one_pass(train_dl)
    schedule.step()  # CD33
""",
    ),
    (
        "CD33",
        """\
class Learner:
    def __init__(self, net, cfg):
        self.opt = torch.optim.SGD(net.parameters(), 0.1)
        self.plan = CosineAnnealingLR(self.opt, T_max=cfg.num_epochs)

    def learn_from(self, x, y):
        self.opt.zero_grad()
        self.criterion(self.net(x), y).backward()
        self.opt.step()
        self.plan.step()  # CD33

    def run(self):
        for _ in range(self.cfg.num_epochs):
            for x, y in self.batches:
                self.learn_from(x, y)
""",
    ),
    (
        "CD34",
        """\
plateau = optim.lr_scheduler.ReduceLROnPlateau(opt, mode="max", patience=3)  # CD34
for epoch in range(9):
    val_loss = evaluate(net)
    plateau.step(val_loss)
""",
    ),
    ("CD34", "s = ReduceLROnPlateau(opt)  # CD34\nfor e in range(9):\n    s.step(metrics['val_f1'])\n"),
    (
        "CD35",
        """\
backbone = torchvision.models.vgg16(weights="DEFAULT")
trainable = filter(lambda p: p.requires_grad, backbone.parameters())
adam = torch.optim.Adam(trainable, 1e-4)
backbone.classifier[6] = nn.Linear(4096, 5)  # CD35
""",
    ),
    (
        "CD36",
        """\
def run(net, batches, n_epochs):
    for epoch in range(n_epochs):
        adam = torch.optim.Adam(net.parameters(), 1e-3)  # CD36
        for x, y in batches:
            adam.zero_grad()
            F.cross_entropy(net(x), y).backward()
            adam.step()
""",
    ),
    (
        "CD37",
        """\
def run(net, batches, n_epochs):
    for epoch in range(n_epochs):
        torch.manual_seed(SEED)  # CD37
        for x, y in batches:
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
""",
    ),
    (
        "CD38",
        """\
model = Net()
adam = torch.optim.Adam(model.parameters())

def learn(part):
    for x, y in part:
        adam.zero_grad()
        F.cross_entropy(model(x), y).backward()
        adam.step()

def cross_validate(data, n_epochs):
    cutter = StratifiedKFold(5, shuffle=True, random_state=0)
    for tr, va in cutter.split(data.x, data.y):  # CD38
        for epoch in range(n_epochs):
            learn(DataLoader(Subset(data, tr), 32, shuffle=True))
        print(score(model, Subset(data, va)))

class Net(nn.Module):
    pass
""",
    ),
    (
        "CD38",
        """\
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
for weight_decay in (0.0, 1e-4, 1e-3):  # CD38
    sgd = torch.optim.SGD(net.parameters(), 0.1, weight_decay=weight_decay)
    for epoch in range(5):
        for x, y in batches:
            sgd.zero_grad()
            F.cross_entropy(net(x), y).backward()
            sgd.step()
    print(weight_decay, accuracy(net, val_loader))
""",
    ),
    (
        "CD39",
        """\
grad_scaler = torch.amp.GradScaler("cuda")

def step(x, y):
    optimizer.zero_grad()
    grad_scaler.scale(criterion(model(x), y)).backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.5)  # CD39
    grad_scaler.step(optimizer)
    grad_scaler.update()
""",
    ),
    (
        "CD40",
        """\
def fit(model, n):
    top, kept = 0.0, None
    for epoch in range(n):
        acc = validate(model)
        if acc > top:
            top, kept = acc, model.state_dict()  # CD40
    model.load_state_dict(kept)
    return model
""",
    ),
    (
        "CD40",
        "for e in range(9):\n    if acc >= best:\n        best, best_model = acc, model\n"
        "        best_net = model  # CD40\ntest(best_net)\n",
    ),
    (
        "CD41",
        """\
class Tower(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.stages = []  # CD41
        for a, b in zip(widths, widths[1:]):
            self.stages.append(nn.Conv2d(a, b, 3))

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return x
""",
    ),
    ("CD41", "class N(nn.Module):\n    def __init__(self):\n        self.heads = {'a': nn.Linear(4, 2)}  # CD41\n"),
    (
        "CD42",
        """\
divergence = nn.KLDivLoss(reduction="batchmean")
def distil(student, teacher, x):
    mine = (student(x) / 4).softmax(1)
    return divergence(mine, torch.softmax(teacher(x) / 4, 1))  # CD42
""",
    ),
    ("CD42", "loss = F.kl_div(F.log_softmax(s, 1), F.log_softmax(t, 1), reduction='batchmean')  # CD42\n"),
    (
        "CD43",
        "pixels = np.asarray([np.array(Image.open(p)) for p in paths])\n"
        "x = torch.tensor(pixels).view(-1, 3, 32, 32)  # CD43\n",
    ),
    ("CD43", "C = 3\nimage = skimage.io.imread(path)\nimage = np.reshape(image, (C, 64, 64))  # CD43\n"),
    (
        "CD43",
        "raw = datasets.CIFAR10('d').data\n"
        "x = torch.from_numpy(datasets.CIFAR10('d').data).reshape((50000, 3, 32, 32))  # CD43\n",
    ),
    (
        "CD44",
        """\
net = models.mobilenet_v2()
slow = copy.deepcopy(net)
for epoch in range(9):
    for x, y in batches:
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
        with torch.no_grad():
            for mean, now in zip(slow.parameters(), net.parameters()):  # CD44
                mean.lerp_(now, 0.001)
""",
    ),
    (
        "CD45",
        """\
teacher_net = torch.load("large.pt")
for x, y in batches:
    with torch.no_grad():
        wanted = teacher_net(x)  # CD45
    opt.zero_grad()
    F.mse_loss(student(x), wanted).backward()
    opt.step()
""",
    ),
    (
        "CD46",
        """\
for x, y in batches:
    mixed, first, second, share = cutmix(x, y)  # CD46
    opt.zero_grad()
    criterion(model(mixed), first).backward()
    opt.step()
""",
    ),
    (
        "CD47",
        """\
net = nn.DataParallel(Net())
torch.save({"net": net.state_dict()}, "a.pt")
plain = Net()
plain.load_state_dict(torch.load("a.pt")["net"], strict=False)  # CD47
""",
    ),
    ("CD48", "train_x, val_x = x[:9000], x[8000:]  # CD48\n"),
    (
        "CD48",
        "order = np.random.permutation(100)\n"
        "train_part = Subset(ds, order[:80])\n"
        "\n"
        "test_part = Subset(ds, order[70:100])  # CD48\n",
    ),
    ("CD49", "scale = MinMaxScaler().fit(rows)  # CD49\nrows = scale.transform(rows)\na, b = train_test_split(rows)\n"),
    (
        "CD49",
        "pipe = make_pipeline(StandardScaler(), PCA(9))\nz = pipe.fit_transform(flat)  # CD49\n"
        "train_x, test_x, train_y, test_y = train_test_split(z, y, test_size=0.1)\n",
    ),
    ("CD50", "x2, y2 = RandomOverSampler().fit_resample(x, y)  # CD50\na, b, c, d = train_test_split(x2, y2)\n"),
    (
        "CD50",
        "from sklearn.utils import resample\n"
        "more = resample(rare, n_samples=900)  # CD50\n"
        "table = pd.concat([common, more])\n"
        "tr, te = train_test_split(table)\n",
    ),
    ("CD51", "names = list(set(labels))\nnumber = dict((n, i) for i, n in enumerate(names))  # CD51\n"),
    ("CD51", "number = {n: i for i, n in enumerate({row.label for row in rows})}  # CD51\n"),
    (
        "CD52",
        """\
drawer = WeightedRandomSampler(weights, len(weights))
train_loader = DataLoader(train_set, 64, sampler=drawer)
test_loader = DataLoader(test_set, 64, sampler=drawer)  # CD52
""",
    ),
    (
        "CD53",
        "flip = transforms.RandomHorizontalFlip()  # CD53\n"
        "train_set = SVHN('d', split='train', transform=transforms.Compose([flip, transforms.ToTensor()]))\n",
    ),
    ("CD54", "pick = WeightedRandomSampler(w, len(w))\nloss = F.cross_entropy(out, y, weight=class_weights)  # CD54\n"),
    (
        "CD55",
        """\
parser.add_argument("--resume")
tr, va = train_test_split(files, test_size=0.2)  # CD55
if args.resume:
    model.load_state_dict(torch.load(args.resume))
"""
        + LOOP,
    ),
    ("CD56", "table['subject'] = 1\na, b = train_test_split(scans, test_size=0.2)  # CD56\n"),
    (
        "CD57",
        """\
seen_right, loss_sum = 0, 0.0
for epoch in range(5):
    for x, y in train_loader:
        optimizer.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        optimizer.step()
        seen_right += (out.argmax(1) == y).sum().item()
    print(100 * seen_right / len(train_loader.dataset))  # CD57
""",
    ),
    (
        "CD58",
        """\
def accuracy(net, batches):
    net.eval()
    right = 0
    with torch.no_grad():
        for x, y in batches:
            right += (net(x).argmax(1) == y).sum().item()
    return right / len(batches.dataset)  # CD58

test_batches = DataLoader(test_set, batch_size=64, drop_last=True)
print(accuracy(net, test_batches))
""",
    ),
    (
        "CD58",
        """\
model.eval()
hits = 0
with torch.no_grad():
    for x, y in val_loader:
        hits += (model(x).argmax(1) == y).sum().item()
share = hits / (batch_size * len(val_loader))  # CD58
""",
    ),
    ("CD59", "print(classification_report(predictions, labels))  # CD59\n"),
    ("CD59", "p = metrics.precision_score(y_pred, y_true, average=None)  # CD59\n"),
    (
        "CD60",
        """\
aucs = []
for x, y in val_loader:
    aucs.append(roc_auc_score(y.numpy(), model(x).numpy()))  # CD60
print(np.mean(aucs))
""",
    ),
    (
        "CD61",
        """\
def trial(lr):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    opt = torch.optim.SGD(net.parameters(), lr)
    for epoch in range(3):
        for x, y in train_loader:
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
    return accuracy(net, test_loader)

results = {}
for lr in (0.1, 0.01):
    results[lr] = trial(lr)
best_lr = max(results, key=results.get)  # CD61
""",
    ),
    ("CD61", "fpr, tpr, cuts = roc_curve(test_labels, test_scores)\ncut = cuts[np.argmax(tpr - fpr)]  # CD61\n"),
    # What older rules see since values are followed further.
    (
        "CD11",
        """\
class Lit(pl.LightningModule):
    def forward(self, x):
        return torch.sigmoid(self.body(x))

    def training_step(self, batch, i):
        x, y = batch
        return F.binary_cross_entropy_with_logits(self(x).squeeze(1), y)
""".replace("(self.body(x))", "(self.body(x))  # CD11"),
    ),
    (
        "CD11",
        """\
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(dim=1)).to(dev)  # CD11

class Job:
    def __init__(self):
        self.net, self.measure = make(), nn.CrossEntropyLoss()

    def loss(self, x, y):
        return self.measure(self.net(x), y)
""",
    ),
    (
        "CD14",
        """\
class Job:
    def learn(self, x, y):
        error = self.criterion(self.net(x), y)
        error.backward()  # CD14
        self.optimizer.step()

    def run(self):
        for epoch in range(3):
            for x, y in self.batches:
                self.learn(x, y)
""",
    ),
    (
        "CD21",
        """\
net = torchvision.models.resnet18(num_classes=10)
net = net.cuda()

@torch.no_grad()
def share(batches):
    right = 0
    for x, y in batches:  # CD21
        right += (net(x).argmax(1) == y).sum().item()
    return right

for epoch in range(3):
    net.train()
    for x, y in train_loader:
        sgd.zero_grad()
        F.cross_entropy(net(x), y).backward()
        sgd.step()
    print(share(test_loader))
""",
    ),
    (
        "CD22",
        """\
def outputs(model, loader):
    model.eval()
    kept = []
    for x, _ in loader:  # CD22
        kept.append(model(x))
    return torch.cat(kept)
""",
    ),
    (
        "CD04",
        """\
class Leaves(torch.utils.data.Dataset):
    def __init__(self, paths, augment=None):
        self.paths, self.augment = paths, augment

leaves = Leaves(paths, transforms.Compose([transforms.RandomRotation(20), transforms.ToTensor()]))
train_part, val_part = random_split(leaves, [0.8, 0.2])  # CD04
""",
    ),
]

RIGHT: dict[str, str] = {
    "a mode that is called": "model.eval()\nargs.train\nparser.step\n",
    "gradients are cleared with the step": """\
opt.zero_grad()
for i, (x, y) in enumerate(loader):
    (criterion(model(x), y) / 4).backward()
    if (i + 1) % 4 == 0:
        opt.step()
        opt.zero_grad()
""",
    "gradients are cleared for each batch, and only the schedule is rare": """\
for i, (x, y) in enumerate(loader):
    opt.zero_grad()
    criterion(model(x), y).backward()
    opt.step()
    if i % 100 == 0:
        plan.step()
""",
    "a schedule per epoch, a schedule per batch": """\
slow = CosineAnnealingLR(opt, T_max=epochs)
fast = OneCycleLR(opt, 0.1, epochs=epochs, steps_per_epoch=len(train_loader))
for epoch in range(epochs):
    for x, y in train_loader:
        opt.zero_grad()
        criterion(model(x), y).backward()
        opt.step()
        fast.step()
    slow.step()
""",
    "all images are one batch": """\
plan = CosineAnnealingLR(opt, n_epochs)
for epoch in range(n_epochs):
    opt.zero_grad()
    criterion(head(features), labels).backward()
    opt.step()
    plan.step()
""",
    "a plateau of a figure that rises, and of one that falls": """\
a = ReduceLROnPlateau(opt, "max")
b = ReduceLROnPlateau(opt)
for e in range(9):
    a.step(val_acc)
    b.step(-val_acc)
    b.step(val_loss)
""",
    "the head is replaced first": """\
net = models.resnet18()
net.fc = nn.Linear(512, 10)
opt = torch.optim.SGD(net.parameters(), 0.1)
""",
    "the new head is added to the optimizer": """\
opt = torch.optim.SGD(net.parameters(), 0.1)
net.fc = nn.Linear(512, 10)
opt.add_param_group({"params": net.fc.parameters()})
""",
    "a net and an optimizer for each fold, and a seed": """\
class Net(nn.Module):
    pass

for fold, (tr, va) in enumerate(KFold(5).split(data)):
    torch.manual_seed(0)
    net = Net()
    opt = torch.optim.Adam(net.parameters())
    for epoch in range(9):
        for x, y in DataLoader(Subset(data, tr), 9, shuffle=True):
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
""",
    "a function makes the net of each setting": """\
def fit(lr):
    net = nn.Sequential(nn.Linear(4, 2))
    opt = torch.optim.Adam(net.parameters(), lr)
    for epoch in range(9):
        for x, y in train_loader:
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
    return accuracy(net, val_loader)

scores = []
for lr in [0.1, 0.01]:
    scores.append((fit(lr), lr))
best = max(scores)
""",
    "the net is given its first weights for each setting": """\
start = copy.deepcopy(net.state_dict())
for lr in [0.1, 0.01]:
    net.load_state_dict(start)
    opt = torch.optim.SGD(net.parameters(), lr)
    for epoch in range(3):
        for x, y in train_loader:
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
""",
    "rates fall over stages of one training": """\
for lr in (0.1, 0.01, 0.001):
    for epoch in range(3):
        for x, y in train_loader:
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
""",
    "gradients are unscaled before they are clipped": """\
scaler.scale(loss).backward()
scaler.unscale_(opt)
clip_grad_norm_(net.parameters(), 1.0)
scaler.step(opt)
""",
    "clipped where nothing is scaled": """\
def step(loss):
    if amp:
        scaler.scale(loss).backward()
        scaler.step(opt)
    else:
        loss.backward()
        clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
""",
    "the best weights are copied, or saved at once": """\
for e in range(9):
    if acc > best:
        best = acc
        weights = {k: v.cpu().clone() for k, v in model.state_dict().items()}
        other = copy.deepcopy(model.state_dict())
        state = model.state_dict()
        torch.save(state, "best.pt")
model.load_state_dict(weights)
model.load_state_dict(other)
""",
    "layers in a list that is registered": """\
class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(4, 4)]
        layers.append(nn.ReLU())
        self.body = nn.Sequential(*layers)
        self.blocks = [nn.Linear(4, 4) for _ in range(3)]
        self.kept = nn.ModuleList(self.blocks)
        self.sizes = [1, 2]
        self.plain = []

    def forward(self, x):
        self.plain.append(x)
        return self.body(x)
""",
    "a divergence of logarithms": """\
a = F.kl_div(F.log_softmax(s / 4, 1), F.softmax(t / 4, 1), reduction="batchmean")
b = F.kl_div(torch.log_softmax(s, 1), torch.log_softmax(t, 1), log_target=True)
""",
    "channels are moved": "x = cv2.imread(p)\nx = x.transpose(2, 0, 1)\ny = x.reshape(1, 3, 32, 32)\n",
    "the rows of a file have the channels first": "x = rows[b'data'].reshape(-1, 3, 32, 32)\n",
    "buffers are copied, too": """\
net = models.resnet18()
for x, y in train_loader:
    opt.zero_grad()
    F.cross_entropy(net(x), y).backward()
    opt.step()
    for a, b in zip(ema.parameters(), net.parameters()):
        a.mul_(0.9).add_(b, alpha=0.1)
    for a, b in zip(ema.buffers(), net.buffers()):
        a.copy_(b)
""",
    "a teacher from a function that puts it into evaluation mode": """\
def load_teacher():
    net = torch.load("t.pt")
    net.eval()
    return net

teacher = load_teacher()
for x, y in batches:
    opt.zero_grad()
    F.mse_loss(student(x), teacher(x)).backward()
    opt.step()
""",
    "both targets count": """\
for x, y in batches:
    x, a, b, lam = mixup(x, y)
    opt.zero_grad()
    (lam * F.cross_entropy(net(x), a) + (1 - lam) * F.cross_entropy(net(x), b)).backward()
    opt.step()
""",
    "the prefix is taken off": """\
net = nn.DataParallel(Net())
torch.save(net.module.state_dict(), "a.pt")
other.load_state_dict(torch.load("a.pt"), strict=False)
""",
    "parts that meet, and parts of different sets": """\
train_part, val_part = Subset(ds, range(0, 50)), Subset(ds, range(50, 60))
train_x, test_x = x[:-100], x[-100:]
train_y = y[:50]
test_y = z[:20]
train_set, test_set = Subset(MNIST("d", train=True), range(99)), Subset(MNIST("d", train=False), range(99))
""",
    "a scaler that learns from the training part": """\
train_x, test_x = train_test_split(x)
scaler = StandardScaler().fit(train_x)
again = StandardScaler().fit_transform(train_x)
a, b = train_test_split(again)
""",
    "copies in the training part": """\
train, test = train_test_split(table)
train = resample(train, replace=True)
some = table.sample(100)
a, b = train_test_split(some)
""",
    "classes in a fixed order": """\
number = {n: i for i, n in enumerate(sorted(set(labels)))}
for i, n in enumerate(set(labels)):
    print(i, n)
""",
    "the sampler is for training": """\
pick = WeightedRandomSampler(w, len(w))
train_loader = DataLoader(a, 9, sampler=pick)
val_loader = DataLoader(b, 9)
criterion = nn.CrossEntropyLoss()
""",
    "letters that are stored mirrored are turned": """\
letters = EMNIST("d", transform=transforms.Compose([transforms.RandomHorizontalFlip(p=1.0)]))
""",
    "components are only plotted, a sound is resampled": """\
from scipy.signal import resample
flat = PCA(2).fit_transform(x)
plot(flat)
a, b = train_test_split(x)
sound = resample(wave, 100)
c, d = train_test_split(sound)
""",
    "an encoder with momentum computes in training, too": """\
net, slow = models.resnet18(), models.resnet18()
for x, y in train_loader:
    opt.zero_grad()
    contrast(net(x), slow(y)).backward()
    opt.step()
    for a, b in zip(slow.parameters(), net.parameters()):
        a.mul_(0.9).add_(b, alpha=0.1)
""",
    "a mixed target, a net that is kept for one line, a sum that is named before its loop": """\
for x, y in batches:
    x, y, share = mixup(x, y)
    opt.zero_grad()
    F.cross_entropy(net(x), y).backward()
    opt.step()
for e in range(3):
    if acc > top:
        best_model = model
        torch.save(best_model.state_dict(), "a.pt")
right, seen = 0, 0
for epoch in range(3):
    right, seen = 0, 0
    for x, y in train_loader:
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
        right += (net(x).argmax(1) == y).sum().item()
    print(right / len(train_loader.dataset))
""",
    "a list of layers that Sequential has by another name": """\
class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = [nn.Linear(4, 4) for _ in range(3)]
        self.blocks = blocks
        self.body = nn.Sequential(*blocks)

    def forward(self, x):
        return self.body(x)
""",
    "test losses are plotted and listed": """\
for name in names:
    test_losses.append(test(name))
plt.ylim(0, max(test_losses))
print(sorted(test_losses))
""",
    "clothes are mirrored": """\
train_set = FashionMNIST("d", transform=transforms.Compose([transforms.RandomHorizontalFlip()]))
""",
    "a seeded split is resumed": """\
tr, va = train_test_split(files, random_state=1)
a, b = random_split(ds, [9, 1], generator=torch.Generator().manual_seed(1))
if args.resume:
    model.load_state_dict(torch.load(args.resume))
"""
    + LOOP,
    "a sum for each epoch, and one of the whole run": """\
steps = 0
for epoch in range(3):
    right, seen = 0, 0
    for x, y in train_loader:
        optimizer.zero_grad()
        out = model(x)
        F.cross_entropy(out, y).backward()
        optimizer.step()
        right += (out.argmax(1) == y).sum().item()
        steps += 1
    print(right / len(train_loader.dataset), steps)
""",
    "the training loader drops its last batch, the test loader does not": """\
train_loader = DataLoader(a, 9, shuffle=True, drop_last=True)
test_loader = DataLoader(b, 9)
model.eval()
hits = 0
with torch.no_grad():
    for x, y in test_loader:
        hits += (model(x).argmax(1) == y).sum().item()
print(hits / len(test_loader.dataset))
""",
    "true classes come first": """\
a = precision_score(y_true, y_pred)
b = recall_score(labels, preds)
c = f1_score(preds, labels)
""",
    "a figure of all predictions, and one for each class": """\
for x, y in val_loader:
    predicted.append(model(x).argmax(1))
print(f1_score(true, np.concatenate(predicted)))
for name in classes:
    scores.append(f1_score(true == name, guess == name))
""",
    "the best of validation, a maximum of a batch": """\
_, top = torch.max(test_output, 1)
cuts = precision_recall_curve(val_labels, val_scores)
cut = cuts[2][np.argmax(cuts[0])]
highest = max(test_sizes)
""",
    "a sigmoid before a loss of probabilities": """\
class N(nn.Module):
    def forward(self, x):
        return torch.sigmoid(self.body(x))

loss = nn.BCELoss()(N()(x), y)
""",
    "gradients are cut off by a name": """\
ctx = torch.inference_mode if has_it else torch.no_grad
model.eval()
right = 0
with ctx():
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()
""",
    "one function trains and evaluates": """\
def run(model, loader, opt=None):
    right = 0
    for x, y in loader:
        out = model(x)
        loss = F.cross_entropy(out, y)
        if opt is not None:
            opt.zero_grad()
            loss.backward()
            opt.step()
        right += (out.argmax(1) == y).sum().item()
    return right

def make():
    return (DataLoader(SVHN("d", split="train"), 9, shuffle=True), DataLoader(SVHN("d", split="test"), 9))

a, b = make()
run(model, a, opt)
run(model, b)
""",
}
