"""ONNX's own tests through the importer, on both backends: every one passes, or is listed with the reason why not.

usage: conformance.py ONNX_SUITE FOLDER [--write]

excluded.txt lists tests as "name: reason". A test that is not listed must pass on both backends, and one that starts to pass must
leave the list. FOLDER/onnx.json gets the verdict on each test; docs/onnx-conformance.md is made of it and must be as it is here.
--write makes the list and the page anew.
"""
import json
import pathlib
import re
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from peers import DATA, SUITES, excluded, run

HERE = pathlib.Path(__file__).parent
LIST, PAGE = HERE / "excluded.txt", HERE.parent.parent / "docs" / "onnx-conformance.md"
DEVICES = ("reference", "cpu")
AT_ONCE = 200


def node_tests():
    """Suite, name, folder and relative tolerance of each test that comes with its data."""
    for suite in SUITES:
        for folder in sorted((DATA / suite).iterdir()):
            if (folder / "model.onnx").exists():
                yield suite, folder.name, folder, 1e-3


def light_tests(folder):
    """Whole networks whose weights are constants; their input is a ramp from 0 to 1 (onnx/backend/test/runner)."""
    for about in sorted((DATA / "real").glob("*/data.json")):
        model = json.loads(about.read_text())
        path = DATA / "light" / pathlib.PurePosixPath(model["url"]).name
        test = folder / "light" / about.parent.name
        data = test / "test_data_set_0"
        data.mkdir(parents=True, exist_ok=True)
        (test / "model.onnx").write_bytes(path.read_bytes())
        graph = onnx.load(path).graph
        given = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in given]
        for at, value in enumerate(inputs):
            shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
            ramp = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
            (data / f"input_{at}.pb").write_bytes(numpy_helper.from_array(ramp, value.name).SerializeToString())
        for at in range(len(graph.output)):
            (data / f"output_{at}.pb").write_bytes(path.with_name(f"{path.stem}_output_{at}.pb").read_bytes())
        yield "light", about.parent.name, test, model["rtol"]


def judge(binary, tests):
    """Per test, what each backend said: the verdict and, where it is not "passed", why."""
    said = {}
    for device in DEVICES:
        for rtol in sorted({rtol for *_, rtol in tests}):
            folders = [folder for *_, folder, tolerance in tests if tolerance == rtol]
            for at in range(0, len(folders), AT_ONCE):
                some = folders[at : at + AT_ONCE]
                lines = run(binary, "nodes", device, rtol, *some).splitlines()
                if len(lines) != len(some):
                    sys.exit(f"{device}: {len(some)} tests, {len(lines)} answers")
                for folder, line in zip(some, lines, strict=True):
                    verdict, rest = line.split(" ", 1)
                    name, _, why = rest.partition(": ")
                    if name != folder.name:
                        sys.exit(f"{device}: an answer about {name} instead of {folder.name}")
                    said.setdefault(name, {})[device] = (verdict, why)
    return said


def reason_of(why):
    """What the importer says, without the names of this model's nodes and files."""
    why = re.sub(r" in (#\d+|'[^']*')(, (#\d+|'[^']*'))*", "", why)
    return re.sub(r"^(input|output)_\d+\.pb: tensor '[^']*': ", "", why)


def verdicts(tests, said, listed):
    """Each test's verdict for the page, and what is wrong with the list."""
    results, wrong = [], []
    for suite, name, *_ in tests:
        bad = {device: why for device, (verdict, why) in said[name].items() if verdict != "passed"}
        refused = all(verdict in ("passed", "refused") for verdict, _ in said[name].values())
        result = {"suite": suite, "name": name, "verdict": "passed"}
        if name in listed:
            result |= {"verdict": "excluded", "reason": listed[name]}
            if not bad:
                wrong.append(f"{name} passes now: take it off {LIST.name}")
            elif not refused and not all(": element " in why for why in bad.values()):
                wrong.append(f"{name} is excluded for its values, but fails otherwise: {bad}")
        elif bad:
            result |= {"verdict": "failed", "reason": "; ".join(f"{device}: {why}" for device, why in bad.items())}
            wrong.append(f"{name}: {result['reason']}")
        elif any(why for _, why in said[name].values()):
            result["note"] = next(why for _, why in said[name].values() if why)
        results.append(result)
    return results, wrong


def page_of(results):
    lines = ["# ONNX's own tests", "",
             f"Made by `make conformance` from build/conformance/onnx.json: the tests of onnx {onnx.__version__} through the importer, on the",
             "`cpu` backend and on `reference`, with ONNX's tolerances (relative 1e-3, absolute 1e-7, or the suite's own). A test counts as",
             "passed when it passes on both. CI runs them all and fails when a test that is not listed below fails, or one that is passes.", "",
             "| suite | tests | passed | excluded |", "|---|---|---|---|"]
    suites = {}
    for result in results:
        suites.setdefault(result["suite"], []).append(result["verdict"])
    for suite, said in suites.items():
        lines.append(f"| {suite} | {len(said)} | {said.count('passed')} | {said.count('excluded')} |")
    reasons, notes = {}, {}
    for result in results:
        if result["verdict"] == "excluded":
            reasons.setdefault(result["reason"], []).append(result["name"])
        if "note" in result:
            notes.setdefault(result["note"], []).append(result["name"])
    for heading, groups in (("Excluded", reasons), ("Passed with a remark", notes)):
        if groups:
            lines += ["", f"## {heading}"]
        for reason, names in sorted(groups.items()):
            lines += ["", f"{reason[0].upper()}{reason[1:]} ({len(names)}):", ""] + [f"- {name}" for name in sorted(names)]
    return "\n".join(lines) + "\n"


def main():
    binary, folder, write = sys.argv[1], pathlib.Path(sys.argv[2]), "--write" in sys.argv
    folder.mkdir(parents=True, exist_ok=True)
    tests = [*node_tests(), *light_tests(folder)]
    said, listed = judge(binary, tests), excluded()
    if write:
        kept = {}
        for _, name, *_ in tests:
            why = [why for verdict, why in said[name].values() if verdict != "passed"]
            if why:
                kept[name] = listed.get(name) or reason_of(why[0])
        listed = kept
        LIST.write_text("".join(f"{name}: {reason}\n" for name, reason in sorted(listed.items())))
    results, wrong = verdicts(tests, said, listed)
    wrong += [f"{name} is listed, but there is no such test" for name in listed if name not in said]
    (folder / "onnx.json").write_text(json.dumps({"onnx": onnx.__version__, "devices": DEVICES, "tests": results}, indent=1) + "\n")
    page = page_of(results)
    if write:
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        wrong.append(f"docs/{PAGE.name} is not what these results say: run make conformance")
    for line in wrong[:60]:
        print(line, file=sys.stderr)
    counts = [result["verdict"] for result in results]
    print(f"{counts.count('passed')} of {len(counts)} passed, {counts.count('excluded')} excluded, {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


main()
