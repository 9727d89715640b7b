import contextlib
import os
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, models, transforms

ACC = int(os.environ.get('ACC', 4))
MICRO = 16
EPOCHS = 10


def make_sets(root):
    n = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    aug = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(),
                              transforms.ToTensor(), n])
    det = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), n])
    perm = torch.randperm(75750, generator=torch.Generator().manual_seed(77)).tolist()
    tr = Subset(datasets.Food101(root, 'train', transform=aug, download=True), perm[5000:])
    va = Subset(datasets.Food101(root, 'train', transform=det), perm[:5000])
    te = datasets.Food101(root, 'test', transform=det)
    return tr, va, te


def clear(params):
    for p in params:
        p.grad = None


def optimise(net, loader, opt, sched, scaler):
    net.train()
    params = [p for g in opt.param_groups for p in g['params']]
    clear(params)
    pending = 0
    for k, (x, y) in enumerate(loader, 1):
        with torch.autocast('cuda', dtype=torch.float16):
            loss = F.cross_entropy(net(x.cuda()), y.cuda())
        scaler.scale(loss / ACC).backward()
        pending += 1
        if pending == ACC:
            scaler.unscale_(opt)
            torch.nn.utils.clip_grad_norm_(params, 5.0)
            scaler.step(opt)
            scaler.update()
            sched.step()
            clear(params)
            pending = 0
    # what is left of an incomplete group at the end of the epoch is thrown away
    clear(params)


def rate(net, loader):
    net.eval()
    ctx = torch.inference_mode if hasattr(torch, 'inference_mode') else torch.no_grad
    hits, n = 0, 0
    with ctx(), torch.autocast('cuda', dtype=torch.float16):
        for x, y in loader:
            hits += int((net(x.cuda()).argmax(1).cpu() == y).sum())
            n += len(y)
    return hits / n


def main():
    torch.manual_seed(77)
    tr, va, te = make_sets('data')
    tr_dl = DataLoader(tr, MICRO, shuffle=True, num_workers=8, drop_last=True)
    va_dl, te_dl = (DataLoader(d, 64, num_workers=8) for d in (va, te))
    net = models.convnext_tiny(weights='DEFAULT')
    net.classifier[2] = torch.nn.Linear(768, 101)
    net.cuda()
    decay = [p for p in net.parameters() if p.ndim > 1]
    nodecay = [p for p in net.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{'params': decay, 'weight_decay': 0.05}, {'params': nodecay, 'weight_decay': 0.}], lr=1e-4)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-4, total_steps=EPOCHS * (len(tr_dl) // ACC))
    scaler = torch.cuda.amp.GradScaler()
    best = 0
    for ep in range(EPOCHS):
        optimise(net, tr_dl, opt, sched, scaler)
        v = rate(net, va_dl)
        print(ep, v)
        if v >= best:
            best = v
            torch.save(net.state_dict(), 'food_best.pt')
    net.load_state_dict(torch.load('food_best.pt'))
    print('test', rate(net, te_dl))


if __name__ == '__main__':
    main()
