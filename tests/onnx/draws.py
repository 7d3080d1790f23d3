"""What operators that draw random numbers promise as distributions, on both backends: ONNX's own tests hold the draws of one generator.
The seed of the models' seeds is an argument, or new, and printed. Bounds are six standard deviations of what is measured.
"""
import pathlib
import random as dice
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper

from peers import finish, run_model

binary = sys.argv[1]
seed = int(sys.argv[2]) if len(sys.argv) > 2 else dice.randrange(1 << 31)
print(f"seed {seed}")
random = np.random.RandomState(seed)
SIDE = 256
COUNT = SIDE * SIDE
KINDS = {np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE, np.float16: TensorProto.FLOAT16, np.int32: TensorProto.INT32,
         np.int64: TensorProto.INT64, np.bool_: TensorProto.BOOL}


def draw(op, opset, operands, results=1, **attributes):
    """One node's results on each backend, which have to agree."""
    names = [f"x{i}" for i in range(len(operands))]
    inputs = [helper.make_tensor_value_info(name, KINDS[x.dtype.type], x.shape) for name, x in zip(names, operands)]
    outputs = [helper.make_empty_tensor_value_info(f"y{i}") for i in range(results)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(results)], **attributes)
    graph = helper.make_graph([node], "draw", inputs, outputs)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
        all_results = [run_model(binary, device, path, operands) for device in ("reference", "cpu")]
    for a, b in zip(*all_results, strict=True):
        # Draws differ in the last bit of f32, and so may round to neighbours in f16; a mean that is added afterwards brings such
        # a pair close to 0.
        atol = np.finfo(np.float16).eps if a.dtype == np.float16 else 1e-5
        expect(f"{op} draws alike on both", np.allclose(a.astype(np.float64), b.astype(np.float64), rtol=1e-3, atol=atol))
    return all_results[1]


failures, passed = [], 0


def expect(what, holds):
    global passed
    if holds:
        passed += 1
    else:
        failures.append(what)


def expect_moments(what, x, mean, variance, kurtosis):
    """`kurtosis`: the fourth central moment over the squared variance."""
    x = x.astype(np.float64).reshape(-1)
    off = abs(x.mean() - mean) / np.sqrt(variance / x.size)
    expect(f"{what}: the mean {x.mean()} is {off} deviations from {mean}", off < 6)
    off = abs(x.var() - variance) / (variance * np.sqrt((kurtosis - 1) / x.size))
    expect(f"{what}: the variance {x.var()} is {off} deviations from {variance}", off < 6)


def expect_share(what, hits, p):
    n = np.size(hits)
    off = abs(np.mean(hits) - p) / np.sqrt(p * (1 - p) / n)
    expect(f"{what}: a share of {np.mean(hits)} is {off} deviations from {p}", off < 6)


fresh = lambda: float(random.randint(1 << 24))
for kind in (np.float32, np.float64, np.float16):
    code = KINDS[kind]
    for op, operands, shape in (("", [], dict(shape=[SIDE, SIDE])), ("Like", [np.zeros((SIDE, SIDE), kind)], {})):
        x = draw(f"RandomUniform{op}", 22, operands, dtype=code, low=-1.0, high=3.0, seed=fresh(), **shape)[0]
        expect(f"RandomUniform{op} answers {kind} in [-1, 3]", x.dtype == kind and x.shape == (SIDE, SIDE) and x.min() >= -1 and x.max() <= 3)
        expect_moments(f"RandomUniform{op} of {kind}", x, 1, 16 / 12, 1.8)
        x = draw(f"RandomNormal{op}", 1, operands, dtype=code, mean=-0.5, scale=2.0, seed=fresh(), **shape)[0]
        expect(f"RandomNormal{op} answers {kind}", x.dtype == kind and x.shape == (SIDE, SIDE))
        expect_moments(f"RandomNormal{op} of {kind}", x, -0.5, 4, 3)

first, again, other = (draw("RandomNormal", 22, [], shape=[SIDE], seed=s)[0] for s in (1.0, 1.0, 2.0))
expect("a seed says what is drawn", np.array_equal(first, again) and not np.array_equal(first, other))
covariance = np.mean(first * other)
expect(f"other seeds draw independently: {covariance}", abs(covariance) < 6 / np.sqrt(SIDE))

p = np.tile(np.array([0.0, 0.1, 0.5, 0.97, 1.0], np.float32), (COUNT // 4, 1))
x = draw("Bernoulli", 15, [p], seed=fresh())[0]
expect("Bernoulli answers what it got, certain where it is", x.dtype == np.float32 and not x[:, 0].any() and x[:, 4].all())
for column in (1, 2, 3):
    expect_share(f"Bernoulli at {p[0, column]}", x[:, column], p[0, column])
expect("Bernoulli answers another dtype", draw("Bernoulli", 15, [p], dtype=TensorProto.BOOL)[0].dtype == np.bool_)

weights = np.array([0.1, 0.2, 0.0, 0.65, 0.05])
with np.errstate(divide="ignore"):
    logits = (np.log(np.stack([weights, weights[::-1]])) + 3).astype(np.float32)
x = draw("Multinomial", 7, [logits], sample_size=COUNT // 4, seed=fresh())[0]
expect("Multinomial answers [batch, samples]", x.dtype == np.int32 and x.shape == (2, COUNT // 4))
for row, shares in enumerate((weights, weights[::-1])):
    expect("Multinomial draws nothing impossible", not (x[row] == np.flatnonzero(shares == 0)[0]).any())
    for outcome in np.flatnonzero(shares):
        expect_share(f"Multinomial: outcome {outcome}", x[row] == outcome, shares[outcome])
expect("Multinomial answers i64", draw("Multinomial", 22, [logits], dtype=TensorProto.INT64)[0].dtype == np.int64)

ones, yes, no = np.ones((SIDE, SIDE), np.float32), np.array(True), np.array(False)
for ratio in (0.25, 0.9):
    for y, mask in (draw("Dropout", 22, [ones, np.array(ratio, np.float32), yes], 2, seed=int(fresh())), draw("Dropout", 6, [ones], 2, ratio=ratio)):
        mask = mask.astype(np.bool_)
        expect_share(f"Dropout at {ratio}", mask, 1 - ratio)
        expect("Dropout scales what it keeps", np.allclose(y[mask], 1 / (1 - ratio), rtol=1e-5) and not y[~mask].any())
y, mask = draw("Dropout", 13, [ones, np.array(0.5, np.float32), no], 2)
expect("Dropout that does not train keeps everything", np.array_equal(y, ones) and mask.all() and mask.dtype == np.bool_)
y, mask = draw("Dropout", 7, [ones], 2, ratio=0.5)
expect("Dropout never trains between operator sets 7 and 11", np.array_equal(y, ones) and mask.dtype == np.float32 and mask.all())
finish(passed, failures)
