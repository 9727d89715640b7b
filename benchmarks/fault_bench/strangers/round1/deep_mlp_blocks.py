import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class ResBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.a = nn.Linear(dim, dim)
        self.b = nn.Linear(dim, dim)

    def forward(self, x):
        return x + self.b(torch.relu(self.a(self.norm(x))))


class DeepMLP(nn.Module):
    def __init__(self, depth=8, dim=256, n_classes=10):
        super().__init__()
        self.inp = nn.Linear(784, dim)
        self.blocks = [ResBlock(dim) for _ in range(depth)]
        self.out = nn.Linear(dim, n_classes)

    def forward(self, x):
        h = self.inp(x.flatten(1))
        for blk in self.blocks:
            h = blk(h)
        return self.out(h)


def get_dataset(train):
    return datasets.EMNIST('data', split='balanced', train=train, download=True, transform=transforms.ToTensor())


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(get_dataset(True), batch_size=256, shuffle=True)
    test_loader = DataLoader(get_dataset(False), batch_size=1024)

    model = DeepMLP(n_classes=47)
    optimizer = optim.Adam(model.parameters(), lr=5e-4)
    loss_fn = nn.CrossEntropyLoss()

    for epoch in range(15):
        model.train()
        total, count = 0.0, 0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            count += len(y)
        print(f'Epoch {epoch + 1} | train loss {total / count:.4f}')

    model.eval()
    with torch.no_grad():
        correct = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
    print(f'Test accuracy: {correct / len(test_loader.dataset):.4f}')
    torch.save(model.state_dict(), 'deep_mlp.pt')


if __name__ == '__main__':
    main()
