"""Import, export at the model's own operator set and import again give the same graph up to names, for every model of ONNX's tests
that we import; rewritten.txt names those for which they don't, by cause, and may only get shorter. The files pass the checker.
"""
import pathlib
import sys
import tempfile

import onnx

from peers import finish, run, suite_folders

binary = sys.argv[1]
# What was true when this was written: more may be the same, less may be refused.
LEAST_SAME = 1664
MOST_REFUSED = 76  # of the importer, in most cases

listed = {}
for line in pathlib.Path(__file__).with_name("rewritten.txt").read_text().splitlines():
    cause, names = line.split(": ", 1)
    listed |= dict.fromkeys(names.split(), cause)

failures, same, refused = [], [], []
with tempfile.TemporaryDirectory() as folder:
    for line in run(binary, "identity", folder, *suite_folders()).splitlines():
        verdict, name = line.replace(":", "").split(" ", 2)[:2]
        if verdict == "refused":
            refused.append(name)
            continue
        if verdict == "same":
            same.append(name)
        if verdict == "failed" or verdict == "differs" and name not in listed:
            failures.append(line)
        if verdict == "same" and name in listed:
            failures.append(f"{name} is the same now: take it from rewritten.txt ({listed[name]})")
        listed.pop(name, None)
        try:
            onnx.checker.check_model(str(pathlib.Path(folder) / f"{name}.onnx"), full_check=True)
        except Exception as error:
            failures.append(f"{name}: {error}")
failures += [f"{name} is in rewritten.txt, but there is no such model, or it is refused" for name in listed]
print(f"{len(same)} models are the same, {len(refused)} are refused", file=sys.stderr)
if len(same) < LEAST_SAME:
    failures.append(f"{len(same)} models are the same, {LEAST_SAME} when this was written")
if len(refused) > MOST_REFUSED:
    failures.append(f"{len(refused)} models are refused, {MOST_REFUSED} when this was written")
finish(len(same), failures)
