# train a small net on our own product photos (mug / bottle / box / other)
import os
import cv2
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import TensorDataset, DataLoader

IMG = 64
FOLDER = 'photos'
NAMES = ['bottle', 'box', 'mug', 'other']


def load_images():
    xs, ys = [], []
    for label, name in enumerate(NAMES):
        d = os.path.join(FOLDER, name)
        for fn in sorted(os.listdir(d)):
            img = cv2.imread(os.path.join(d, fn))
            if img is None:
                continue
            img = cv2.cvtColor(cv2.resize(img, (IMG, IMG)), cv2.COLOR_BGR2RGB)
            xs.append(img)
            ys.append(label)
    return np.array(xs), np.array(ys)


class PhotoNet(nn.Module):
    def __init__(self):
        super(PhotoNet, self).__init__()
        self.c1 = nn.Conv2d(3, 32, 3, padding=1)
        self.c2 = nn.Conv2d(32, 64, 3, padding=1)
        self.c3 = nn.Conv2d(64, 128, 3, padding=1)
        self.out = nn.Linear(128, len(NAMES))

    def forward(self, x):
        for c in (self.c1, self.c2, self.c3):
            x = F.max_pool2d(F.relu(c(x)), 2)
        x = F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        return self.out(x)


np.random.seed(1)
torch.manual_seed(1)
X, y = load_images()
X = X.astype('float32') / 255.0
X = X.reshape(-1, 3, IMG, IMG)

order = np.random.permutation(len(X))
cut = int(len(X) * 0.8)
tr, te = order[:cut], order[cut:]
train_dl = DataLoader(TensorDataset(torch.from_numpy(X[tr]), torch.from_numpy(y[tr])), batch_size=32, shuffle=True)
test_dl = DataLoader(TensorDataset(torch.from_numpy(X[te]), torch.from_numpy(y[te])), batch_size=64)

net = PhotoNet()
opt = torch.optim.Adam(net.parameters(), lr=0.001)
for epoch in range(25):
    net.train()
    s = 0
    for xb, yb in train_dl:
        opt.zero_grad()
        loss = F.cross_entropy(net(xb), yb)
        loss.backward()
        opt.step()
        s += loss.item() * len(xb)
    print('epoch', epoch, 'loss', s / len(tr))

net.eval()
ok = 0
with torch.no_grad():
    for xb, yb in test_dl:
        ok += (net(xb).argmax(1) == yb).sum().item()
print('accuracy on held-out photos: %.1f %%' % (100.0 * ok / len(te)))
torch.save(net.state_dict(), 'photonet.pth')
