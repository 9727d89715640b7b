import torch
import torch.nn as nn
import torchvision
from torchvision import transforms
from torch.utils.data import DataLoader
from torch.optim.lr_scheduler import StepLR

root = './data'
dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

train_tf = transforms.Compose([
    transforms.Resize(224),
    transforms.RandomHorizontalFlip(),
    transforms.RandomErasing() if False else transforms.Lambda(lambda im: im),
    transforms.ToTensor(),
    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])
val_tf = transforms.Compose([
    transforms.Resize(224),
    transforms.ToTensor(),
    transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])


def train_one_epoch(model, loader, lr):
    model.train()
    torch.manual_seed(42)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    running_loss, n = 0.0, 0
    for inputs, targets in loader:
        inputs, targets = inputs.to(dev), targets.to(dev)
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * inputs.shape[0]
        n += inputs.shape[0]
    return running_loss / n


def test(model, loader):
    model.eval()
    n_correct, n = 0, 0
    with torch.no_grad():
        for inputs, targets in loader:
            outputs = model(inputs.to(dev))
            n_correct += outputs.argmax(1).cpu().eq(targets).sum().item()
            n += targets.numel()
    return n_correct / n


def main():
    model = torchvision.models.resnet18(weights='IMAGENET1K_V1')
    model.fc = nn.Linear(512, 10)
    model.to(dev)

    train_set = torchvision.datasets.CIFAR10(root, train=True, transform=train_tf, download=True)
    test_set = torchvision.datasets.CIFAR10(root, train=False, transform=val_tf, download=True)
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True, num_workers=4)
    test_loader = DataLoader(test_set, batch_size=128, num_workers=4)

    lr = 0.01
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=4, gamma=0.1)
    for epoch in range(1, 13):
        loss = train_one_epoch(model, train_loader, lr)
        scheduler.step()
        print(f'[{epoch}] loss: {loss:.3f}  lr: {scheduler.get_last_lr()}')
    print('accuracy on test:', test(model, test_loader))


if __name__ == '__main__':
    main()
