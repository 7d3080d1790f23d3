"""What mlbench compares with: the same work in PyTorch, timed on request.

Started as `python3 torch_peer.py eval|train THREADS`. Prints "ready VERSION"; then answers each line N on stdin with
the seconds that N repetitions took. Exits 3 when there is no PyTorch.
"""
import sys
import time

try:
    import torch
except ImportError:
    sys.exit(3)


def expression():
    x = torch.linspace(-1, 1, 1024)
    y = torch.linspace(2, 3, 1024)

    def run():
        # The ten operations of eval_bench.cpp.
        a = x * 1.5 + y
        b = torch.tanh(a) - x / y
        c = torch.exp(b * 0.5) + torch.maximum(a, b)
        return torch.abs(c)

    return run


def training_step():
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    x = torch.randn(64, 1, 28, 28)
    y = torch.arange(64) % 10

    def run():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()

    return run


torch.set_num_threads(int(sys.argv[2]))
work = {"eval": expression, "train": training_step}[sys.argv[1]]()
work()
print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    count = int(line)
    started = time.perf_counter()
    for _ in range(count):
        work()
    print(time.perf_counter() - started, flush=True)
