import copy
import time
import torch
import torch.nn as nn
from torch.optim import lr_scheduler
import torchvision
from torchvision import datasets, models, transforms

DATA_ROOT = './flowers'
BATCH = 32
N_EPOCHS = 15
device = "cuda:0" if torch.cuda.is_available() else "cpu"
torch.manual_seed(42)

imagenet_norm = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
tfms = {
    'train': transforms.Compose([
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        imagenet_norm]),
    'valid': transforms.Compose([
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        imagenet_norm]),
}

image_datasets = {k: datasets.ImageFolder(f'{DATA_ROOT}/{k}', tfms[k]) for k in tfms}
loaders = {k: torch.utils.data.DataLoader(image_datasets[k], batch_size=BATCH,
                                          shuffle=(k == 'train'), num_workers=4)
           for k in image_datasets}
sizes = {k: len(v) for k, v in image_datasets.items()}
class_names = image_datasets['train'].classes


def build():
    net = models.resnet18(weights=models.ResNet18_Weights.IMAGENET1K_V1)
    for prm in net.parameters():
        prm.requires_grad = False
    for prm in net.layer4.parameters():
        prm.requires_grad = True
    return net


def fit(net, criterion, opt, sched, n_epochs):
    since = time.time()
    best_w, best = copy.deepcopy(net.state_dict()), 0.0
    for ep in range(n_epochs):
        for phase in ['train', 'valid']:
            net.train() if phase == 'train' else net.eval()
            run_loss, run_ok = 0.0, 0
            for xb, yb in loaders[phase]:
                xb = xb.to(device)
                yb = yb.to(device)
                opt.zero_grad()
                with torch.set_grad_enabled(phase == 'train'):
                    logits = net(xb)
                    loss = criterion(logits, yb)
                    if phase == 'train':
                        loss.backward()
                        opt.step()
                run_loss += loss.item() * xb.size(0)
                run_ok += (logits.argmax(1) == yb).sum().item()
            if phase == 'train':
                sched.step()
            acc = run_ok / sizes[phase]
            print(f'{ep:02d} {phase}: loss {run_loss / sizes[phase]:.4f} acc {acc:.4f}')
            if phase == 'valid' and acc > best:
                best, best_w = acc, copy.deepcopy(net.state_dict())
    print('took %.0fs, best val acc %.4f' % (time.time() - since, best))
    net.load_state_dict(best_w)
    return net


if __name__ == '__main__':
    net = build().to(device)
    optimizer = torch.optim.SGD([q for q in net.parameters() if q.requires_grad],
                                lr=1e-3, momentum=0.9, weight_decay=1e-4)
    exp_lr = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    net.fc = nn.Linear(net.fc.in_features, len(class_names)).to(device)
    net = fit(net, nn.CrossEntropyLoss(), optimizer, exp_lr, N_EPOCHS)
    torch.save({'state': net.state_dict(), 'classes': class_names}, 'flowers_r18.pth')
