#!/usr/bin/env python3
"""Every line of C in docs/kernel.md stands in the example that the guests run, and its commands name scripts, kernels and
programs that exist, so the page can't drift from them."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]


def words(text):
    return re.sub(r"\s+", " ", text).strip()


example = words((root / "docs/examples/kernel/life.c").read_text())
page = (root / "docs/kernel.md").read_text()
blocks = re.findall(r"^```(\w*)\n(.*?)^```", page, re.S | re.M)
lines = [line for kind, block in blocks if kind == "c" for line in block.splitlines() if line.strip()]
missing = [line for line in lines if words(line) not in example]
calls = set(re.findall(r"(?:CALL|ioctl)\([^,]+, ((?:DRM_IOCTL_)?MLACCEL_\w+)", example))
untold = [call for call in sorted(calls) if re.sub(r"^(DRM_IOCTL_)?MLACCEL_", "", call) not in page]
commands = [line for kind, block in blocks if not kind for line in block.splitlines() if "tests/kernel/" in line]
unknown = []
for command in commands:
    script, *arguments = re.search(r"(tests/kernel/\S+.*)", command)[1].split()
    if not (root / script).exists():
        unknown.append(script)
    for before, word in zip([script, *arguments], arguments):
        if before == "--kernel":
            known = word in ("6.1", "6.12", "debug")
        elif word.startswith("--"):
            known = f"{word})" in (root / script).read_text()
        else:
            known = (root / f"tests/kernel/guest/{word}.c").exists()
        if not known:
            unknown.append(word)
for word in unknown:
    print(f"docs/kernel.md names {word}, which there is not")
for line in missing:
    print(f"docs/kernel.md has a line that the example has not: {line.strip()}")
for call in untold:
    print(f"docs/kernel.md does not mention {call}")
print(f"docs: {len(lines)} lines of C, {len(calls)} calls, {len(commands)} commands")
sys.exit(1 if missing or untold or unknown or not lines or not commands else 0)
