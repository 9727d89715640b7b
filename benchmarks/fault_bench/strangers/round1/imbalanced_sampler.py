import argparse
from collections import Counter

import numpy as np
import torch
import torch.nn as nn
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

opt = argparse.ArgumentParser()
opt.add_argument("data_dir")
opt.add_argument("--epochs", type=int, default=20)
opt.add_argument("--batch", type=int, default=32)
opt.add_argument("--seed", type=int, default=1337)
opt = opt.parse_args()

torch.manual_seed(opt.seed)
np.random.seed(opt.seed)

tf_a = transforms.Compose([transforms.Resize((224, 224)), transforms.RandomHorizontalFlip(),
                           transforms.RandomRotation(10), transforms.ToTensor(),
                           transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
tf_b = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor(),
                           transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])

base = ImageFolder(opt.data_dir)
targets = np.array(base.targets)
idx_tr, idx_va = train_test_split(np.arange(len(targets)), test_size=0.2, stratify=targets, random_state=opt.seed)
splits = {
    "train": (Subset(ImageFolder(opt.data_dir, tf_a), idx_tr), targets[idx_tr]),
    "val": (Subset(ImageFolder(opt.data_dir, tf_b), idx_va), targets[idx_va]),
}


def balanced_loader(ds, ys):
    freq = Counter(ys.tolist())
    w = torch.tensor([1.0 / freq[int(t)] for t in ys], dtype=torch.double)
    sampler = WeightedRandomSampler(w, num_samples=len(w), replacement=True)
    return DataLoader(ds, batch_size=opt.batch, sampler=sampler, num_workers=4)


dls = {k: balanced_loader(ds, ys) for k, (ds, ys) in splits.items()}

device = "cuda" if torch.cuda.is_available() else "cpu"
counts = np.bincount(targets[idx_tr])
class_w = torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32, device=device)
model = models.resnet18(weights=models.ResNet18_Weights.DEFAULT)
model.fc = nn.Linear(model.fc.in_features, len(base.classes))
model.to(device)
loss_fn = nn.CrossEntropyLoss(weight=class_w)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

for epoch in range(opt.epochs):
    for phase, dl in dls.items():
        is_train = phase == "train"
        model.train(is_train)
        loss_total, correct, n = 0.0, 0, 0
        for x, y in dl:
            x, y = x.to(device), y.to(device)
            with torch.set_grad_enabled(is_train):
                z = model(x)
                loss = loss_fn(z, y)
            if is_train:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss_total += loss.item() * len(y)
            correct += (z.argmax(1) == y).sum().item()
            n += len(y)
        print(f"{epoch:2d} {phase:5s} loss {loss_total / n:.4f} acc {correct / n:.4f}")

torch.save({"model": model.state_dict(), "classes": base.classes}, "model.pt")
