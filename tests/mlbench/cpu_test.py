"""`mlbench cpu` from outside: figures of a tiny model beside its peers, values that are compared, tables, profiles, refusals."""
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

MLBENCH = pathlib.Path(sys.argv.pop(1))
MODELS = MLBENCH.with_name("mlbench-models")
PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def mlbench(*arguments):
    return subprocess.run([MLBENCH, "cpu", *arguments], capture_output=True, text=True, timeout=240)


class Cpu(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.table = pathlib.Path(cls.folder.name) / "table.md"
        cls.there = [peer for peer in PEERS if importlib.util.find_spec(peer)]
        cls.bench = mlbench("--model", "tiny", "--threads", "1", "--batch", "1,3", "--rounds", "1", "--loads", "1", "--python",
                          sys.executable, "--folder", cls.folder.name, "--table", cls.table)
        cls.figures = [json.loads(line) for line in cls.bench.stdout.splitlines()]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def figure(self, bench, *words):
        found = [f for f in self.figures if f["bench"] == bench and all(word in f["config"] + f.get("peer", "") for word in words)]
        self.assertEqual(len(found), 1, (bench, words, self.bench))
        return found[0]

    def test_ends_well_and_names_peers_that_are_not_there(self):
        self.assertEqual(self.bench.returncode, 0, self.bench.stderr)
        for peer in PEERS:
            self.assertEqual(f"has no {peer} to compare with" in self.bench.stderr, peer not in self.there, self.bench.stderr)

    def test_latencies_stand_beside_those_of_each_peer(self):
        self.assertTrue(self.there, "the environment has no peer")
        for peer in self.there:
            for batch in (1, 3):
                for stat in ("p50", "p99"):
                    figure = self.figure("cpu.latency", f"batch={batch} threads=1 stat={stat}", PEERS[peer])
                    self.assertEqual(figure["unit"], "ms")
                    self.assertGreater(figure["value"], 0)
                    self.assertAlmostEqual(figure["ratio"], figure["value"] / figure["peer_value"], delta=0.01 * figure["ratio"])

    def test_values_are_those_of_each_peer(self):
        for peer in self.there:
            for batch in (1, 3):
                self.assertLess(self.figure("cpu.values", f"batch={batch} ", PEERS[peer])["value"], 1e-5)

    def test_loads_and_memory_are_there(self):
        for peer in self.there:
            for stat in ("cold", "warm", "library", "peak"):
                self.assertGreater(self.figure("cpu.load", f"stat={stat}", PEERS[peer])["value"], 0)
            self.assertGreater(self.figure("cpu.memory", "batch=3", PEERS[peer])["value"], 1)

    def test_work_and_limits_are_there(self):
        # 0.00174 GFLOP as it is written; passes take the arithmetic behind its products away.
        computed = self.figure("cpu.work", "batch=1 ", "stat=computed")["value"]
        self.assertTrue(0.0015 < computed <= 0.00175, computed)
        self.assertGreater(self.figure("cpu.work", "batch=1 ", "stat=moved")["value"], 0.01)
        for peer in self.there:
            self.assertGreater(self.figure("cpu.limit", "batch=1 ", PEERS[peer])["value"], 0)

    def test_the_table_has_a_row_for_each_case(self):
        rows = [line for line in self.table.read_text().splitlines() if line.startswith("| tiny |")]
        self.assertEqual(len(rows), 2 + 2 + 1)

    def test_profiles_name_kernels(self):
        run = mlbench("--model", "tiny", "--threads", "1", "--batch", "1", "--profile", "--folder", self.folder.name)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("### tiny, batch 1, threads 1", run.stdout)
        launches = re.findall(r"^\| (?:fused_contraction|convolution): \w*convolution \| (\d+) \|", run.stdout, re.MULTILINE)
        self.assertEqual(sum(map(int, launches)), 9, run.stdout)

    def test_arguments_that_mean_nothing_are_refused(self):
        for arguments, message in (
            (["--threads", "0"], "--threads: each must be a number from 1 to"),
            (["--batch", "1,x"], "--batch: each must be a number from 1 to"),
            (["--frobnicate", "1"], "--frobnicate: unknown"),
            (["--rounds"], "--rounds: unknown, or its value is missing"),
        ):
            run = mlbench(*arguments)
            self.assertEqual((run.returncode, run.stdout), (1, ""), arguments)
            self.assertIn(message, run.stderr)
        run = mlbench("--model", "frobnet", "--peer", "none", "--profile")
        self.assertEqual(run.returncode, 1)
        self.assertIn('no model is called "frobnet"', run.stderr)

    def test_bind_tells_what_new_shapes_cost(self):
        run = subprocess.run([MLBENCH, "--quick", "bind", "--model", "tiny"], capture_output=True, text=True, timeout=240)
        self.assertEqual(run.returncode, 0, run.stderr)
        figures = {figure["bench"]: figure for figure in map(json.loads, run.stdout.splitlines())}
        self.assertGreater(figures["bind.new_shape"]["value"], 0)
        self.assertGreater(figures["bind.packed_by_first"]["value"], 0)
        self.assertEqual(figures["bind.packed_by_others"]["value"], 0)
        self.assertGreaterEqual(figures["bind.arena"]["ratio"], 1)
        for arguments in (["--rounds", "0"], ["--rounds"], ["--model", "frobnet"]):
            run = subprocess.run([MLBENCH, "bind", *arguments], capture_output=True, text=True, timeout=60)
            self.assertEqual((run.returncode, run.stdout), (1, ""), arguments)
            self.assertRegex(run.stderr, "--rounds: |frobnet")

    def test_models_do_the_work_that_is_written_of_them(self):
        # FLOPs at batch 1, two for each multiply-add, from the papers; lstm: 8 * 256 * (256 + 256 + 512 + 256) * 2 * 128.
        for model, flops in (("mobilenet_v2", 0.6e9), ("efficientnet_b0", 0.78e9), ("lstm", 0.67e9)):
            path, inputs = (str(pathlib.Path(self.folder.name) / f"{model}{suffix}") for suffix in (".onnx", ".inputs"))
            subprocess.run([MODELS, "write", model, path], check=True)
            subprocess.run([MODELS, "inputs", model, "1", inputs], check=True)
            work = subprocess.run([MODELS, "work", path, inputs], check=True, capture_output=True, text=True).stdout
            self.assertAlmostEqual(float(work.split()[0]) / flops, 1.08, delta=0.12, msg=model)  # and what is element-wise


unittest.main()
