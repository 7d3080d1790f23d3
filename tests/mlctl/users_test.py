"""What other users may do with mlctl on the machine's mld. As root: it acts as several users."""

import os
import pathlib
import shutil
import tempfile
import unittest

import real_daemon
from samples import write_job, write_onnx, write_pictures

ANNA, BERT = 65501, 65502
ADMINISTRATORS = 60  # "games", see real_daemon.Daemon


class Users(real_daemon.OnDaemon):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise RuntimeError("run as root: this test acts as other users")
        cls.daemon = real_daemon.Daemon(real_daemon.DEVICES, system=True)
        cls.addClassCleanup(cls.daemon.close)

    def setUp(self):
        super().setUp()
        os.chmod(self.folder, 0o755)

    def anna(self, *arguments, **options):
        return self.run_mlctl(*arguments, uid=ANNA, cwd=self.folder, **options)

    def bert(self, *arguments, **options):
        return self.run_mlctl(*arguments, uid=BERT, cwd=self.folder, **options)

    def administrator(self, *arguments):
        return self.run_mlctl(*arguments, uid=BERT, groups=[ADMINISTRATORS], cwd=self.folder)

    def folder_of(self, uid):
        folder = tempfile.mkdtemp(prefix="mlctl-user-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chown(folder, uid, uid)
        return folder

    def submit(self, uid, **options):
        folder = self.folder_of(uid)
        write_pictures(folder, "pictures", 96)
        path = write_job(folder, **options)
        for name in os.listdir(folder):
            os.chown(f"{folder}/{name}", uid, uid)
        done = self.assert_ok(self.run_mlctl("job", "submit", path, "-o", "json", uid=uid))
        self.addCleanup(self.run_mlctl, "job", "cancel", done.json()["id"])
        return done.json()

    def test_everybody_may_look(self):
        for words in (("status",), ("device", "ls"), ("model", "ls"), ("job", "ls"), ("client", "ls"), ("limits",)):
            with self.subTest(words):
                self.assert_ok(self.anna(*words))
        self.assertEqual(self.anna("status", "-o", "json").json()["user_mode"], False)

    def test_only_administrators_manage(self):
        for words in (("device", "drain", "cpu0"), ("device", "drain", "--undo", "cpu0"), ("job", "ls", "--all-users"),
                      ("client", "ls", "-A"), ("limits", "--user", "root")):
            with self.subTest(words):
                denied = self.anna(*words, "-o", "json")
                self.assertEqual(denied.code, 5, str(denied))
                self.assertRegex(denied.err, r"error: .* \[MLE-\d{4}\]\nhint: ")
                self.assert_ok(self.administrator(*words))
        self.assert_ok(self.anna("device", "top", "-o", "json", "--interval", "100ms"))

    def test_jobs_of_others_are_not_there(self):
        job = self.submit(ANNA, name="annas", model="annas", epochs=100000)
        self.assertEqual(job["owner_uid"], ANNA)
        for words in (("show", job["id"]), ("why", job["id"]), ("logs", job["id"]), ("cancel", job["id"]),
                      ("pause", job["id"]), ("resume", job["id"])):
            with self.subTest(words):
                done = self.bert("job", *words)
                nothing = self.bert("job", words[0], 4711)
                self.assertEqual(done.code, 4, str(done))
                # Nothing tells it from one that does not exist.
                self.assertEqual(done.err.replace(f"job {job['id']} ", "job 4711 "), nothing.err)
        self.assertEqual(self.bert("job", "ls", "--all", "-o", "json").json(), [])
        everybodys = self.assert_ok(self.administrator("job", "ls", "--all-users", "-o", "json")).json()
        self.assertIn(job["id"], [other["id"] for other in everybodys])
        self.assert_ok(self.administrator("job", "cancel", job["id"]))

    def test_high_priority_is_for_administrators(self):
        folder = self.folder_of(ANNA)
        write_pictures(folder, "pictures", 96)
        path = write_job(folder, name="urgent")
        os.chmod(folder, 0o755)
        denied = self.assert_fails(self.anna("job", "submit", path, "--priority", "50"), 5, "priority")
        self.assertIn("hint: ", denied.err)

    def test_clients_of_others_are_not_there(self):
        job = self.submit(ANNA, name="session", model="session", epochs=100000)
        self.wait_for_state(job["id"], "running")
        [client] = self.anna("client", "ls", "-o", "json").json()
        self.assertEqual(self.bert("client", "ls", "-o", "json").json(), [])
        self.assertEqual(self.bert("client", "kick", client["session"]).code, 4)
        self.assert_ok(self.administrator("client", "kick", client["session"]))

    def test_models_are_private_unless_shared(self):
        path = pathlib.Path(self.folder, "scale.onnx")
        write_onnx(path)
        os.chmod(path, 0o644)
        self.assert_ok(self.anna("model", "import", path, "--name", "private"))
        shared = self.assert_ok(self.anna("model", "import", path, "--name", "open", "--shared", "-o", "json")).json()
        own = shared["owner"]
        self.assertEqual(self.bert("model", "ls", "-o", "name").out, shared["reference"] + "\n")
        self.assert_fails(self.bert("model", "show", f"{own}/private"), 4, "MLE-0202")
        self.assert_fails(self.bert("model", "infer", f"{own}/private", "-i", "x.npy"), 4)
        self.assert_ok(self.bert("model", "show", f"{own}/open"))
        self.assert_ok(self.bert("model", "load", f"{own}/open"))
        for words in (("unload", f"{own}/open"), ("promote", f"{own}/open:1"), ("rollback", f"{own}/open")):
            with self.subTest(words):
                denied = self.bert("model", *words)
                self.assertEqual(denied.code, 5, str(denied))
        self.assert_ok(self.administrator("model", "unload", f"{own}/open"))

    def test_files_are_read_as_the_caller(self):
        path = pathlib.Path(self.folder, "secret.onnx")
        write_onnx(path)
        os.chmod(path, 0o600)
        self.assert_fails(self.anna("model", "import", path), 1, "secret.onnx")


if __name__ == "__main__":
    unittest.main()
