import numpy as np
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms


def get_loaders(batch_size, seed):
    to_t = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    full = datasets.KMNIST(root='data', train=True, transform=to_t, download=True)
    test = datasets.KMNIST(root='data', train=False, transform=to_t, download=True)
    g = torch.Generator().manual_seed(seed)
    train, val = random_split(full, [54000, 6000], generator=g)
    return (DataLoader(train, batch_size, shuffle=True),
            DataLoader(val, 512), DataLoader(test, 512))


class EarlyStopper:
    """Stops when val loss has not improved for `patience` epochs and keeps the best weights."""

    def __init__(self, patience=5):
        self.patience = patience
        self.bad = 0
        self.best_loss = np.inf
        self.best_weights = None

    def __call__(self, loss, model):
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_weights = model.state_dict()
            self.bad = 0
        else:
            self.bad += 1
        return self.bad >= self.patience


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Dropout(0.4), nn.Linear(256, 10))


def epoch_pass(model, loader, loss_fn, device, opt=None):
    training = opt is not None
    model.train(training)
    loss_sum = hit = n = 0
    with torch.set_grad_enabled(training):
        for X, t in loader:
            X, t = X.to(device), t.to(device)
            z = model(X)
            loss = loss_fn(z, t)
            if training:
                opt.zero_grad()
                loss.backward()
                opt.step()
            loss_sum += loss.item() * len(t)
            hit += (z.argmax(1) == t).sum().item()
            n += len(t)
    return loss_sum / n, hit / n


def main():
    torch.manual_seed(11)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    train_dl, val_dl, test_dl = get_loaders(128, 11)
    model = make_model().to(device)
    opt = optim.AdamW(model.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()
    stopper = EarlyStopper(6)
    for epoch in range(100):
        tr = epoch_pass(model, train_dl, loss_fn, device, opt)
        va = epoch_pass(model, val_dl, loss_fn, device)
        print(f'{epoch:3d} train {tr[0]:.4f}/{tr[1]:.4f} val {va[0]:.4f}/{va[1]:.4f}')
        if stopper(va[0], model):
            print('early stop')
            break
    model.load_state_dict(stopper.best_weights)
    print('test: loss %.4f acc %.4f' % epoch_pass(model, test_dl, loss_fn, device))
    torch.save(model.state_dict(), 'kmnist.pt')


if __name__ == '__main__':
    main()
