import argparse, time
import torch, torch.nn as nn, torch.nn.functional as F
from torch.cuda.amp import autocast, GradScaler
from torchvision import datasets, transforms as tr
from torchvision.models import resnet18

ap = argparse.ArgumentParser()
ap.add_argument("--bs", default=256, type=int)
ap.add_argument("--epochs", default=40, type=int)
ap.add_argument("--max-lr", default=0.2, type=float)
ap.add_argument("--clip", default=1.0, type=float)
args = ap.parse_args()

torch.manual_seed(3407)
torch.backends.cudnn.benchmark = True

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
t_train = tr.Compose([tr.RandomCrop(32, padding=4, padding_mode="reflect"),
                      tr.RandomHorizontalFlip(), tr.ToTensor(), tr.Normalize(MEAN, STD)])
t_test = tr.Compose([tr.ToTensor(), tr.Normalize(MEAN, STD)])

train_dl = torch.utils.data.DataLoader(
    datasets.CIFAR10("~/data", True, t_train, download=True),
    batch_size=args.bs, shuffle=True, num_workers=8, pin_memory=True, drop_last=True)
test_dl = torch.utils.data.DataLoader(
    datasets.CIFAR10("~/data", False, t_test), batch_size=512, num_workers=4)

net = resnet18(num_classes=10)
net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
net.maxpool = nn.Identity()
net = net.cuda().to(memory_format=torch.channels_last)

opt = torch.optim.SGD(net.parameters(), lr=args.max_lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
sched = torch.optim.lr_scheduler.OneCycleLR(
    opt, max_lr=args.max_lr, epochs=args.epochs, steps_per_epoch=len(train_dl))
scaler = GradScaler()

for epoch in range(args.epochs):
    t0 = time.time()
    net.train()
    seen = loss_sum = 0
    for x, y in train_dl:
        x = x.cuda(non_blocking=True).to(memory_format=torch.channels_last)
        y = y.cuda(non_blocking=True)
        opt.zero_grad(set_to_none=True)
        with autocast():
            loss = F.cross_entropy(net(x), y, label_smoothing=0.1)
        scaler.scale(loss).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), args.clip)
        scaler.step(opt)
        scaler.update()
        sched.step()
        loss_sum += loss.item() * len(y)
        seen += len(y)
    print(f"{epoch:3d} loss {loss_sum / seen:.4f} {time.time() - t0:.1f}s")

net.eval()
good = 0
with torch.no_grad(), autocast():
    for x, y in test_dl:
        good += (net(x.cuda()).argmax(1).cpu() == y).sum().item()
print("test accuracy", good / len(test_dl.dataset))
torch.save(net.state_dict(), "resnet18_cifar.pt")
