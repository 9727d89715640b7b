"""A tiny Keras-like front end, and Fashion-MNIST with it."""
import math
from collections import defaultdict

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import FashionMNIST

LOSSES = {'sparse_categorical_crossentropy': nn.CrossEntropyLoss}
OPTIMIZERS = {'adam': torch.optim.Adam, 'sgd': torch.optim.SGD}


class Model(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.history = defaultdict(list)

    def forward(self, x):
        return self.layers(x)

    def compile(self, optimizer='adam', loss='sparse_categorical_crossentropy', **opt_kw):
        self._loss = LOSSES[loss]()
        self._opt = OPTIMIZERS[optimizer](self.parameters(), **opt_kw)
        return self

    def train_on_batch(self, x, y):
        self.train()
        self._opt.zero_grad()
        out = self(x)
        loss = self._loss(out, y)
        loss.backward()
        self._opt.step()
        return loss.item(), (out.detach().argmax(1) == y).sum().item()

    @torch.no_grad()
    def evaluate(self, x, y, batch_size=512):
        self.eval()
        tot = ok = 0
        for xb, yb in zip(x.split(batch_size), y.split(batch_size)):
            out = self(xb)
            tot += self._loss(out, yb).item() * len(yb)
            ok += (out.argmax(1) == yb).sum().item()
        return tot / len(y), ok / len(y)

    def predict(self, x):
        self.eval()
        with torch.no_grad():
            return torch.softmax(self(x), dim=1)

    def fit(self, x, y, epochs=1, batch_size=32, validation_split=0.0, verbose=1):
        n_val = math.floor(len(x) * validation_split)
        # like Keras: the last part of the data is held out before shuffling
        x, xv = x[:len(x) - n_val], x[len(x) - n_val:]
        y, yv = y[:len(y) - n_val], y[len(y) - n_val:]
        loader = DataLoader(TensorDataset(x, y), batch_size, shuffle=True)
        for e in range(epochs):
            s = c = 0
            for xb, yb in loader:
                l, k = self.train_on_batch(xb, yb)
                s += l * len(yb)
                c += k
            logs = {'loss': s / len(x), 'acc': c / len(x)}
            if n_val:
                logs['val_loss'], logs['val_acc'] = self.evaluate(xv, yv)
            for k, v in logs.items():
                self.history[k].append(v)
            if verbose:
                print(f'Epoch {e + 1}/{epochs} - ' + ' - '.join(f'{k}: {v:.4f}' for k, v in logs.items()))
        return self.history


def load(train):
    d = FashionMNIST('data', train=train, download=True)
    return d.data.unsqueeze(1).float() / 255, d.targets


if __name__ == '__main__':
    torch.manual_seed(0)
    (x_train, y_train), (x_test, y_test) = load(True), load(False)
    model = Model(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10))
    model.compile('adam', lr=1e-3)
    model.fit(x_train, y_train, epochs=12, batch_size=128, validation_split=0.1)
    print('test loss, test accuracy:', model.evaluate(x_test, y_test))
    print(model.predict(x_test[:1]))
