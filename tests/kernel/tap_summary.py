#!/usr/bin/env python3
"""Judges what a guest's test programs printed, and the KUnit results in its kernel's log.

usage: tap_summary.py KERNEL SUITE_OUTPUT [DMESG]
Prints a line for each program and suite and, last, "KERNEL: N passed, N failed, N skipped". Exit code 1: something
failed, a program died, or one did not do all that it had planned.
"""
import re
import sys

RESULT = re.compile(r"(not )?ok\b *(\d+)? *-? *([^#]*)(# *SKIP.*)?", re.IGNORECASE)


class Group:
    """A program's or a suite's results."""

    def __init__(self, name):
        self.name, self.planned, self.passed, self.skipped, self.failures = name, None, 0, 0, []

    def line(self, text):
        plan = re.match(r"1\.\.(\d+)", text)
        if plan:
            self.planned = int(plan[1])
        elif match := RESULT.match(text):
            if match[1]:
                self.failures.append(match[3].strip() or f"case {match[2]}")
            elif match[4]:
                self.skipped += 1
            else:
                self.passed += 1

    def close(self, exit_code=0):
        ran = self.passed + self.skipped + len(self.failures)
        if self.planned is None:
            self.failures.append("printed no plan")
        elif self.planned != ran:
            self.failures.append(f"planned {self.planned} cases and ran {ran}")
        if exit_code == 124:
            self.failures.append("did not end in time")
        elif exit_code > 128:
            self.failures.append(f"killed by signal {exit_code - 128}")
        elif exit_code and not self.failures:
            self.failures.append(f"exit code {exit_code}, though no case failed")


def programs(path):
    groups, outside, current = [], Group("suite"), None
    with open(path, errors="replace") as file:
        for line in (raw.rstrip() for raw in file):
            if line.startswith("# program: "):
                current = Group(line[len("# program: "):])
                groups.append(current)
            elif current and (end := re.match(r"# exit: (\d+)", line)):
                current.close(int(end[1]))
                current = None
            else:
                (current or outside).line(line)
    if current:
        current.failures.append("the guest ended during this program")
    if outside.failures:
        groups.append(outside)
    if not groups:
        outside.failures.append("no program was run")
        groups.append(outside)
    return groups


def kunit_suites(path):
    """KUnit's KTAP: a suite's cases stand indented below '# Subtest: name'."""
    groups, current = [], None
    with open(path, errors="replace") as file:
        for raw in file:
            line = re.sub(r"^(<\d+>)?\[ *\d+\.\d+\](\[ *[TC]\d+\])? ", "", raw.rstrip("\r\n"))
            if start := re.match(r"    # Subtest: (\S+)", line):
                current = Group(f"kunit {start[1]}")
                groups.append(current)
            elif current and re.match(r"(not )?ok \d+", line):
                if line.startswith("not") and not current.failures:
                    current.failures.append("the suite as a whole")
                current.close()
                current = None
            elif current and re.match(r"    (1\.\.|(not )?ok )", line):
                current.line(line.strip())
    if current:
        current.failures.append("did not end")
    return groups


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    kernel = sys.argv[1]
    groups = programs(sys.argv[2])
    if len(sys.argv) > 3:
        suites = kunit_suites(sys.argv[3])
        if not suites:
            missing = Group("kunit")
            missing.failures.append("no suite ran")
            suites = [missing]
        groups = suites + groups
    passed = failed = skipped = 0
    for group in groups:
        passed, skipped, failed = passed + group.passed, skipped + group.skipped, failed + len(group.failures)
        verdict = "FAILED" if group.failures else "ok"
        more = f", {group.skipped} skipped" if group.skipped else ""
        print(f"{kernel}: {verdict:6} {group.name}: {group.passed} passed{more}")
        for failure in group.failures:
            print(f"{kernel}:          failed: {failure}")
    print(f"{kernel}: {passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


main()
