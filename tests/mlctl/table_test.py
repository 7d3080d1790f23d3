"""The command table against the program, its documents and its completions. Needs no mld."""

import json
import pathlib
import re
import shutil
import subprocess
import unittest

import jsonschema

from harness import BIN, COMMANDS, MLCTL, SOURCE, TABLE, Case, environment, generated, mlctl

WANTED = """status limits bench doctor explain completion
device ls|show|top|drain
model import|ls|show|load|unload|infer|promote|rollback
job submit|ls|show|logs|cancel|pause|resume|why
client ls|kick"""


def wanted_commands():
    for line in WANTED.splitlines():
        first, *rest = line.split()
        if rest and "|" in rest[0]:
            yield from (f"{first} {verb}" for verb in rest[0].split("|"))
        else:
            yield from line.split()


def spellings(option):
    return [option["name"]] + ([f"-{option['letter']}"] if option["letter"] else [])


class Table(Case):
    def test_has_every_command(self):
        self.assertEqual(sorted(COMMANDS), sorted(wanted_commands()))

    def test_every_command_explains_itself(self):
        for path, command in COMMANDS.items():
            with self.subTest(path):
                for flag in ("--help", "-h"):
                    done = self.assert_ok(mlctl(*path.split(), flag))
                    self.assertEqual(done.err, "")
                    self.assertTrue(done.out.startswith(f"usage: mlctl {path}"), done.out)
                    for option in command["options"] + TABLE["options"]:
                        self.assertIn(option["name"], done.out)
                    for argument in command["arguments"]:
                        self.assertRegex(done.out, rf"(?m)^  {argument['name']} ")
                    codes = re.findall(r"(?m)^  (\d)  ", done.out)
                    self.assertEqual(codes, [str(c) for c in [0, 1, 2] + command["exits"]])

    def test_groups_and_the_whole_explain_themselves(self):
        whole = self.assert_ok(mlctl("--help"))
        for path in COMMANDS:
            self.assertIn(f"  {path} ", whole.out)
        for group in ("device", "model", "job", "client"):
            done = self.assert_ok(mlctl(group, "--help"))
            for path in COMMANDS:
                if path.startswith(group + " "):
                    self.assertIn(f"  {path.split()[1]} ", done.out)

    def test_every_option_is_known_to_the_program(self):
        """A value that no option takes is refused by name: so the option was recognized."""
        for path, command in COMMANDS.items():
            for option in command["options"] + TABLE["options"]:
                for spelling in spellings(option):
                    with self.subTest(f"{path} {spelling}"):
                        if option["name"] in ("--help", "--version"):
                            self.assert_ok(mlctl(*path.split(), spelling))
                        elif option["value"] and not option["value_optional"]:
                            self.assert_fails(mlctl(*path.split(), spelling), 2, option["name"])
                        else:
                            done = mlctl(*path.split(), spelling, "--no-such-option")
                            self.assert_fails(done, 2, "'--no-such-option' is not an option")

    def test_what_is_not_in_the_table_is_refused(self):
        for path, command in COMMANDS.items():
            value = "bash" if path == "completion" else "1"
            words = path.split() + [value for a in command["arguments"] if a["required"]]
            with self.subTest(path):
                self.assert_fails(mlctl(*words, "--no-such-option"), 2, "is not an option of", path)
                if not any(a["many"] for a in command["arguments"]):
                    words = path.split() + [value for a in command["arguments"]]
                    self.assert_fails(mlctl(*words, "surplus"), 2, "takes no further argument: 'surplus'")
                if any(a["required"] for a in command["arguments"]):
                    self.assert_fails(mlctl(*path.split()), 2, "missing", command["arguments"][0]["name"])

    def test_forms_and_watching_are_refused_where_they_mean_nothing(self):
        for path, command in COMMANDS.items():
            words = path.split() + ["bash" if a["name"] == "SHELL" else "1" for a in command["arguments"]]
            with self.subTest(path):
                if command["shows"] is None:
                    self.assert_fails(mlctl(*words, "-o", "json"), 2, "--format")
                if not command["watchable"]:
                    self.assert_fails(mlctl(*words, "--watch"), 2, "--watch")

    def test_near_misses_get_a_suggestion(self):
        for words, meant in ((["statsu"], "status"), (["device", "lss"], "ls"), (["modle"], "model"),
                             (["job", "ls", "--alll"], "--all"), (["status", "--sockte", "x"], "--socket")):
            with self.subTest(words):
                self.assert_fails(mlctl(*words), 2, f"hint: did you mean '{meant}'?")

    def test_bad_values_are_refused_with_what_is_expected(self):
        for words, text in ((["status", "-o", "xml"], "one of table, wide, json, yaml, name"),
                            (["status", "-t", "soon"], "500ms, 90s"), (["status", "-t", "-1s"], "500ms, 90s"),
                            (["status", "-t", "3651d"], "ten years"), (["status", "-t", "9e99s"], "500ms, 90s"),
                            (["status", "--watch=often"], "is not a number"),
                            (["status", "--watch=nan"], "is not a number"),
                            (["job", "show", "twelve"], "whole number"), (["job", "show", "-1"], "-1"),
                            (["job", "show", "99999999999999999999"], "whole number"),
                            (["job", "submit", "x", "--priority", "101"], "between -100 and 100"),
                            (["job", "submit", "x", "--devices", "0"], "between 1 and 1024"),
                            (["completion", "tcsh"], "bash, zsh, fish"),
                            (["device", "top", "-o", "json", "--interval", "1ms"], "less than 0.1s"),
                            (["device", "show", ""], "empty"), (["device", "show", "\udcff"], "no UTF-8"),
                            (["job", "submit", "x", "--name", "\udcc3("], "no UTF-8"),
                            (["status", "-o", "json", "-o", "yaml"], "--format"),
                            (["model", "infer", "x", "--top", "1", "--output", "y"], "one of them")):
            with self.subTest(words):
                self.assert_fails(mlctl(*words), 2, text)

    def test_a_command_is_needed(self):
        self.assert_fails(mlctl(), 2, "mlctl --help")
        self.assert_fails(mlctl("device"), 2, "mlctl device --help")

    def test_version(self):
        for words in (["--version"], ["status", "--version"]):
            self.assertRegex(self.assert_ok(mlctl(*words)).out, r"^mlctl \d+\.\d+\.\d+\n$")


class Documents(Case):
    def test_reference_and_schemas_are_current(self):
        for what, folder in (("docs", SOURCE / "docs"), ("schemas", SOURCE / "docs" / "schemas")):
            for name, text in generated(what).items():
                with self.subTest(name):
                    self.assertEqual((folder / name).read_text(), text,
                                     f"run: mlctl __generate {what} {folder.relative_to(SOURCE)}")
        made = set(generated("schemas"))
        self.assertEqual({path.name for path in (SOURCE / "docs" / "schemas").iterdir()}, made)
        for command in COMMANDS.values():
            if command["shows"]:
                self.assertIn(command["shows"] + ".json", made)

    def test_schemas_are_schemas(self):
        for name, text in generated("schemas").items():
            with self.subTest(name):
                schema = json.loads(text)
                self.assertEqual(schema["$schema"], "https://json-schema.org/draft/2020-12/schema")
                jsonschema.Draft202012Validator.check_schema(schema)
                # They hold something: an empty object is not enough.
                self.assertFalse(jsonschema.Draft202012Validator(schema).is_valid({}))

    def test_man_pages_have_every_command_and_option(self):
        pages = generated("man")
        self.assertEqual(sorted(pages), ["mlctl-client.1", "mlctl-device.1", "mlctl-job.1", "mlctl-model.1", "mlctl.1"])
        for path, command in COMMANDS.items():
            group = path.split()[0] if " " in path else ""
            page = pages[f"mlctl-{group}.1" if group else "mlctl.1"].replace("\\-", "-")
            with self.subTest(path):
                self.assertIn(f".SS mlctl {path}", page)
                for option in command["options"]:
                    self.assertRegex(page, rf"\\fB(-\w, )?{option['name']}[ \\]")
                for option in TABLE["options"]:
                    self.assertRegex(page, rf"\\fB(-\w, )?{option['name']}[ \\\[]")

    def test_man_pages_render(self):
        for name, text in generated("man").items():
            with self.subTest(name):
                path = pathlib.Path(self.folder, name)
                path.write_text(text)
                done = subprocess.run(["groff", "-ww", "-man", "-Tutf8", str(path)], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("EXIT STATUS", re.sub("\x1b\\[[0-9;]*m|.\b", "", done.stdout))

    def test_the_build_made_them(self):
        made = BIN.parent / "share"
        for what, folder in (("man", made / "man"), ("completions", made / "completions")):
            for name, text in generated(what).items():
                self.assertEqual((folder / name).read_text(), text, name)


class Completion(Case):
    def bash(self, line, *, trace=""):
        """What bash offers behind `line`."""
        pathlib.Path(self.folder, "mlctl.bash").write_text(generated("completions")["mlctl.bash"])
        script = f"""source {self.folder}/mlctl.bash
            COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDS=({MLCTL}) COMP_CWORD=0
            {trace}
            $(complete -p mlctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "-u", "-c", script, "bash", line], capture_output=True, text=True,
                              env=environment(), timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return done.stdout.split()

    def test_scripts_parse(self):
        for name, text in generated("completions").items():
            path = pathlib.Path(self.folder, name)
            path.write_text(text)
            shell = {"mlctl.bash": "bash", "_mlctl": "zsh", "mlctl.fish": "fish"}[name]
            self.assertEqual(self.assert_ok(mlctl("completion", shell)).out, text)
            if shell == "bash" or shutil.which(shell):
                with self.subTest(shell):
                    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
            for path, command in COMMANDS.items():
                for option in command["options"]:
                    self.assertIn(option["name"].removeprefix("--"), text)

    def test_bash_offers_commands(self):
        everything = sorted({path.split()[0] for path in COMMANDS})
        self.assertEqual(sorted(self.bash("mlctl ")), everything)
        for group in ("device", "model", "job", "client"):
            self.assertEqual(sorted(self.bash(f"mlctl {group} ")),
                             sorted(path.split()[1] for path in COMMANDS if path.startswith(group + " ")))
        self.assertEqual(self.bash("mlctl -o json dev"), ["device"])
        self.assertEqual(self.bash("mlctl --socket device stat"), ["status"])

    def test_bash_offers_options(self):
        for path, command in COMMANDS.items():
            names = [o["name"] for o in command["options"] + TABLE["options"]]
            with self.subTest(path):
                self.assertEqual(sorted(self.bash(f"mlctl {path} --")), sorted(names))

    def test_bash_offers_values(self):
        self.assertEqual(self.bash("mlctl status -o "), ["table", "wide", "json", "yaml", "name"])
        self.assertEqual(self.bash("mlctl status --format=j"), ["json"])
        self.assertEqual(self.bash("mlctl completion f"), ["fish"])
        self.assertEqual(self.bash("mlctl explain MLE-001")[0], "MLE-0010")
        self.assertIn("root", self.bash("mlctl limits --user roo"))
        self.assertIn("/etc/passwd", self.bash("mlctl model import /etc/pass"))

    def test_without_mld_nothing_is_offered_and_nothing_said(self):
        self.assertEqual(self.bash(f"mlctl --socket {self.folder}/none device show "), [])


class Explain(Case):
    def test_lists_and_explains_every_code(self):
        codes = self.assert_ok(mlctl("explain", "-o", "json")).json()
        self.assert_schema(codes, "code", single=False)
        self.assertGreater(len(codes), 20)
        for page in codes:
            with self.subTest(page["code"]):
                done = self.assert_ok(mlctl("explain", page["code"]))
                self.assertIn(page["title"], done.out)
                self.assertIn(f"ml::Code::{page['name']}", done.out)
        self.assertEqual(mlctl("explain", "-o", "name").out.split(), [page["code"] for page in codes])

    def test_takes_short_forms(self):
        page = mlctl("explain", "MLE-0012").out
        for code in ("12", "mle-0012", "0012"):
            self.assertEqual(mlctl("explain", code).out, page)
        self.assert_schema(mlctl("explain", "12", "-o", "json").json(), "code", single=True)
        for code in ("MLE-9999", "12x", "-", "MLE-", "00012"):
            self.assert_fails(mlctl("explain", code), 4, "mlctl explain")


if __name__ == "__main__":
    unittest.main()
