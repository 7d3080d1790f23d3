"""What the ONNX test scripts share: where the data of the onnx package lies, and calling onnx_suite."""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

DATA = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")


def suite_folders():
    return sorted(folder for suite in SUITES for folder in (DATA / suite).iterdir() if (folder / "model.onnx").exists())


def excluded():
    """The tests whose expected values nobody else can compute, and why."""
    lines = pathlib.Path(__file__).with_name("excluded.txt").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def run(binary, *arguments):
    return subprocess.run([binary, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def run_model(binary, device, model, inputs):
    """The outputs that we compute for `inputs` (arrays in the order of the model's inputs)."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        files = []
        for index, array in enumerate(inputs):
            files.append(folder / f"input_{index}.pb")
            files[-1].write_bytes(numpy_helper.from_array(array).SerializeToString())
        run(binary, "run", device, model, folder, *files)
        return [read_tensor(path) for path in sorted(folder.glob("output_*.pb"))]


def read_tensor(path):
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def worst(got, wanted, atol=1e-7):
    """The largest |got - wanted| beyond atol + 1e-3 |wanted| (ONNX's own tolerances); 0 when all agree."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return float("inf")
    if got.dtype == bool:
        return float((got != wanted).sum())
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0, np.abs(a - b) - (atol + 1e-3 * np.abs(b)))
    return float(max(np.nan_to_num(off, nan=np.inf).max(initial=0), 0))


def finish(passed, failures):
    for failure in failures[:60]:
        print(failure, file=sys.stderr)
    print(f"{passed} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)
