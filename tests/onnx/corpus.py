"""Copies the models of ONNX's own tests, one file each, to a folder: what fuzzing starts from."""
import pathlib
import shutil
import sys

from peers import suite_folders

MOST = 4 * 1024  # bytes: the few that are larger take most of the time and reach nothing else

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
models = [path / "model.onnx" for path in suite_folders()]
models = [path for path in models if path.stat().st_size <= MOST]
for path in models:
    shutil.copyfile(path, folder / f"{path.parent.parent.name}-{path.parent.name}")
print(f"{len(models)} models in {folder}", file=sys.stderr)
