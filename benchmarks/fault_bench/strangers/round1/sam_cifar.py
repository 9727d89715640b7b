import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
from model.wide_res_net import WideResNet
from utility.initialize import initialize
from utility.step_lr import StepLR
from data.cifar import Cifar


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        assert rho >= 0.0
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        scale_norm = torch.norm(torch.stack([p.grad.norm(p=2) for g in self.param_groups
                                             for p in g["params"] if p.grad is not None]), p=2)
        for group in self.param_groups:
            scale = group["rho"] / (scale_norm + 1e-12)
            for p in group["params"]:
                if p.grad is None:
                    continue
                e_w = p.grad * scale.to(p)
                p.add_(e_w)
                self.state[p]["e_w"] = e_w
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.sub_(self.state[p]["e_w"])
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()

    def step(self, closure=None):
        raise NotImplementedError("call first_step and second_step")


def set_bn(model, on):
    """second pass must not touch the running statistics"""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            if on:
                m.momentum = m.backup_momentum
            else:
                m.backup_momentum = m.momentum
                m.momentum = 0


def smooth_crossentropy(pred, gold, smoothing=0.1):
    n_class = pred.size(1)
    one_hot = torch.full_like(pred, fill_value=smoothing / (n_class - 1))
    one_hot.scatter_(dim=1, index=gold.unsqueeze(1), value=1.0 - smoothing)
    log_prob = F.log_softmax(pred, dim=1)
    return F.kl_div(input=log_prob, target=one_hot, reduction='none').sum(-1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch_size", default=128, type=int)
    parser.add_argument("--epochs", default=200, type=int)
    parser.add_argument("--learning_rate", default=0.1, type=float)
    parser.add_argument("--rho", default=0.05, type=float)
    args = parser.parse_args()

    initialize(args, seed=42)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = Cifar(args.batch_size, 2)
    model = WideResNet(16, 8, 0.0, in_channels=3, labels=10).to(device)
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=args.rho,
                    lr=args.learning_rate, momentum=0.9, weight_decay=5e-4)
    scheduler = StepLR(optimizer, args.learning_rate, args.epochs)

    for epoch in range(args.epochs):
        model.train()
        for batch in dataset.train:
            inputs, targets = (b.to(device) for b in batch)
            loss = smooth_crossentropy(model(inputs), targets)
            loss.mean().backward()
            optimizer.first_step(zero_grad=True)
            set_bn(model, False)
            smooth_crossentropy(model(inputs), targets).mean().backward()
            optimizer.second_step(zero_grad=True)
            set_bn(model, True)
            scheduler(epoch)

    model.eval()
    correct = count = 0
    with torch.no_grad():
        for batch in dataset.test:
            inputs, targets = (b.to(device) for b in batch)
            correct += (model(inputs).argmax(1) == targets).sum().item()
            count += len(targets)
    print(f"accuracy {correct / count:.4f}")
