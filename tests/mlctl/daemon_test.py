"""Every command on a real mld of this user."""

import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import time
import unittest

import numpy

import real_daemon
from harness import MLCTL, PATIENCE, environment, mlctl
from samples import write_job, write_onnx, write_onnx_and_functions, write_pictures


class Looking(real_daemon.OnDaemon):
    def test_status(self):
        status = self.show("status")
        self.assertEqual(status["pid"], self.daemon.process.pid)
        self.assertEqual((status["devices"], status["user_mode"], status["problems"]), (2, True, []))
        self.assertEqual(status["socket"], self.daemon.socket)
        self.assertIn(f"asked {self.daemon.admin_socket}", self.ok("status", "-v").err)
        self.assert_ok(mlctl("status", MLACCEL_ADMIN=self.daemon.admin_socket))

    def test_devices(self):
        devices = self.show("device", "ls")
        self.assertEqual([d["name"] for d in devices], ["cpu0", "cpu1"])
        self.assertEqual([d["state"] for d in devices], ["ready", "ready"])
        self.assertEqual(devices[0]["memory_bytes"], 2 << 30)
        self.assertEqual(self.show("device", "show", "cpu1")["name"], "cpu1")
        self.fails(4, "device", "show", "cpu7", text="MLE-0201")

    def test_forms(self):
        self.assertEqual(self.ok("device", "ls", "-o", "name").out, "cpu0\ncpu1\n")
        table = self.ok("device", "ls").out.splitlines()
        self.assertRegex(table[0], r"^NAME +BACKEND +STATE")
        self.assertRegex(table[1], r"^cpu0 +cpu +ready .* 2 GiB")
        wide = self.ok("device", "ls", "-o", "wide").out
        self.assertIn("GENERATION", wide)
        self.assertNotIn("GENERATION", "\n".join(table))
        self.assertRegex(self.ok("device", "show", "cpu0").out, r"(?m)^memory: +2 GiB$")
        yaml = self.ok("device", "ls", "-o", "yaml").out
        self.assertRegex(yaml, r"(?m)\A- name: cpu0\n  backend: cpu\n")
        self.assertIn(f"\n  memory_bytes: {2 << 30}\n", yaml)
        self.assertNotIn("\033", self.ok("device", "ls").out)

    def test_limits(self):
        limits = {limit["name"]: limit for limit in self.show("limits")}
        self.assertEqual(limits["sessions"]["limit"], 256)
        self.assertEqual(limits["arena_bytes"]["unit"], "bytes")
        self.assertEqual(self.show("limits", "--user", "nobody"), self.show("limits", "--user", "65534"))
        self.fails(4, "limits", "--user", "no-such-user", text="no user")

    def test_nothing_is_there_yet(self):
        for command in (("model", "ls"), ("client", "ls")):
            self.assertEqual(self.show(*command), [])
            done = self.ok(*command)
            self.assertEqual((done.out, done.err), ("", f"no {command[0]}s\n"))
        self.fails(4, "job", "show", 4711, text="MLE-0203")
        self.fails(4, "job", "why", 4711)
        self.fails(4, "job", "logs", 4711)
        self.fails(4, "client", "kick", 4711, text="MLE-0204")
        self.fails(4, "model", "show", "nothing", text="MLE-0202")
        self.fails(4, "model", "infer", "nothing", "--input", "x.npy")
        self.fails(4, "model", "load", "nothing")

    def test_draining(self):
        drained = self.show("device", "drain", "cpu1")
        self.assertIn(drained[0]["state"], ("draining", "drained"))
        self.assertEqual(self.show("device", "drain", "--undo", "cpu1")[0]["state"], "ready")
        some = self.run_mlctl("device", "drain", "--undo", "cpu1", "cpu7", "-o", "json")
        self.assertEqual((some.code, [d["name"] for d in some.json()]), (8, ["cpu1"]), str(some))
        self.assertIn("error: cpu7: ", some.err)
        none = self.run_mlctl("device", "drain", "cpu7", "cpu8", "-o", "json")
        self.assertEqual((none.code, none.json()), (4, []), str(none))

    def test_watching(self):
        for form, document in (("json", rb"^\{.*\}\n"), ("yaml", rb"^---\nversion: "), ("table", rb"^version: ")):
            with self.subTest(form):
                command = [MLCTL, "--socket", self.daemon.admin_socket, "status", "--watch=0.1", "-o", form]
                with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as watched:
                    seen = b""
                    while len(re.findall(document, seen, re.M)) < 3:
                        part = os.read(watched.stdout.fileno(), 4096)
                        self.assertTrue(part, seen)
                        seen += part
                    watched.send_signal(signal.SIGINT)
                    self.assertEqual(watched.wait(PATIENCE), -signal.SIGINT)

    def test_top(self):
        sample = self.show("device", "top", "--interval", "150ms")
        self.assertEqual([line["name"] for line in sample], ["cpu0", "cpu1"])
        self.assertGreaterEqual(sample[0]["interval_ns"], 150e6)
        self.assertRegex(self.ok("device", "top", "-o", "wide", "--interval", "0.1").out, r"(?m)^device +cpu0 ")
        self.fails(2, "device", "top", text="terminal")

    def test_completion_asks_mld(self):
        done = mlctl("__complete", "device", "--socket", self.daemon.admin_socket)
        self.assertEqual(done.out, "cpu0\ncpu1\n")

    def test_doctor_finds_mld_well(self):
        done = self.run_mlctl("doctor", "-o", "json")
        checks = {check["name"]: check for check in done.json()}
        for name in ("admin socket", "session socket"):
            self.assertEqual(checks[name]["status"], "ok", checks[name])
        self.assertIn(str(self.daemon.process.pid), checks["mld"]["detail"])


class OnTerminal(real_daemon.OnDaemon):
    def terminal(self, *arguments, wanted, **env):
        """What a terminal shows until `wanted` is there; then it is interrupted."""
        child, terminal = pty.fork()
        if child == 0:
            os.execve(MLCTL, [MLCTL, "--socket", self.daemon.admin_socket, *arguments], environment(TERM="xterm", **env))
        seen = b""
        while not re.search(wanted, seen):
            ready, _, _ = select.select([terminal], [], [], PATIENCE)
            self.assertTrue(ready, f"{wanted} is not shown: {seen}")
            try:
                seen += os.read(terminal, 4096)
            except OSError:  # it has ended
                break
        os.kill(child, signal.SIGINT)
        os.waitpid(child, 0)
        os.close(terminal)
        self.assertRegex(seen, wanted)
        return seen

    def test_top_refreshes(self):
        seen = self.terminal("device", "top", "--interval", "100ms", wanted=rb"(?s)\033\[H\033\[2J.*\033\[H\033\[2J.*cpu1")
        self.assertIn(b"KIND", seen)

    def test_colour_only_where_it_is_wanted(self):
        self.assertIn(b"\033[32mready", self.terminal("device", "ls", wanted=rb"cpu1.*\n"))
        for words, env in ((["--no-color"], {}), ([], {"NO_COLOR": "1"})):
            self.assertNotIn(b"\033", self.terminal("device", "ls", *words, wanted=rb"cpu1.*\n", **env))


class Models(real_daemon.OnDaemon):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.onnx = pathlib.Path(cls.daemon.folder, "scale.onnx")
        write_onnx(cls.onnx)

    def setUp(self):
        super().setUp()
        self.x = numpy.arange(12, dtype=numpy.float32).reshape(4, 3)
        self.expected = self.x * 2 + numpy.array([0, 10, 20], numpy.float32)
        numpy.save(f"{self.folder}/x.npy", self.x)

    def test_life_of_a_model(self):
        first = self.show("model", "import", str(self.onnx), "--name", "life")
        self.assertEqual((first["name"], first["version"], first["shared"]), ("life", 1, False))
        second = self.show("model", "import", str(self.onnx), "--name", "life", "--shared")
        self.assertEqual((second["version"], second["shared"]), (2, True))
        self.assertEqual([m["version"] for m in self.show("model", "ls", "life")], [1, 2])
        self.assertEqual(self.show("model", "show", "life")["version"], 2)
        self.assertEqual(self.show("model", "show", "life:1")["version"], 1)
        self.assertIn(first["reference"], self.ok("model", "ls", "-o", "name").out.split())

        self.assertEqual(self.show("model", "load", "life:1")[0]["loaded_on"], ["cpu0", "cpu1"])
        self.assertIn("life:1", " ".join(self.show("device", "show", "cpu1")["models"]))
        self.assertEqual(self.show("model", "unload", "life:1", "--device", "cpu0")[0]["loaded_on"], ["cpu1"])
        self.assertEqual(self.show("model", "unload", "life:1")[0]["loaded_on"], [])
        self.assertEqual(self.show("model", "load", "life:1", "--device", "cpu0")[0]["loaded_on"], ["cpu0"])
        some = self.run_mlctl("model", "load", "life:1", "life:9")
        self.assertEqual(some.code, 8, str(some))

        self.fails(6, "model", "rollback", "life", "--alias", "stable", text="MLE-0212")
        self.assertIn("stable", self.show("model", "promote", "life:1", "--alias", "stable")["aliases"])
        self.assertIn("stable", self.show("model", "promote", "life:2", "--alias", "stable")["aliases"])
        self.assertEqual(self.show("model", "show", "life@stable")["version"], 2)
        self.assertEqual(self.show("model", "rollback", "life", "--alias", "stable")["version"], 1)
        self.assertEqual(self.show("model", "show", "life@stable")["version"], 1)
        self.fails(4, "model", "promote", "life:9")
        offered = mlctl("__complete", "model", "--socket", self.daemon.admin_socket).out.split()
        self.assertLessEqual({"life", "life:1", "life:2", "life@stable"}, set(offered))

    def test_imports_what_it_saved_and_nothing_else(self):
        self.assertEqual(self.show("model", "import", str(self.onnx))["name"], "scale")
        self.fails(4, "model", "import", "/nonexistent.onnx", text="/nonexistent.onnx")
        for name in ("bad.onnx", "bad.mlmodel"):
            pathlib.Path(self.folder, name).write_bytes(b"this is no model at all, " * 9)
            self.fails(1, "model", "import", f"{self.folder}/{name}", text=name)
        self.fails(1, "model", "import", str(self.onnx), "--name", "../escape")

    def test_imports_with_functions_of_other_files(self):
        model, functions = f"{self.folder}/twice.onnx", f"{self.folder}/functions.onnx"
        write_onnx_and_functions(model, functions)
        self.fails(1, "model", "import", model, text="com.example")
        self.show("model", "import", model, "--functions", functions)
        [tensor] = self.show("model", "infer", "twice", "--input", f"x={self.folder}/x.npy")
        self.assertEqual(tensor["values"], (self.x * 2).flatten().tolist())
        self.fails(1, "model", "import", model, "--functions", functions, "--functions", functions, text="Twice")
        self.fails(4, "model", "import", model, "--functions", "/nonexistent.onnx", text="/nonexistent.onnx")
        self.fails(2, "model", "import", f"{self.folder}/a.mlmodel", "--functions", functions, text="MLE-0001")

    def test_infers_through_rings(self):
        self.ok("model", "import", self.onnx, "--name", "infer")
        [tensor] = self.show("model", "infer", "infer", "--input", f"x={self.folder}/x.npy")
        self.assertEqual((tensor["name"], tensor["dtype"], tensor["dims"]), ("scaled", "f32", [4, 3]))
        self.assertEqual(tensor["values"], self.expected.flatten().tolist())
        self.assertEqual((tensor["min"], tensor["max"]), (0, self.expected.max()))
        [tensor] = self.show("model", "infer", "infer", "--input", f"{self.folder}/x.npy[1:3]")
        self.assertEqual(tensor["values"], self.expected[1:3].flatten().tolist())
        done = self.ok("model", "infer", "infer", "-v", "-i", f"x={self.folder}/x.npy")
        self.assertIn(f"transport unix:{self.daemon.socket}, device cpu", done.err)
        self.assertRegex(done.out, r"(?m)^scaled +f32 +\[4, 3\]")

    def test_infers_into_files(self):
        self.ok("model", "import", self.onnx, "--name", "files")
        [tensor] = self.show("model", "infer", "files", "-i", f"x={self.folder}/x.npy", "--output", f"{self.folder}/o")
        self.assertEqual((tensor["file"], tensor["values"]), (f"{self.folder}/o/scaled.npy", None))
        numpy.testing.assert_array_equal(numpy.load(tensor["file"]), self.expected)

    def test_shows_the_highest(self):
        self.ok("model", "import", self.onnx, "--name", "top")
        pathlib.Path(self.folder, "labels").write_text("coat\nshoe\nbag\n")
        done = self.ok("model", "infer", "top", "-i", f"{self.folder}/x.npy", "--top", "2", "--labels",
                       f"{self.folder}/labels", "-o", "json")
        self.assert_schema(done.json(), "prediction", single=False)
        self.assertEqual([(p["sample"], p["rank"], p["label"]) for p in done.json()],
                         [(s, r, label) for s in range(4) for r, label in ((1, "bag"), (2, "shoe"))])
        self.assertEqual(done.json()[0]["value"], self.expected[0, 2])

    def test_refuses_inputs_that_do_not_fit(self):
        self.ok("model", "import", self.onnx, "--name", "picky")
        numpy.save(f"{self.folder}/wide.npy", numpy.zeros((2, 5), numpy.float32))
        pathlib.Path(self.folder, "junk").write_bytes(b"\x1f\x8bjunk" * 9)
        short = pathlib.Path(self.folder, "short")
        short.write_bytes(b"\0\0\x08\x03" + struct.pack(">3i", 9, 8, 8) + b"\0" * 100)
        huge = pathlib.Path(self.folder, "huge")
        huge.write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF) + b"\0" * 100)
        for words, code, text in (([], 2, "input 'x' is missing"), (["-i", "y=a.npy"], 2, "no input 'y'"),
                                  (["-i", "x=none.npy"], 4, "none.npy"), (["-i", "x="], 2, "no file"),
                                  (["-i", f"x={self.folder}/wide.npy"], 1, "x"),
                                  (["-i", f"x={self.folder}/x.npy[3:9]"], 1, "has 4 elements"),
                                  (["-i", f"x={self.folder}/x.npy[3:1]"], 2, "no range"),
                                  (["-i", f"x={self.folder}/x.npy[a:b]"], 2, "no range"),
                                  (["-i", f"x={self.folder}/junk"], 1, "no IDX file"),
                                  (["-i", f"x={short}"], 1, "cut off"), (["-i", f"x={huge}"], 1, "too large"),
                                  (["-i", f"x={self.folder}"], 4, self.folder),
                                  (["-i", f"{self.folder}/x.npy", "-i", f"{self.folder}/x.npy"], 2, "given twice"),
                                  (["-i", f"{self.folder}/x.npy", "--deviation", "0"], 2, "positive")):
            with self.subTest(words):
                self.fails(code, "model", "infer", "picky", *words, text=text)


class Jobs(real_daemon.OnDaemon):
    def setUp(self):
        super().setUp()
        self.labels = write_pictures(self.folder, "pictures", 96)

    def submit(self, **options):
        return self.show("job", "submit", str(write_job(self.folder, **options)))

    def test_trains_registers_and_infers(self):
        job = self.submit()
        self.assertEqual(job["name"], "quarters")
        self.assertGreater(job["memory_bytes"], 0)
        done = self.ok("job", "logs", job["id"], "--follow")
        self.assertIn(f"job {job['id']} done", done.err)
        self.assertTrue(done.out)
        self.assertEqual(self.ok("job", "logs", job["id"]).out, done.out)
        ended = self.show("job", "show", str(job["id"]))
        self.assertEqual((ended["state"], ended["progress"], ended["exit_code"]), ("done", 1, 0))
        self.assertGreater(ended["accuracy"], 0.9)
        self.assertNotIn(job["id"], [j["id"] for j in self.show("job", "ls")])
        self.assertIn(job["id"], [j["id"] for j in self.show("job", "ls", "--all")])
        self.assertIn(str(job["id"]), mlctl("__complete", "job", "--socket", self.daemon.admin_socket).out.split())
        self.assertEqual(self.show("job", "why", str(job["id"]))["job"], job["id"])
        self.fails(6, "job", "resume", job["id"], text="MLE-0210")

        done = self.ok("model", "infer", "quarters", "-i", f"{self.folder}/pictures-images[0:32]", "--mean", "0.4",
                       "--deviation", "0.25", "--top", "1", "-o", "json")
        right = sum(p["index"] == self.labels[p["sample"]] for p in done.json())
        self.assertGreater(right, 28)
        again = self.show("model", "import", f"{self.folder}/quarters.mlmodel", "--name", "again")
        self.assertEqual(again["version"], 1)

    def test_follows_from_the_start(self):
        path = write_job(self.folder, "followed", model="followed")
        done = self.ok("job", "submit", path, "--follow", "--name", "renamed")
        self.assertRegex(done.err, r"(?m)^job \d+ done")
        names = [j["name"] for j in self.show("job", "ls", "--all")]
        self.assertIn("renamed", names)

    def test_a_job_that_fails_says_so(self):
        job = self.submit(name="failing", model="failing", epochs=100000)
        self.wait_for_state(job["id"], "running")
        cancelled = self.show("job", "cancel", str(job["id"]))
        self.assertIn(cancelled[0]["state"], ("cancelled", "stopping", "running"))
        followed = self.run_mlctl("job", "logs", job["id"], "--follow")
        self.assertEqual(followed.code, 1, str(followed))
        self.assertIn("cancelled", followed.err)
        some = self.run_mlctl("job", "cancel", job["id"], 4711)
        self.assertIn(some.code, (6, 8), str(some))

    def test_pauses_resumes_and_says_why(self):
        job = str(self.submit(name="paused", model="paused", epochs=100000)["id"])
        self.wait_for_state(job, "running")
        self.show("job", "pause", job)
        paused = self.wait_for_state(job, "paused")
        self.assertGreater(paused["checkpoint_step"], 0)
        self.assertIn("paused", self.show("job", "why", job)["why"])
        self.assertEqual(self.ok("job", "why", job).out, self.show("job", "why", job)["why"] + "\n")
        self.show("job", "resume", job)
        self.wait_for_state(job, "running")
        self.show("job", "cancel", job)
        self.wait_for_state(job, "cancelled")

    def test_overrides_what_the_file_says(self):
        self.ok("device", "drain", "cpu0", "cpu1")
        self.addCleanup(self.run_mlctl, "device", "drain", "--undo", "cpu0", "cpu1")
        path = str(write_job(self.folder, "waiting", more="priority = -7", model="waiting"))
        plain = self.show("job", "submit", path)
        self.assertEqual((plain["priority"], plain["devices"], plain["deadline_ns"]), (-7, 1, None))
        before = time.time_ns()
        other = self.show("job", "submit", path, "--priority", "-9", "--devices", "2", "--deadline", "1h30m")
        self.assertEqual((other["priority"], other["devices"]), (-9, 2))
        self.assertAlmostEqual(other["deadline_ns"], before + 5400e9, delta=PATIENCE * 1e9)
        self.assertTrue(self.show("job", "why", str(plain["id"]))["why"])
        for job in (plain, other):
            self.show("job", "cancel", str(job["id"]))

    def test_refuses_what_cannot_work(self):
        for name, text, wanted in (("none", None, "none.toml"), ("empty", "", "empty.toml"),
                                   ("syntax", "name = [", "syntax.toml"), ("two", "speed = 1\nname = 2\n", "two.toml:1")):
            path = pathlib.Path(self.folder, f"{name}.toml")
            if text is not None:
                path.write_text(text)
            with self.subTest(name):
                self.fails(4 if text is None else 1, "job", "submit", path, text=wanted)
        self.fails(4, "job", "submit", write_job(self.folder, "nodata", train="nowhere"), text="nowhere-images")
        pathlib.Path(self.folder, "large.toml").write_bytes(b"#" * (2 << 20))
        self.fails(1, "job", "submit", f"{self.folder}/large.toml", text="2 MiB")
        self.fails(1, "job", "submit", write_job(self.folder, "many"), "--devices", "9", text="MLE-0213")

    def follow(self, job):
        command = [MLCTL, "--socket", self.daemon.admin_socket, "job", "logs", str(job), "--follow"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())

    def test_following_survives_a_restart_of_mld(self):
        job = self.submit(name="long", model="long", epochs=400)
        self.wait_for_state(job["id"], "running")
        with self.follow(job["id"]) as early:
            self.assertTrue(os.read(early.stdout.fileno(), 1))  # it has begun
            self.daemon.stop(signal.SIGKILL)
            with self.follow(job["id"]) as late:  # mld is not there when it begins
                self.assertIn(b"mld is not there: waiting for it", late.stderr.readline())
                self.daemon.start()
                for following in (early, late):
                    out, err = following.communicate(timeout=2 * PATIENCE)
                    self.assertEqual(following.returncode, 0, (out, err))
                    self.assertIn(f"job {job['id']} done", err.decode())
                    self.assertIn("mld is back", err.decode())

    def test_following_gives_up_where_no_mld_can_come(self):
        self.assert_fails(mlctl("job", "logs", "1", "--follow", "--socket", "/nonexistent/admin.sock"), 3,
                          "mld is not running")


class Clients(real_daemon.OnDaemon):
    def test_a_client_is_seen_and_kicked(self):
        write_pictures(self.folder, "pictures", 96)
        job = str(self.show("job", "submit", str(write_job(self.folder, epochs=100000)))["id"])
        self.wait_for_state(job, "running")
        [client] = self.wait_for_clients(1)
        self.assertEqual(client["purpose"], f"job {job}")
        self.assertEqual([c["session"] for c in self.show("client", "ls", "--all-users")], [client["session"]])
        top = self.show("device", "top", "--interval", "300ms")
        self.assertGreater(max(line["training"] for line in top if line["kind"] == "device"), 0)
        self.assertEqual([line["kind"] for line in top].count("client"), 1)
        some = self.run_mlctl("client", "kick", client["session"], 4711)
        self.assertEqual(some.code, 8, str(some))
        self.assertIn(f"session {client['session']} has ended", some.err)
        self.show("job", "cancel", job)
        self.wait_for_state(job, "cancelled")


class Benchmarks(real_daemon.OnDaemon):
    def test_ratios_of_the_running_mld(self):
        figures = self.show("bench", "--quick")
        names = {figure["bench"] for figure in figures}
        self.assertLessEqual({"ring.sleeping", "ring.spinning", "model.batch"}, names)
        for figure in figures:
            self.assertIn("via=unix", figure["config"])
            self.assertGreater(figure["ratio"], 0)


if __name__ == "__main__":
    unittest.main()
