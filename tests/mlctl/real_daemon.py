"""A real mld in a temporary directory, and tests that share one."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import BIN, COMMANDS, PATIENCE, Case, environment, mlctl

DEVICES = """
[[device]]
name = "cpu0"
memory = "2GiB"
[[device]]
name = "cpu1"
memory = "2GiB"
"""


class Daemon:
    """A real mld: of this user, or as root for every user of the machine (system=True)."""

    def __init__(self, toml="", system=False):
        self.folder = tempfile.mkdtemp(prefix="mlctl-mld-")
        if system:
            os.chmod(self.folder, 0o755)
            # As on a machine where mlaccel is not installed: workers run as nobody, "games" are the administrators.
            toml = 'worker_user = "nobody"\nadmin_group = "games"\n' + toml
        self.system = system
        self.admin_socket = f"{self.folder}/admin.sock"
        self.socket = f"{self.folder}/mld.sock"
        self.log = f"{self.folder}/mld.log"
        pathlib.Path(self.folder, "mld.toml").write_text(toml)
        self.start()

    def start(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = f"{self.folder}/notify"
        pathlib.Path(path).unlink(missing_ok=True)
        notify.bind(path)
        notify.settimeout(PATIENCE)
        folder = self.folder
        command = [str(BIN / "mld"), *([] if self.system else ["--user"]), "--config", f"{folder}/mld.toml",
                   "--socket", self.socket, "--state", f"{folder}/state"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True,
                                            env=environment(NOTIFY_SOCKET=path, XDG_RUNTIME_DIR=folder))
        while b"READY=1" not in notify.recv(4096):
            pass
        notify.close()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class OnDaemon(Case):
    """Tests of a class share one mld."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(DEVICES)
        cls.addClassCleanup(cls.daemon.close)
        # mld answers before all of its workers do.
        give_up = time.monotonic() + PATIENCE
        while "starting" in mlctl("device", "ls", sock=cls.daemon.admin_socket).out and time.monotonic() < give_up:
            time.sleep(0.05)

    def run_mlctl(self, *arguments, **options):
        return mlctl(*arguments, sock=self.daemon.admin_socket, **options)

    def ok(self, *arguments, **options):
        return self.assert_ok(self.run_mlctl(*arguments, **options))

    def show(self, *arguments, **options):
        """The command's JSON, held against its schema; its other forms exist."""
        done = self.ok(*arguments, "-o", "json", **options)
        path = next(p for p in COMMANDS if " ".join(map(str, arguments)).startswith(p))
        self.assert_schema(done.json(), COMMANDS[path]["shows"], COMMANDS[path]["single"])
        return done.json()

    def fails(self, code, *arguments, text="", **options):
        return self.assert_fails(self.run_mlctl(*arguments, **options), code, text)

    def wait_for_clients(self, count):
        """A job runs before its process has said HELLO."""
        give_up = time.monotonic() + PATIENCE
        while len(clients := self.show("client", "ls")) != count and time.monotonic() < give_up:
            time.sleep(0.05)
        return clients

    def wait_for_state(self, job, *states):
        give_up = time.monotonic() + PATIENCE
        while True:
            now = self.show("job", "show", job)
            if now["state"] in states:
                return now
            if now["state"] in ("done", "failed", "cancelled") or time.monotonic() > give_up:
                self.fail(f"job {job} is {now['state']} ({now['reason']}) instead of {states}\n"
                          + self.run_mlctl("job", "logs", job).out + pathlib.Path(self.daemon.log).read_text())
            time.sleep(0.05)
