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
# What was true when this was written: more may pass, less may be left out.
LEAST_PASSED = 1785
MOST_REFUSED = 0  # rows without a counterpart
MOST_PEERLESS = 37
MOST_NUMBERED = 32  # models that are or hold sequences
onnxruntime.set_default_logger_severity(4)
failures, passed, peerless, numbered, refused = [], 0, [], [], []
# Float8 and what has 4 or 2 bits: NumPy has none of them, so ONNX Runtime is given floats and casts.
NARROW = range(onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.INT2 + 1)


def widen(path):
    """Makes the narrow inputs and outputs of a model floats, with a Cast between."""
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
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def read(path):
    array = read_tensor(path)
    return array.astype(np.float32) if onnx.load_tensor(str(path)).data_type in NARROW else array


def expected(test, path, inputs):
    """What the file says. That of the inverse transforms has rounding errors beyond ONNX's tolerance, 1.9e-7 for 0, so that an exact
    answer is off: they are held against NumPy's, computed in f64."""
    if not test.name.startswith("test_dft_inverse"):
        return read(path)
    x = inputs["x"].astype(np.float64)
    y = np.fft.ifft(x[..., 0] + 1j * x[..., 1], axis=1)
    return np.stack([y.real, y.imag], axis=-1).astype(np.float32)


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
            widen(target)
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
        off = max((worst(a, expected(test, path, inputs)) for a, path in zip(got, outputs)), default=0)
        if off > 0:
            failures.append(f"{test.name}: off by {off}")
        else:
            passed += 1
counts = {"refused by name": (refused, MOST_REFUSED), "without a peer": (peerless, MOST_PEERLESS), "with sequences": (numbered, MOST_NUMBERED)}
for what, (names, most) in counts.items():
    print(f"{len(names)} models {what}", file=sys.stderr)
    if len(names) > most:
        failures.append(f"{len(names)} models {what}, {most} when this was written: {' '.join(names)}")
if passed < LEAST_PASSED:
    failures.append(f"{passed} models passed, {LEAST_PASSED} when this was written")
finish(passed, failures)
