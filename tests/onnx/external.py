"""Models whose tensors lie in files beside them, as the onnx package writes them, on both backends against ONNX Runtime."""
import copy
import pathlib
import random as dice
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from peers import finish, run_model, worst

binary = sys.argv[1]
seed = int(sys.argv[2]) if len(sys.argv) > 2 else dice.randrange(1 << 31)
print(f"seed {seed}")
random = np.random.RandomState(seed)


def network():
    """Weights of several types and sizes, one of no elements, and one in an attribute."""
    weights = {
        "first": random.uniform(-1, 1, (40, 96)).astype(np.float32),
        "bias": random.uniform(-1, 1, (96,)).astype(np.float32),
        "second": random.uniform(-1, 1, (96, 7)).astype(np.float32),
        "columns": random.permutation(7).astype(np.int64),
        "nothing": np.zeros((3, 0), np.float32),
    }
    table = numpy_helper.from_array(random.uniform(-1, 1, (3, 7)).astype(np.float32), "table")
    nodes = [
        helper.make_node("Gemm", ["x", "first", "bias"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["c"]),
        helper.make_node("Gather", ["c", "columns"], ["d"], axis=1),
        helper.make_node("Constant", [], ["e"], value=table),
        helper.make_node("Add", ["d", "e"], ["f"]),
        helper.make_node("Concat", ["f", "nothing"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [3, 40])], [helper.make_tensor_value_info("y", 1, [3, 7])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


WAYS = {
    "one file": {"all_tensors_to_one_file": True, "location": "weights.bin"},
    "one file, small tensors too": {"all_tensors_to_one_file": True, "location": "weights.bin", "size_threshold": 0},
    "a file each": {"all_tensors_to_one_file": False, "size_threshold": 0},
    "attributes too": {"location": "weights.bin", "size_threshold": 0, "convert_attribute": True},
    "the large ones": {"location": "weights.bin", "size_threshold": 2048},
}

passed, failures = 0, []
x = random.uniform(-1, 1, (3, 40)).astype(np.float32)
whole = network()
# From bytes: ONNX Runtime doesn't read tensors of no elements from a file.
wanted = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
for name, options in WAYS.items():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        onnx.save_model(copy.deepcopy(whole), folder / "model.onnx", save_as_external_data=True, **options)
        stored = onnx.load(folder / "model.onnx", load_external_data=False)
        if not any(tensor.external_data for tensor in stored.graph.initializer):
            failures.append(f"{name}: nothing was written outside of the model")
        for device in ("reference", "cpu"):
            off = worst(run_model(binary, device, folder / "model.onnx", [x])[0], wanted[0], atol=1e-5)
            if off > 0:
                failures.append(f"{name} on {device}: off by {off}")
            else:
                passed += 1
finish(passed, failures)
