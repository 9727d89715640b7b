import json, os, sys
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class LeNet(nn.Module):
	def __init__(self):
		super(LeNet, self).__init__()
		self.conv = nn.Sequential(
			nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
			nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2))
		self.fc = nn.Sequential(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))

	def forward(self, x):
		x = self.conv(x)
		return self.fc(x.view(x.size(0), -1))


class Trainer(object):
	def __init__(self, cfg):
		self.cfg = cfg
		self.device = torch.device(cfg['device'])
		t = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.1307], [0.3081])])
		self.train_loader = DataLoader(datasets.MNIST(cfg['root'], train=True, transform=t, download=True),
			batch_size=cfg['batch'], shuffle=True)
		self.test_loader = DataLoader(datasets.MNIST(cfg['root'], train=False, transform=t), batch_size=cfg['batch'])
		self.model = LeNet().to(self.device)
		self.opt = torch.optim.SGD(self.model.parameters(), lr=cfg['lr'])
		self.loss = nn.CrossEntropyLoss()
		self.history = []

	def _step(self, x, y):
		x, y = x.to(self.device), y.to(self.device)
		l = self.loss(self.model(x), y)
		l.backward()
		self.opt.step()
		return l.item()

	def fit(self):
		for e in range(self.cfg['epochs']):
			self.model.train()
			ls = []
			for x, y in self.train_loader:
				ls.append(self._step(x, y))
			m = sum(ls) / len(ls)
			self.history.append({'epoch': e, 'loss': m, 'acc': self.evaluate()})
			print(self.history[-1])

	def evaluate(self):
		self.model.eval()
		correct = 0
		with torch.no_grad():
			for x, y in self.test_loader:
				p = self.model(x.to(self.device)).max(1)[1].cpu()
				correct += (p == y).sum().item()
		return correct / (len(self.test_loader) * self.cfg['batch'])

	def save(self, path):
		torch.save(self.model.state_dict(), os.path.join(path, 'lenet.pth'))
		with open(os.path.join(path, 'history.json'), 'w') as f:
			json.dump(self.history, f)


if __name__ == '__main__':
	torch.manual_seed(99)
	cfg = dict(root='mnist', batch=256, lr=0.05, epochs=10, device='cpu')
	if len(sys.argv) > 1:
		cfg.update(json.load(open(sys.argv[1])))
	tr = Trainer(cfg)
	tr.fit()
	tr.save('.')
