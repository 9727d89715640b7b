"""Multinomial logistic regression on MNIST, full batch, with L-BFGS and an L2 penalty chosen on a validation part."""
import torch
from torch.nn.functional import cross_entropy
from torchvision.datasets import MNIST

torch.set_default_dtype(torch.float64)


def tensors(train):
    d = MNIST('data', train=train, download=True)
    return d.data.reshape(len(d), -1).double() / 255.0, d.targets


def fit(X, y, lam, iters=60):
    W = torch.zeros(X.shape[1], 10, requires_grad=True)
    b = torch.zeros(10, requires_grad=True)
    opt = torch.optim.LBFGS([W, b], lr=1, max_iter=iters, history_size=20, line_search_fn='strong_wolfe')
    n = len(X)

    def closure():
        opt.zero_grad()
        obj = cross_entropy(X @ W + b, y) + lam / (2 * n) * W.pow(2).sum()
        obj.backward()
        return obj

    opt.step(closure)
    return W.detach(), b.detach()


def acc(X, y, W, b):
    return ((X @ W + b).argmax(1) == y).double().mean().item()


def main():
    X, y = tensors(True)
    Xt, yt = tensors(False)
    # MNIST comes in a random order of writers in each half; still, take a permutation
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    X, y = X[order], y[order]
    mu, sd = X[:50000].mean(0), X[:50000].std(0).clamp_min(1e-2)
    X, Xt = (X - mu) / sd, (Xt - mu) / sd
    Xa, ya, Xv, yv = X[:50000], y[:50000], X[50000:], y[50000:]

    scores = {}
    for lam in (0.1, 1.0, 10.0, 100.0, 1000.0):
        W, b = fit(Xa, ya, lam)
        scores[lam] = acc(Xv, yv, W, b)
        print(f'lambda {lam:7.1f}  train {acc(Xa, ya, W, b):.4f}  valid {scores[lam]:.4f}')
    lam = max(scores, key=scores.get)
    # once more, on train + valid, with the lambda found
    W, b = fit(X, y, lam)
    print(f'lambda {lam}: test accuracy {acc(Xt, yt, W, b):.4f}')


if __name__ == '__main__':
    main()
