"""ONNX's own tests through the importer, on both backends.

A test passes, or the importer refuses its model with a reason. refused.txt lists which are refused: one that is not listed
must pass, and one that starts to pass must leave the list (run with --write to make the list anew). excluded.txt lists, with the
reason, those whose expected values nobody else can compute: they run, and only their values may differ.
"""
import pathlib
import sys

from peers import excluded, finish, run, suite_folders

LIST = pathlib.Path(__file__).with_name("refused.txt")
binary, write = sys.argv[1], "--write" in sys.argv
listed = set(LIST.read_text().split()) if LIST.exists() else set()
folders, incomparable = suite_folders(), excluded()
failures, passed, refused = [], 0, set()
for device in ("reference", "cpu"):
    lines = []
    for at in range(0, len(folders), 200):
        lines += run(binary, "nodes", device, *folders[at : at + 200]).splitlines()
    if len(lines) != len(folders):
        failures.append(f"{device}: {len(folders)} tests, {len(lines)} answers")
    for line in lines:
        verdict, name = line.split(":", 1)[0].split()
        passed += verdict == "passed"
        if name in incomparable and (verdict != "failed" or ": element " not in line):
            failures.append(f"{device}: excluded for its values alone: {line}")
        elif verdict == "failed" and name not in incomparable:
            failures.append(f"{device}: {line}")
        elif verdict == "refused":
            refused.add(name)
            if name not in listed and not write:
                failures.append(f"{device}: not listed as refused: {line}")
        elif name in listed and not write:
            failures.append(f"{device}: {name} passes now: take it off {LIST.name}")
if write:
    LIST.write_text("".join(f"{name}\n" for name in sorted(refused)))
finish(passed, failures)
