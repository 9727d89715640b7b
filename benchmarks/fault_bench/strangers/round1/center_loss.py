import torch
import torch.nn as nn
import torch.optim.lr_scheduler as lr_scheduler
from torch.autograd import Function
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class CenterLoss(nn.Module):
    def __init__(self, num_classes, feat_dim):
        super(CenterLoss, self).__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, feat_dim))

    def forward(self, feat, label):
        return 0.5 * (feat - self.centers[label]).pow(2).sum(1).mean()


class Net(nn.Module):
    """2-d features, so that they can be plotted"""

    def __init__(self):
        super(Net, self).__init__()
        chans = [1, 32, 32, 64, 64, 128, 128]
        seq = []
        for k in range(6):
            seq += [nn.Conv2d(chans[k], chans[k + 1], 5, padding=2), nn.PReLU()]
            if k % 2:
                seq.append(nn.MaxPool2d(2))
        self.conv = nn.Sequential(*seq)
        self.ip1 = nn.Linear(128 * 9, 2)
        self.preluip1 = nn.PReLU()
        self.ip2 = nn.Linear(2, 10, bias=False)

    def forward(self, x):
        f = self.preluip1(self.ip1(self.conv(x).view(-1, 128 * 9)))
        return f, self.ip2(f)


LAMBDA = 0.003


def train_epoch(net, center, loader, opt_net, opt_center, dev):
    net.train()
    for data, target in loader:
        data, target = data.to(dev), target.to(dev)
        feats, logits = net(data)
        loss = nn.functional.cross_entropy(logits, target) + LAMBDA * center(feats, target)

        opt_net.zero_grad()
        opt_center.zero_grad()
        loss.backward()
        opt_net.step()
        # the weight of the loss must not slow down the centers
        for p in center.parameters():
            p.grad.data *= 1. / LAMBDA
        opt_center.step()
    return loss.item()


def main():
    torch.manual_seed(0)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tf = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train = DataLoader(datasets.MNIST('../MNIST', download=True, train=True, transform=tf), batch_size=128, shuffle=True)
    test = DataLoader(datasets.MNIST('../MNIST', train=False, transform=tf), batch_size=256)
    net, center = Net().to(dev), CenterLoss(10, 2).to(dev)
    opt_net = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)
    sched = lr_scheduler.StepLR(opt_net, 20, gamma=0.8)
    opt_center = torch.optim.SGD(center.parameters(), lr=0.5)
    for epoch in range(100):
        l = train_epoch(net, center, train, opt_net, opt_center, dev)
        sched.step()
        if epoch % 10 == 9:
            print(epoch + 1, l)
    net.eval()
    hits, feats, labels = 0, [], []
    with torch.no_grad():
        for x, y in test:
            f, z = net(x.to(dev))
            hits += (z.argmax(1).cpu() == y).sum().item()
            feats.append(f.cpu())
            labels.append(y)
    print('test accuracy', hits / len(test.dataset))
    torch.save((torch.cat(feats), torch.cat(labels)), 'features2d.pt')


if __name__ == '__main__':
    main()
