"""Models with sparse initializers and sparse constants on both backends against ONNX Runtime."""
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


def sparse(name, shape, count, dtype, tuples):
    """`count` random values at random places of a tensor, with indices as one number or as one for each dimension."""
    places = np.sort(random.permutation(int(np.prod(shape)))[:count]).astype(np.int64)
    indices = np.stack(np.unravel_index(places, shape), 1).astype(np.int64) if tuples else places
    values = random.uniform(1, 100, count).astype(dtype)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(values, name), numpy_helper.from_array(indices, name + "_indices"), shape)


passed, failures = 0, []
for dtype in (np.float32, np.int64, np.int8, np.float16):
    for count in (0, 1, 300):
        for tuples in (False, True):
            name = f"{np.dtype(dtype)}, {count} values, {'tuples' if tuples else 'numbers'}"
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            node = helper.make_node("Constant", [], ["c"], sparse_value=sparse("v", [30, 40], count, dtype, tuples))
            graph = helper.make_graph(
                [node, helper.make_node("Concat", ["x", "w", "c"], ["y"], axis=0)], "g",
                [helper.make_tensor_value_info("x", kind, [1, 40])], [helper.make_tensor_value_info("y", kind, [61, 40])],
                sparse_initializer=[sparse("w", [30, 40], count, dtype, tuples)])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
            x = random.uniform(1, 100, (1, 40)).astype(dtype)
            wanted = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "model.onnx"
                path.write_bytes(model.SerializeToString())
                for device in ("reference", "cpu"):
                    got = run_model(binary, device, path, [x])[0]
                    if not np.array_equal(got, wanted[0]):
                        failures.append(f"{name} on {device}: off by {worst(got, wanted[0])}")
                    else:
                        passed += 1
finish(passed, failures)
