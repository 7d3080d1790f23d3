#!/usr/bin/env python3
"""What PyTorch computes for the layers and optimizers that tests/unit/client compares with.

Writes expected.safetensors beside itself. Needs python3-torch; the file is committed, so the tests do not.
"""
import json
import pathlib
import struct

import numpy
import torch

torch.manual_seed(3)
tensors = {}


def keep(name, tensor):
    tensors[name] = tensor.detach().contiguous().numpy().copy()


def layer(name, module, x, loss=lambda y: (y * y).sum() / 2):
    """Input, parameters, output, and gradients of a loss that is not linear."""
    floating = x.is_floating_point()
    x = x.clone().requires_grad_(floating)
    keep(f"{name}/x", x)
    for key, value in module.state_dict().items():
        keep(f"{name}/state/{key}", value)
    y = module(x)
    keep(f"{name}/y", y)
    loss(y).backward()
    if floating:
        keep(f"{name}/dx", x.grad)
    for key, value in module.named_parameters():
        keep(f"{name}/grad/{key}", value.grad)
    for key, value in module.named_buffers():
        keep(f"{name}/after/{key}", value)


nn = torch.nn
layer("linear", nn.Linear(5, 3), torch.randn(4, 5))
layer("conv", nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), torch.randn(2, 2, 7, 6))
layer("batch_norm", nn.BatchNorm2d(3), torch.randn(4, 3, 5, 2) * 2 + 1)
layer("layer_norm", nn.LayerNorm([3, 4]), torch.randn(2, 3, 4))
layer("max_pool", nn.MaxPool2d(3, stride=2, padding=1), torch.randn(2, 2, 7, 8))
layer("avg_pool", nn.AvgPool2d(3, stride=2, padding=1), torch.randn(2, 2, 7, 8))
layer("gelu", nn.GELU(), torch.randn(3, 5) * 2)
layer("softmax", nn.Softmax(dim=-1), torch.randn(3, 5) * 2)
layer("embedding", nn.Embedding(6, 3), torch.tensor([[0, 5], [2, 2]]))

logits = (torch.randn(6, 4) * 3).requires_grad_()
targets = torch.tensor([0, 3, 1, 1, 2, 0])
loss = nn.functional.cross_entropy(logits, targets)
loss.backward()
keep("cross_entropy/logits", logits)
keep("cross_entropy/targets", targets)
keep("cross_entropy/loss", loss)
keep("cross_entropy/grad", logits.grad)

# Ten steps on one quadratic with each optimizer: the trajectory of the parameter.
start, curvature, optimum = torch.randn(5), torch.rand(5) + 0.5, torch.randn(5)
keep("optimizer/start", start)
keep("optimizer/curvature", curvature)
keep("optimizer/optimum", optimum)
optimizers = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
}
for name, make in optimizers.items():
    parameter = start.clone().requires_grad_()
    optimizer = make([parameter])
    path = []
    for _ in range(10):
        optimizer.zero_grad()
        (curvature * (parameter - optimum) ** 2).sum().backward()
        optimizer.step()
        path.append(parameter.detach().clone())
    keep(f"optimizer/{name}", torch.stack(path))

names = {"float32": "F32", "int64": "I64"}
header, data = {}, b""
for key, value in tensors.items():
    raw = value.tobytes()
    header[key] = {"dtype": names[str(value.dtype)], "shape": list(value.shape),
                   "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
path = pathlib.Path(__file__).with_name("expected.safetensors")
path.write_bytes(struct.pack("<Q", len(text)) + text + data)
print(path, len(text) + len(data) + 8, "bytes, PyTorch", torch.__version__, "NumPy", numpy.__version__)
