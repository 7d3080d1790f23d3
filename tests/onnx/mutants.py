"""Mutants of ONNX's own tests in little memory: the importer refuses each, or makes a graph of it whose inputs can be given shapes.

The seed is an argument, or new, and printed; so is the number of mutants. What goes wrong leaves its model beside the build."""
import pathlib
import random
import subprocess
import sys

from peers import finish, suite_folders

binary = pathlib.Path(sys.argv[1])
seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 31)
count = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
PARTS = 4  # processes, so that one that dies takes the others' mutants with it not
print(f"seed {seed}, {count} mutants", file=sys.stderr)
models = [folder / "model.onnx" for folder in suite_folders()]
models = [str(path) for path in models if path.stat().st_size < 64 * 1024]

failures = []
for part in range(PARTS):
    kept = binary.parent.parent / f"mutant-{seed + part}.onnx"
    command = [str(binary), str(seed + part), str(count // PARTS), str(kept), *models]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=140)
    except subprocess.TimeoutExpired:
        failures.append(f"seed {seed + part}: a mutant takes too long, see {kept}")
        continue
    print(ran.stdout, end="", file=sys.stderr)
    if ran.returncode != 0:
        failures.append(f"seed {seed + part}: exit code {ran.returncode}, see {kept}: {ran.stderr[-500:]}")
finish(PARTS - len(failures), failures)
