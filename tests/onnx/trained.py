"""The demo's network, trained for a few steps on Fashion-MNIST and exported: ONNX Runtime gives the same answers, for any batch."""
import gzip
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

from peers import finish, run, worst

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
failures, passed = [], 0
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (folder / name).write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    run(sys.argv[1], folder, folder)
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    images = np.load(folder / "images.npy")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["probabilities"], {"image": images})
    (first,) = session.run(["probabilities"], {"image": images[:1]})
    for what, got in (("imported again", np.load(folder / "probabilities.npy")), ("the model itself", np.load(folder / "direct.npy"))):
        off = worst(got, wanted, atol=1e-6)
        if off > 0:
            failures.append(f"{what}: off by {off}")
        else:
            passed += 1
    if worst(first, wanted[:1], atol=1e-6) > 0:
        failures.append("a batch of one gives other answers")
    # Sixty steps are enough to know most of a hundred images: the comparison is of something that was learned.
    labels = np.frombuffer((folder / "train-labels-idx1-ubyte").read_bytes()[8:108], np.uint8)
    if (wanted.argmax(1) == labels).mean() < 0.6:
        failures.append(f"only {(wanted.argmax(1) == labels).mean():.2f} of the labels are right: it did not learn")
finish(passed, failures)
