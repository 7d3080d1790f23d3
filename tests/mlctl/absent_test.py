"""Every command where no mld answers: none there, a stale socket, somebody else's, one that says nothing or nonsense."""

import os
import pathlib
import socket
import subprocess
import threading
import time
import unittest

from harness import COMMANDS, MLCTL, Case, environment, mlctl

ASKING = [path for path, command in COMMANDS.items() if 3 in command["exits"]]


def words_of(path):
    values = {"DEVICE": "cpu0", "MODEL": "fashion", "FILE": __file__, "JOB": "1", "SESSION": "1"}
    words = path.split() + [values[a["name"]] for a in COMMANDS[path]["arguments"] if a["required"]]
    return words + (["-o", "json"] if path == "device top" else [])


class Listener:
    """A socket at which `serve` talks to whoever connects."""

    def __init__(self, path, serve):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(path)
        self.socket.listen(16)
        self.kept = []
        self.thread = threading.Thread(target=self.run, args=(serve,), daemon=True)
        self.thread.start()

    def run(self, serve):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.kept.append(connection)
            serve(connection)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()
        for connection in self.kept:
            connection.close()


class Absent(Case):
    def test_commands_that_ask_are_those_expected(self):
        self.assertEqual(set(COMMANDS) - set(ASKING), {"doctor", "explain", "completion"})

    def test_nothing_there(self):
        for path in ASKING:
            with self.subTest(path):
                sock = f"{self.folder}/none.sock"
                self.assert_fails(mlctl(*words_of(path), "--socket", sock), 3, "mld is not running", sock,
                                  "hint: ", "mld --user", "systemctl start mld")

    def test_a_stale_socket(self):
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stale.bind(f"{self.folder}/stale.sock")
        stale.close()
        for path in ASKING:
            with self.subTest(path):
                self.assert_fails(mlctl(*words_of(path), "--socket", f"{self.folder}/stale.sock"), 3,
                                  "mld is not running", "Connection refused")

    def test_somebody_elses_socket(self):
        if os.geteuid() != 0:
            self.fail("run as root: this test acts as another user")
        listener = Listener(f"{self.folder}/admin.sock", lambda connection: None)
        self.addCleanup(listener.close)
        os.chmod(self.folder, 0o755)
        os.chmod(f"{self.folder}/admin.sock", 0o600)
        for path in ASKING:
            with self.subTest(path):
                self.assert_fails(mlctl(*words_of(path), "--socket", f"{self.folder}/admin.sock", uid=65534), 5,
                                  "may not connect")

    def test_one_that_never_answers(self):
        listener = Listener(f"{self.folder}/admin.sock", lambda connection: None)
        self.addCleanup(listener.close)
        for path in ASKING:
            with self.subTest(path):
                done = mlctl(*words_of(path), "--socket", f"{self.folder}/admin.sock", "--timeout", "100ms")
                if path == "job submit":  # the file is read first, and is no job
                    self.assert_fails(done, 1, "absent_test.py")
                else:
                    self.assert_fails(done, 7, "did not answer within 100 ms")

    def test_one_that_accepts_nothing(self):
        full = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(full.close)
        full.bind(f"{self.folder}/admin.sock")
        full.listen(0)
        waiting = []
        for _ in range(2):  # fills the backlog
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            one.setblocking(False)
            one.connect_ex(f"{self.folder}/admin.sock")
            waiting.append(one)
            self.addCleanup(one.close)
        self.assert_fails(mlctl("status", "--socket", f"{self.folder}/admin.sock", "-t", "100ms"), 7,
                          "takes no connections")

    def test_one_that_talks_nonsense_or_hangs_up(self):
        def nonsense(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(range(256)) * 64)

        for name, serve, code in (("nonsense", nonsense, 1), ("end", lambda connection: connection.close(), 3)):
            path = f"{self.folder}/{name}.sock"
            listener = Listener(path, serve)
            self.addCleanup(listener.close)
            with self.subTest(name):
                self.assert_fails(mlctl("status", "--socket", path, "-t", "5s"), code, path)

    def test_a_path_that_is_no_socket(self):
        for path, text in ((__file__, "Connection refused"), ("x" * 200, "too long"), (self.folder, "refused")):
            with self.subTest(path):
                self.assert_fails(mlctl("status", "--socket", path), 3, text)

    def test_where_it_looks(self):
        listener = Listener(f"{self.folder}/chosen.sock", lambda connection: connection.close())
        self.addCleanup(listener.close)
        chosen = f"{self.folder}/chosen.sock"
        os.mkdir(f"{self.folder}/mlaccel")
        own = Listener(f"{self.folder}/mlaccel/admin.sock", lambda connection: connection.close())
        self.addCleanup(own.close)
        own_path = f"{self.folder}/mlaccel/admin.sock"
        none = f"{self.folder}/none.sock"
        for words, env, used in ((["--socket", chosen], {"MLACCEL_ADMIN": none}, chosen),
                                 ([], {"MLACCEL_ADMIN": chosen, "XDG_RUNTIME_DIR": self.folder}, chosen),
                                 ([], {"XDG_RUNTIME_DIR": self.folder}, own_path)):
            with self.subTest(used):
                self.assert_fails(mlctl("status", *words, **env), 3, f"closed the connection ({used})")
        done = self.assert_fails(mlctl("status", XDG_RUNTIME_DIR="/nonexistent"), 3)
        self.assertIn("/nonexistent/mlaccel/admin.sock: No such file or directory, /run/mlaccel/admin.sock", done.err)

    def test_completion_gives_up_within_its_time(self):
        listener = Listener(f"{self.folder}/admin.sock", lambda connection: None)
        self.addCleanup(listener.close)
        for kind in ("device", "model", "job", "client"):
            began = time.monotonic()
            done = mlctl("__complete", kind, "--socket", f"{self.folder}/admin.sock")
            self.assertEqual((done.code, done.out, done.err), (7, "", ""))
            self.assertLess(time.monotonic() - began, 30)  # it does end; a shell cuts it off after 0.2 s


class Doctor(Case):
    def doctor(self, *words, **env):
        done = mlctl("doctor", "-o", "json", *words, **env)
        self.assert_schema(done.json(), "check", single=False)
        for check in done.json():
            self.assertIn(check["status"], ("ok", "warn", "fail"))
            if check["status"] != "ok":
                self.assertTrue(check["hint"], check)
        failed = any(check["status"] == "fail" for check in done.json())
        self.assertEqual(done.code, 1 if failed else 0, str(done))
        self.assertIn("failed", done.err.splitlines()[-1])
        return {check["name"]: check for check in done.json()}

    def test_looks_at_everything_without_mld(self):
        checks = self.doctor(XDG_RUNTIME_DIR=self.folder)
        for name in ("libmlclient", "engine", "mld", "mld-worker", "mld-job", "mlbench", "group mlaccel-admin",
                     "io_uring", "memfd", "Landlock", "seccomp", "open files", "locked memory", "cpus",
                     "kernel module"):
            self.assertIn(name, checks)
        self.assertIn("not running", checks["mld"]["detail"])
        self.assertIn("mld --user", checks["mld"]["hint"])

    def test_people_read_a_line_each_with_hints(self):
        done = mlctl("doctor", XDG_RUNTIME_DIR=self.folder)
        self.assertRegex(done.out, r"(?m)^ok +libmlclient +version")
        self.assertRegex(done.out, r"(?m)^warn +mld +is not running.*\n +hint: start your own")

    def test_finds_an_engine_that_is_not_there(self):
        engine = self.doctor(MLACCEL_ENGINE=f"{self.folder}/libmlengine.so")["engine"]
        self.assertEqual(engine["status"], "fail")
        self.assertIn(self.folder, engine["detail"])

    def test_finds_stale_foreign_and_false_sockets(self):
        os.mkdir(f"{self.folder}/mlaccel")
        path = f"{self.folder}/mlaccel/admin.sock"
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stale.bind(path)
        stale.close()
        check = self.doctor(XDG_RUNTIME_DIR=self.folder)["admin socket"]
        self.assertEqual((check["status"], "stale" in check["detail"]), ("warn", True), check)
        os.unlink(path)
        pathlib.Path(path).touch()
        check = self.doctor("--socket", path)["admin socket"]
        self.assertEqual((check["status"], "no socket" in check["detail"]), ("fail", True), check)

    def test_finds_few_files_and_few_cpus(self):
        command = f"ulimit -n 256; exec taskset -c 0 {MLCTL} doctor"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
        self.assertRegex(done.stdout, r"(?m)^warn +open files +256, at most 256: .*\n +hint: ")
        self.assertRegex(done.stdout, r"(?m)^warn +cpus +1 of \d+ usable")


if __name__ == "__main__":
    unittest.main()
