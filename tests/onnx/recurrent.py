"""LSTM, GRU and RNN as ONNX's own tests do not try them (directions, lengths, activations, clipping, peepholes), on both backends against
ONNX Runtime. The seed of the random operands is an argument, or new, and printed.
"""
import itertools
import pathlib
import random as dice
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from peers import finish, run_model, worst

binary = sys.argv[1]
seed = int(sys.argv[2]) if len(sys.argv) > 2 else dice.randrange(1 << 31)
print(f"seed {seed}")
random = np.random.RandomState(seed)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# ONNX Runtime's own way: its names are ONNX's, alphas and betas go to those functions that take them, in their order.
ACTIVATIONS = {
    "LSTM": [(["HardSigmoid", "ScaledTanh", "Affine"], [0.3, 0.9, 0.7], [0.4, 0.8, 0.1]), (["Sigmoid", "Relu", "Softsign"], [], [])],
    "GRU": [(["HardSigmoid", "LeakyRelu"], [0.3, 0.05], [0.4]), (["Sigmoid", "Softplus"], [], [])],
    "RNN": [(["Elu"], [0.5], []), (["ThresholdedRelu"], [0.25], []), (["Relu"], [], [])],
}


def make_case(op, direction, activations, options):
    steps, batch, inputs, hidden = 5, 3, 4, 6
    directions = 2 if direction == "bidirectional" else 1
    draw = lambda *shape: (random.uniform(-0.6, 0.6, shape)).astype(np.float32)
    rows = GATES[op] * hidden
    operands = {"X": draw(steps, batch, inputs), "W": draw(directions, rows, inputs), "R": draw(directions, rows, hidden)}
    names = ["X", "W", "R"] + ["B" if "bias" in options else "", "lengths" if "lengths" in options else ""]
    if "bias" in options:
        operands["B"] = draw(directions, 2 * rows)
    if "lengths" in options:
        operands["lengths"] = np.array([steps, 1, 3], np.int32)
    names.append("h" if "states" in options else "")
    if "states" in options:
        operands["h"] = draw(directions, batch, hidden)
    if op == "LSTM":
        names += ["c" if "states" in options else "", "P" if "peepholes" in options else ""]
        if "states" in options:
            operands["c"] = draw(directions, batch, hidden)
        if "peepholes" in options:
            operands["P"] = draw(directions, 3 * hidden)
    attributes = dict(hidden_size=hidden, direction=direction)
    if activations is not None:
        functions, alphas, betas = activations
        attributes.update(activations=functions * directions)
        if alphas:
            attributes.update(activation_alpha=alphas * directions)
        if betas:
            attributes.update(activation_beta=betas * directions)
    if "clip" in options:
        attributes.update(clip=0.4)
    if "linear_before_reset" in options:
        attributes.update(linear_before_reset=1)
    if "input_forget" in options:
        attributes.update(input_forget=1)
    results = ["Y", "Y_h"] + (["Y_c"] if op == "LSTM" else [])
    node = helper.make_node(op, names, results, **attributes)
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    declared = [helper.make_tensor_value_info(name, kinds[x.dtype], x.shape) for name, x in operands.items()]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    graph = helper.make_graph([node], "layer", declared, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), operands


def cases():
    everything = ("bias", "lengths", "states")
    for op, direction in itertools.product(GATES, ("forward", "reverse", "bidirectional")):
        for options in ((), ("bias",), ("lengths", "states"), everything):
            yield op, direction, None, options
        for activations in ACTIVATIONS[op]:
            yield op, direction, activations, everything
        yield op, direction, None, everything + ("clip",)
    for direction in ("forward", "bidirectional"):
        yield "LSTM", direction, None, everything + ("peepholes",)
        yield "LSTM", direction, None, everything + ("input_forget",)
        yield "GRU", direction, None, ("linear_before_reset",)
        yield "GRU", direction, None, everything + ("linear_before_reset",)
        yield "GRU", direction, ACTIVATIONS["GRU"][0], everything + ("linear_before_reset",)


onnxruntime.set_default_logger_severity(4)
failures, passed = [], 0
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "model.onnx"
    for op, direction, activations, options in cases():
        name = f"{op} {direction} {activations[0] if activations else ''} {' '.join(options)}"
        model, operands = make_case(op, direction, activations, options)
        onnx.save(model, str(path))
        wanted = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, operands)
        for device in ("reference", "cpu"):
            try:
                got = run_model(binary, device, path, list(operands.values()))
            except Exception as error:
                failures.append(f"{device}: {name}: {getattr(error, 'stderr', error)}")
                continue
            off = max(worst(a, b, atol=1e-6) for a, b in zip(got, wanted, strict=True))
            if off > 0:
                failures.append(f"{device}: {name}: off by {off}")
            else:
                passed += 1
finish(passed, failures)
