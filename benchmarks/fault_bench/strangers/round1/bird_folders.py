import os
import torch
from torch import nn
from torch.utils.data import Dataset, DataLoader
from torchvision import models
from torchvision.io import read_image, ImageReadMode
import torchvision.transforms as T


class BirdFolder(Dataset):
    """root/<species>/<image>.jpg"""

    def __init__(self, root, transform=None):
        self.samples = []
        self.transform = transform
        species = set()
        for dirpath, _, files in os.walk(root):
            for f in files:
                if f.lower().endswith(('.jpg', '.jpeg')):
                    self.samples.append((os.path.join(dirpath, f), os.path.basename(dirpath)))
                    species.add(os.path.basename(dirpath))
        self.class_to_idx = {name: i for i, name in enumerate(species)}

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        path, name = self.samples[i]
        img = read_image(path, ImageReadMode.RGB).float().div(255)
        if self.transform is not None:
            img = self.transform(img)
        return img, self.class_to_idx[name]


norm = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
train_ds = BirdFolder('birds/train', T.Compose([
    T.Resize((256, 256)), T.RandomCrop(224), T.RandomHorizontalFlip(), norm]))
test_ds = BirdFolder('birds/test', T.Compose([T.Resize((224, 224)), norm]))
n_classes = len(train_ds.class_to_idx)
print(n_classes, 'species', len(train_ds), 'train', len(test_ds), 'test')

torch.manual_seed(1)
train_dl = DataLoader(train_ds, batch_size=48, shuffle=True, num_workers=6)
test_dl = DataLoader(test_ds, batch_size=96, num_workers=6)

device = torch.device('cuda')
net = models.mobilenet_v3_large(weights=models.MobileNet_V3_Large_Weights.DEFAULT)
net.classifier[-1] = nn.Linear(net.classifier[-1].in_features, n_classes)
net = net.to(device)
optimizer = torch.optim.AdamW([
    {'params': net.features.parameters(), 'lr': 1e-4},
    {'params': net.classifier.parameters(), 'lr': 1e-3},
])
criterion = nn.CrossEntropyLoss(label_smoothing=0.05)

for epoch in range(10):
    net.train()
    total = 0.0
    for img, lab in train_dl:
        img, lab = img.to(device), lab.to(device)
        optimizer.zero_grad()
        loss = criterion(net(img), lab)
        loss.backward()
        optimizer.step()
        total += loss.item() * lab.size(0)
    print('epoch', epoch, 'loss', total / len(train_ds))

net.eval()
hits = 0
with torch.no_grad():
    for img, lab in test_dl:
        hits += (net(img.to(device)).argmax(1).cpu() == lab).sum().item()
print('test accuracy', hits / len(test_ds))
torch.save(net.state_dict(), 'birds.pt')  # used by app/predict.py
