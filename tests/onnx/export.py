"""Every model of ONNX's tests that we import is exported again, passes the checker, and gives the expected answers in ONNX Runtime."""
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

from peers import excluded, finish, read_tensor, run, suite_folders, worst

binary = sys.argv[1]
skipped = set(excluded())
# What ONNX Runtime has no kernel for on the CPU, or its Python side no dtype, by its own message.
UNIMPLEMENTED = ("NOT_IMPLEMENTED", "Could not find an implementation", "can't be converted to MLDataType", "No corresponding Numpy type",
                 "is not supported now")
# Models that need rows without a counterpart: orders and axes that tensors tell, control flow.
MOST_REFUSED = 180
onnxruntime.set_default_logger_severity(4)
failures, passed, peerless, numbered, refused, narrow = [], 0, [], [], [], set()
# Float8 and what has 4 or 2 bits: NumPy has none of them, so ONNX Runtime is given floats and casts.
NARROW = range(onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.INT2 + 1)


def widen(path):
    """Makes the narrow inputs and outputs of a model floats, with a Cast between; answers whether there were any."""
    model = onnx.load(path)
    before, after = [], []
    for value in model.graph.input:
        if (kind := value.type.tensor_type.elem_type) not in NARROW:
            continue
        for node in model.graph.node:
            node.input[:] = [name + "/narrow" if name == value.name else name for name in node.input]
        attributes = {"saturate": 0} if kind <= onnx.TensorProto.FLOAT8E5M2FNUZ else {}
        before.append(onnx.helper.make_node("Cast", [value.name], [value.name + "/narrow"], to=kind, **attributes))
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for value in model.graph.output:
        if value.type.tensor_type.elem_type not in NARROW:
            continue
        for node in model.graph.node:
            node.input[:] = [name + "/narrow" if name == value.name else name for name in node.input]
            node.output[:] = [name + "/narrow" if name == value.name else name for name in node.output]
        after.append(onnx.helper.make_node("Cast", [value.name + "/narrow"], [value.name], to=onnx.TensorProto.FLOAT))
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    if not before and not after:
        return False
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return True


def read(path):
    array = read_tensor(path)
    return array.astype(np.float32) if onnx.load_tensor(str(path)).data_type in NARROW else array


with tempfile.TemporaryDirectory() as folder:
    target = pathlib.Path(folder) / "model.onnx"
    for test in suite_folders():
        if test.name in skipped:
            continue
        try:
            run(binary, "export", test / "model.onnx", target)
        except Exception as error:
            why = getattr(error, "stderr", str(error))
            if "no counterpart for: " in why:
                refused.append(test.name)
            elif "when the model is imported" in why:  # how many tensors a sequence has, or a value that decides it
                numbered.append(test.name)
            else:
                failures.append(f"{test.name}: {why}")
            continue
        try:
            onnx.checker.check_model(str(target), full_check=True)
            if widen(target):
                narrow.add(test.name)
            session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        except Exception as error:
            if any(word in str(error) for word in UNIMPLEMENTED):
                peerless.append(test.name)
            else:
                failures.append(f"{test.name}: {error}")
            continue
        graph = onnx.load(test / "model.onnx", load_external_data=False).graph
        if not all(value.type.HasField("tensor_type") for value in (*graph.input, *graph.output)):
            numbered.append(test.name)  # its data files hold sequences
            continue
        data = test / "test_data_set_0"
        inputs = {}
        for index, path in enumerate(sorted(data.glob("input_*.pb"), key=lambda p: int(p.stem.split("_")[1]))):
            name = onnx.load_tensor(str(path)).name or session.get_inputs()[index].name
            inputs[name] = read(path)
        wanted_names = {value.name for value in session.get_inputs()}
        try:
            got = session.run(None, {name: array for name, array in inputs.items() if name in wanted_names})
        except Exception as error:
            if any(word in str(error) for word in UNIMPLEMENTED):
                peerless.append(test.name)
            else:
                failures.append(f"{test.name}: {error}")
            continue
        outputs = sorted(data.glob("output_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
        off = max((worst(a, read(path)) for a, path in zip(got, outputs)), default=0)
        if off > 0:
            failures.append(f"{test.name}: off by {off}")
        else:
            passed += 1
print(f"without a peer: ONNX Runtime can't run {len(peerless)} of the exported models", file=sys.stderr)
if (count := len(set(peerless) - narrow)) > 20:
    failures.append(f"{count} models without a peer: too many to be left out")
print(f"refused by name: {len(refused)} models with rows that ONNX has no counterpart for; {len(numbered)} are or hold sequences", file=sys.stderr)
if len(refused) > MOST_REFUSED:
    failures.append(f"{len(refused)} models refused, {MOST_REFUSED} were when this was written")
finish(passed, failures)
