"""Control flow, functions and forests of trees as ONNX's own tests do not try them, on both backends, and exported again, against
ONNX Runtime. The seed of the random operands is an argument, or new, and printed.
"""
import functools
import pathlib
import random as dice
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from peers import finish, run, run_model, worst

binary = sys.argv[1]
seed = int(sys.argv[2]) if len(sys.argv) > 2 else dice.randrange(1 << 31)
print(f"seed {seed}")
random = np.random.RandomState(seed)


def draw(*shape):
    return random.uniform(-1, 1, shape).astype(np.float32)


def number(value, dtype=np.int64):
    return np.array(value, dtype)


# Models in ONNX's text form, and the operands to run each with.
MODELS = {
    "a loop that its condition or its limit ends": (
        """g (float[3] x, int64 most, float limit) => (float[3] last, float[n, 3] all, int64[n] turns, bool[n] signs) {
            yes = Constant <value: tensor = bool {1}> ()
            last, all, turns, signs = Loop (most, yes, x) <body = b (int64 i, bool c, float[3] v) => (bool more, float[3] w, float[3] o, int64 j, bool s) {
                w = Add (v, v)
                magnitude = Abs (w)
                sum = ReduceSum <keepdims = 0> (magnitude)
                more = Less (sum, limit)
                o = Mul (w, x)
                j = Identity (i)
                s = Greater (sum, limit)
            }>
        }""",
        [(draw(3), number(most), number(limit, np.float32)) for most in (0, 1, 4, 12) for limit in (-1, 5, 1e9)],
    ),
    "a loop inside a loop, with a branch inside": (
        """g (float[2] x, int64 outer, int64 inner) => (float[2] y) {
            none = Constant <value: tensor = bool {1}> ()
            y = Loop (outer, none, x) <body = b (int64 i, bool c, float[2] v) => (bool c1, float[2] v1) {
                c1 = Identity (c)
                v1 = Loop (inner, c, v) <body = b2 (int64 j, bool d, float[2] u) => (bool d1, float[2] u1) {
                    d1 = Identity (d)
                    same = Equal (i, j)
                    u1 = If (same) <then_branch = t () => (float[2] a) { a = Add (u, x) }, else_branch = e () => (float[2] m) { m = Mul (u, x) }>
                }>
            }>
        }""",
        [(draw(2), number(outer), number(inner)) for outer in (0, 1, 3) for inner in (0, 2, 3)],
    ),
    "a loop that grows what it carries": (
        """g (float[1, 2] x, int64 turns) => (float[n, 2] y) {
            none = Constant <value: tensor = bool {1}> ()
            y = Loop (turns, none, x) <body = b (int64 i, bool c, float[m, 2] v) => (bool c1, float[k, 2] v1) {
                c1 = Identity (c)
                doubled = Add (v, v)
                v1 = Concat <axis = 0> (v, doubled)
            }>
        }""",
        [(draw(1, 2), number(turns)) for turns in (0, 1, 4)],
    ),
    "branches of other extents": (
        """g (float[4] x, bool first) => (float[n] y) {
            z = If (first) <then_branch = t () => (float[4] a) { a = Neg (x) }, else_branch = e () => (float[8] c) { c = Concat <axis = 0> (x, x) }>
            y = Exp (z)
        }""",
        [(draw(4), number(first, bool)) for first in (True, False)],
    ),
    "a scan over two sequences in opposite directions": (
        """g (float[2] h, float[3, 5] x, float[5, 2] y) => (float[2] last, float[2, 5] all) {
            last, all = Scan <num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [0, 1], scan_output_axes = [1],
                              scan_output_directions = [1], body = b (float[2] s, float[3] u, float[2] v) => (float[2] s1, float[2] o) {
                mean = ReduceMean <keepdims = 0> (u)
                scaled = Mul (v, mean)
                s1 = Add (s, scaled)
                o = Mul (s1, h)
            }> (h, x, y)
        }""",
        [(draw(2), draw(3, 5), draw(5, 2))],
    ),
}
FUNCTION = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (float[2, 3] x) => (float[2, 3] y) {
    h = local.bent <slope = 0.25, shift = 2.0> (x)
    y = local.bent <shift = -1.0> (h)
}
<opset_import: ["" : 17], domain: "local">
bent <shift, slope: float = 0.5> (v) => (r) {
    l = LeakyRelu <alpha: float = @slope> (v)
    c = Constant <value_float: float = @shift> ()
    r = Add (l, c)
}
"""


def text_models():
    for name, (text, operands) in MODELS.items():
        model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>\n' + text)
        for values in operands:
            yield f"{name}, {[v.tolist() for v in values if v.size == 1]}", model, values
    yield "functions with attributes", onnx.parser.parse_model(FUNCTION), (draw(2, 3),)


def random_tree(depth, features, leaves):
    """Nodes as (feature, split, mode, missing, true, false) with children that are nodes or leaf numbers."""
    if depth == 0 or random.rand() < 0.2:
        leaves.append(None)
        return len(leaves) - 1
    mode = random.choice(["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])
    return (random.randint(features), round(random.uniform(-1, 1), 1), mode, random.randint(2),
            random_tree(depth - 1, features, leaves), random_tree(depth - 1, features, leaves))


def regressor(function, targets, base, transform="NONE"):
    rows, votes = [], []
    for tree in range(5):
        leaves, numbered = [], []

        def visit(node):
            at = len(numbered)
            numbered.append(None)
            if isinstance(node, tuple):
                feature, split, mode, missing, on_true, on_false = node
                numbered[at] = (tree, at, feature, split, mode, missing, visit(on_true), visit(on_false))
            else:
                numbered[at] = (tree, at, 0, 0.0, "LEAF", 0, 0, 0)
                for _ in range(1 if targets == 1 else random.randint(1, 3)):  # ONNX Runtime takes one vote for a single target
                    votes.append((tree, at, random.randint(targets), random.uniform(-1, 1)))
            return at

        visit(random_tree(4, 3, leaves))
        rows += numbered
    column = lambda table, i: [row[i] for row in table]
    attributes = dict(
        nodes_treeids=column(rows, 0), nodes_nodeids=column(rows, 1), nodes_featureids=column(rows, 2), nodes_values=column(rows, 3),
        nodes_modes=column(rows, 4), nodes_missing_value_tracks_true=column(rows, 5), nodes_truenodeids=column(rows, 6),
        nodes_falsenodeids=column(rows, 7), target_treeids=column(votes, 0), target_nodeids=column(votes, 1),
        target_ids=column(votes, 2), target_weights=column(votes, 3), n_targets=targets, aggregate_function=function,
        post_transform=transform)
    if base:
        attributes["base_values"] = random.uniform(-1, 1, targets).tolist()
    return helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **attributes)


def ensemble(function):
    modes = {"BRANCH_LEQ": 0, "BRANCH_LT": 1, "BRANCH_GTE": 2, "BRANCH_GT": 3, "BRANCH_EQ": 4, "BRANCH_NEQ": 5}
    rows, leaves, roots = [], [], []

    def visit(node):
        if not isinstance(node, tuple):
            return node, 1
        feature, split, mode, missing, on_true, on_false = node
        at = len(rows)
        rows.append(None)
        true_id, true_leaf = visit(on_true)
        false_id, false_leaf = visit(on_false)
        rows[at] = (feature, split, modes[mode], missing, true_id, true_leaf, false_id, false_leaf)
        return at, 0

    while len(roots) < 4:
        tree = random_tree(4, 3, leaves)
        if isinstance(tree, tuple):
            roots.append(visit(tree)[0])
    column = lambda i: [row[i] for row in rows]
    targets = 3
    return helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=targets, aggregate_function=function,
        tree_roots=roots, nodes_featureids=column(0), nodes_splits=numpy_helper.from_array(np.array(column(1), np.float32)),
        nodes_modes=numpy_helper.from_array(np.array(column(2), np.uint8)), nodes_missing_value_tracks_true=column(3),
        nodes_truenodeids=column(4), nodes_trueleafs=column(5), nodes_falsenodeids=column(6), nodes_falseleafs=column(7),
        leaf_targetids=random.randint(targets, size=len(leaves)).tolist(),
        leaf_weights=numpy_helper.from_array(random.uniform(-1, 1, len(leaves)).astype(np.float32)))


def forest_models():
    def model(node, version, inputs=TensorProto.FLOAT, outputs=TensorProto.FLOAT):
        graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", inputs, ["N", 3])],
                                  [helper.make_tensor_value_info("y", outputs, None)])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)], ir_version=8)

    examples = np.round(random.uniform(-1, 1, (40, 3)), 1).astype(np.float32)
    examples[random.rand(40, 3) < 0.1] = np.nan
    for function in ("SUM", "AVERAGE", "MIN", "MAX"):
        for targets in (1, 3):
            yield f"regressor {function} {targets}", model(regressor(function, targets, targets == 1), 3), (examples,)
    for function in range(4):
        yield f"ensemble, function {function}", model(ensemble(function), 5), (examples,)
    for transform in ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"):  # their numbers in TreeEnsemble are others in ONNX Runtime
        yield f"regressor {transform}", model(regressor("SUM", 3, False, transform), 3), (examples,)
    encoder = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_floats=[0.5, float("nan"), -0.25],
                               values_int64s=[7, 8, 9], default_int64=-3)
    keys = np.array([[0.5, np.nan, 1], [-0.25, 0, 0.5]], np.float32)
    yield "labels", model(encoder, 4, outputs=TensorProto.INT64), (keys,)


onnxruntime.set_default_logger_severity(4)
failures, passed = [], 0
with tempfile.TemporaryDirectory() as folder:
    path, again = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "again.onnx"


    def in_peer(model, operands):
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        return session.run(None, dict(zip([i.name for i in session.get_inputs()], operands, strict=True)))


    def exported(operands):
        run(binary, "export", path, again)
        onnx.checker.check_model(str(again), full_check=True)
        return in_peer(again, operands)


    ours = {device: functools.partial(run_model, binary, device, path) for device in ("reference", "cpu")}
    # Not the forests: they choose between truths, and ONNX Runtime has no Where of bools.
    for models, ways in ((text_models, ours | {"exported": exported}), (forest_models, ours)):
        for name, model, operands in models():
            onnx.save(model, str(path))
            wanted = in_peer(path, operands)
            for way, compute in ways.items():
                try:
                    got = compute(list(operands))
                except Exception as error:
                    failures.append(f"{way}: {name}: {getattr(error, 'stderr', error)}")
                    continue
                off = max(worst(a, b, atol=1e-6) for a, b in zip(got, wanted, strict=True))
                if off > 0:
                    failures.append(f"{way}: {name}: off by {off}")
                else:
                    passed += 1
finish(passed, failures)
