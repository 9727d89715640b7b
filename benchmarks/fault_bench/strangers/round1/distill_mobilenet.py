from __future__ import annotations

import torch
from torch import nn, Tensor
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, models
from torchvision.transforms import v2

T_SOFT = 4.0
LAMBDA = 0.7
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
    soft = F.kl_div(
        F.softmax(student_logits / T_SOFT, dim=1),
        F.softmax(teacher_logits / T_SOFT, dim=1),
        reduction="batchmean",
    ) * T_SOFT ** 2
    hard = F.cross_entropy(student_logits, target)
    return LAMBDA * soft + (1 - LAMBDA) * hard


def load_teacher(path: str) -> nn.Module:
    teacher = models.resnet50(num_classes=10)
    teacher.load_state_dict(torch.load(path, map_location="cpu"))
    for p in teacher.parameters():
        p.requires_grad_(False)
    return teacher.to(DEVICE)


def data(root: str = "./data") -> tuple[DataLoader, DataLoader]:
    base = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=[0.4914, 0.4822, 0.4465], std=[0.2470, 0.2435, 0.2616])]
    train = datasets.CIFAR10(root, train=True, download=True,
                             transform=v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *base]))
    test = datasets.CIFAR10(root, train=False, transform=v2.Compose(base))
    return (DataLoader(train, batch_size=128, shuffle=True, num_workers=4, drop_last=True),
            DataLoader(test, batch_size=256, num_workers=4))


def train_student(student: nn.Module, teacher: nn.Module, loader: DataLoader, epochs: int = 60) -> None:
    opt = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=epochs)
    for epoch in range(epochs):
        student.train()
        running, n = 0.0, 0
        for images, target in loader:
            images, target = images.to(DEVICE), target.to(DEVICE)
            with torch.no_grad():
                t_logits = teacher(images)
            s_logits = student(images)
            loss = distillation_loss(s_logits, t_logits, target)
            opt.zero_grad()
            loss.backward()
            opt.step()
            running += loss.item() * target.size(0)
            n += target.size(0)
        sched.step()
        print(f"epoch {epoch + 1:>3}/{epochs}  loss={running / n:.4f}")


@torch.inference_mode()
def accuracy(net: nn.Module, loader: DataLoader) -> float:
    net.eval()
    correct = sum((net(x.to(DEVICE)).argmax(1).cpu() == y).sum().item() for x, y in loader)
    return correct / len(loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(2023)
    train_loader, test_loader = data()
    teacher = load_teacher("teacher_resnet50.pt")
    student = models.mobilenet_v2(num_classes=10).to(DEVICE)
    train_student(student, teacher, train_loader)
    print("student test accuracy", accuracy(student, test_loader))
