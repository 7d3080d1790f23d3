"""mlctl as a script calls it."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import jsonschema

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ["ML_TEST_BIN"])
MLCTL = str(BIN / "mlctl")
PATIENCE = 60  # seconds that anything may take on a busy machine


def environment(**more):
    """Nothing of the caller's mlaccel; variables of value None are left out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLACCEL", "XDG_", "NO_COLOR", "NOTIFY"))}
    kept.update(more)
    return {k: v for k, v in kept.items() if v is not None}


class Outcome:
    """How a run of mlctl ended."""

    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err

    def __str__(self):
        return f"mlctl {' '.join(self.arguments)}: exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}---"

    def json(self):
        return json.loads(self.out)


def mlctl(*arguments, sock=None, uid=None, groups=(), cwd=None, **env):
    """Runs it, not on a terminal."""
    command = [MLCTL, *(["--socket", sock] if sock else []), *map(str, arguments)]
    user = {} if uid is None else {"user": uid, "group": uid, "extra_groups": list(groups)}
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, cwd=cwd, env=environment(**env), **user)
    return Outcome(command[1:], done.returncode, done.stdout.decode(), done.stderr.decode())


def generated(what):
    """What `mlctl __generate` writes: {name: text}."""
    with tempfile.TemporaryDirectory() as folder:
        done = mlctl("__generate", what, folder)
        if done.code != 0:
            raise RuntimeError(str(done))
        return {path.name: path.read_text() for path in pathlib.Path(folder).iterdir()}


TABLE = json.loads(generated("table")["table.json"])
COMMANDS = {command["path"]: command for command in TABLE["commands"]}


class Case(unittest.TestCase):
    """Assertions about runs of mlctl."""

    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="mlctl-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_ok(self, outcome):
        self.assertEqual(outcome.code, 0, str(outcome))
        return outcome

    def assert_fails(self, outcome, code, *texts):
        """Ended with this exit code; an error with a stable code and these texts on stderr, no data on stdout."""
        self.assertEqual(outcome.code, code, str(outcome))
        self.assertEqual(outcome.out, "", str(outcome))
        self.assertRegex(outcome.err, r"(?ms)^error: .* \[MLE-\d{4}\]$", str(outcome))
        for text in texts:
            self.assertIn(text, outcome.err, str(outcome))
        return outcome

    def assert_schema(self, value, kind, single):
        """`value` is what docs/schemas says, with the members named there and no others."""
        schema = json.loads((SOURCE / "docs" / "schemas" / f"{kind}.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(value)
        self.assertEqual(isinstance(value, dict), single)
        for thing in [value] if single else value:
            self.assertEqual(list(thing), list(schema["$defs"][kind]["properties"]))
