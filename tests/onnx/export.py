"""Every model of ONNX's tests that we import is exported again, passes the checker, and gives the expected answers in ONNX Runtime."""
import pathlib
import sys
import tempfile

import onnx
import onnxruntime

from peers import excluded, finish, read_tensor, run, suite_folders, worst

binary = sys.argv[1]
skipped = set(excluded())
# What ONNX Runtime has no kernel for on the CPU, or its Python side no dtype, by its own message.
UNIMPLEMENTED = ("NOT_IMPLEMENTED", "Could not find an implementation", "can't be converted to MLDataType", "No corresponding Numpy type")
onnxruntime.set_default_logger_severity(4)
failures, passed, peerless = [], 0, []
with tempfile.TemporaryDirectory() as folder:
    target = pathlib.Path(folder) / "model.onnx"
    for test in suite_folders():
        if test.name in skipped:
            continue
        try:
            run(binary, "export", test / "model.onnx", target)
        except Exception as error:
            failures.append(f"{test.name}: {getattr(error, 'stderr', error)}")
            continue
        try:
            onnx.checker.check_model(str(target), full_check=True)
            session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        except Exception as error:
            if any(word in str(error) for word in UNIMPLEMENTED):
                peerless.append(test.name)
            else:
                failures.append(f"{test.name}: {error}")
            continue
        data = test / "test_data_set_0"
        inputs = {}
        for index, path in enumerate(sorted(data.glob("input_*.pb"), key=lambda p: int(p.stem.split("_")[1]))):
            name = onnx.load_tensor(str(path)).name or session.get_inputs()[index].name
            inputs[name] = read_tensor(path)
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
        off = max((worst(a, read_tensor(path)) for a, path in zip(got, outputs)), default=0)
        if off > 0:
            failures.append(f"{test.name}: off by {off}")
        else:
            passed += 1
print(f"without a peer: ONNX Runtime can't run {len(peerless)} of the exported models", file=sys.stderr)
if len(peerless) > 20:
    failures.append(f"{len(peerless)} models without a peer: too many to be left out")
finish(passed, failures)
