#!/usr/bin/env python3
"""Every line of C in docs/kernel.md stands in the example that the guests run, so the page can't drift from it."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]


def words(text):
    return re.sub(r"\s+", " ", text).strip()


example = words((root / "docs/examples/kernel/life.c").read_text())
page = (root / "docs/kernel.md").read_text()
lines = [line for block in re.findall(r"```c\n(.*?)```", page, re.S) for line in block.splitlines() if line.strip()]
missing = [line for line in lines if words(line) not in example]
calls = set(re.findall(r"(?:CALL|ioctl)\([^,]+, ((?:DRM_IOCTL_)?MLACCEL_\w+)", example))
untold = [call for call in sorted(calls) if re.sub(r"^(DRM_IOCTL_)?MLACCEL_", "", call) not in page]
for line in missing:
    print(f"docs/kernel.md has a line that the example has not: {line.strip()}")
for call in untold:
    print(f"docs/kernel.md does not mention {call}")
print(f"docs: {len(lines)} lines of C, {len(calls)} calls")
sys.exit(1 if missing or untold or not lines else 0)
