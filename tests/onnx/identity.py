"""Import, export at the model's own operator set and import again give the same graph up to names, for every model of ONNX's tests
that we import. The files pass the checker.
"""
import pathlib
import sys
import tempfile

import onnx

from peers import finish, run, suite_folders

binary = sys.argv[1]
# What was true when this was written: more may be the same, less may be refused.
LEAST_SAME = 1864
MOST_REFUSED = 41  # of the importer: strings and pictures

failures, same, refused = [], [], []
with tempfile.TemporaryDirectory() as folder:
    for line in run(binary, "identity", folder, *suite_folders()).splitlines():
        verdict, name = line.replace(":", "").split(" ", 2)[:2]
        if verdict == "refused":
            refused.append(name)
            continue
        if verdict == "same":
            same.append(name)
        else:
            failures.append(line)
        try:
            onnx.checker.check_model(str(pathlib.Path(folder) / f"{name}.onnx"), full_check=True)
        except Exception as error:
            failures.append(f"{name}: {error}")
print(f"{len(same)} models are the same, {len(refused)} are refused", file=sys.stderr)
if len(same) < LEAST_SAME:
    failures.append(f"{len(same)} models are the same, {LEAST_SAME} when this was written")
if len(refused) > MOST_REFUSED:
    failures.append(f"{len(refused)} models are refused, {MOST_REFUSED} when this was written")
finish(len(same), failures)
