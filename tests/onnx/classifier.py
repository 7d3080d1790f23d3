"""A real classifier made by others (the model inside the magika package) agrees with ONNX Runtime on this project's files.

The network takes a variance as a difference of large sums, which f32 does not do well: ONNX Runtime's answers were measured to be up
to 1.1e-3 away from the same model in f64, ours 2e-5. So ours must be within 1e-4 of the reference backend, which accumulates in
f64, and within 3e-3 of ONNX Runtime's, with the same label for every file.
"""
import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import onnxruntime

from peers import finish, run_model

binary = sys.argv[1]
package = pathlib.Path(importlib.util.find_spec("magika").origin).parent
(MODEL,) = package.glob("models/*/model.onnx")
HALF, PADDING = 1024, 256


def features(path):
    """The first and last 1,024 bytes without the space around the content, padded: what the model was trained on."""
    content = path.read_bytes()
    begin, end = content[:4096].lstrip()[:HALF], content[-4096:].rstrip()[-HALF:]
    row = np.full(2 * HALF, PADDING, np.int32)
    row[: len(begin)] = list(begin)
    if end:
        row[-len(end) :] = list(end)
    return row


names = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split("\n")
files = [pathlib.Path(name) for name in names if name and pathlib.Path(name).is_file()]
batch = np.stack([features(path) for path in files])
failures, passed = [], 0


def check(what, got, wanted, allowed):
    """Same labels, and no probability further away than `allowed`."""
    global passed
    off = np.abs(got.astype(np.float64) - wanted).max()
    labels = (got.argmax(1) != wanted.argmax(1)).sum()
    if off > allowed or labels:
        failures.append(f"{what}: off by {off:.2e}, at most {allowed} allowed; {labels} of {len(got)} labels differ")
    else:
        passed += len(got)
        print(f"{what}: off by {off:.2e}", file=sys.stderr)


if len(files) < 100:
    failures.append(f"only {len(files)} files to classify")
session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
(runtime,) = session.run(None, {"bytes": batch})
sample = batch[:: len(batch) // 3]
(oracle,) = run_model(binary, "reference", MODEL, [sample])
(got,) = run_model(binary, "cpu", MODEL, [sample])
check("cpu against reference", got, oracle, 1e-4)
# The same loaded file serves any batch: one, seven, the rest.
for start, end in ((0, 1), (1, 8), (8, len(files))):
    (got,) = run_model(binary, "cpu", MODEL, [batch[start:end]])
    check(f"files {start} to {end} against ONNX Runtime", got, runtime[start:end], 3e-3)
finish(passed, failures)
