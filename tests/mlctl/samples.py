"""Data, job files and models that are made in no time."""

import pathlib
import random
import struct

import onnx
from onnx import TensorProto, helper


def write_pictures(folder, name, count):
    """IDX files of 8 x 8 pixels, of which the brightest quarter is the class."""
    dice = random.Random(7)
    images, labels = bytearray(), bytearray()
    for _ in range(count):
        label = dice.randrange(4)
        labels.append(label)
        for row in range(8):
            for column in range(8):
                quarter = (2 if row >= 4 else 0) + (1 if column >= 4 else 0)
                images.append(dice.randrange(100) + (120 if quarter == label else 0))
    pathlib.Path(folder, f"{name}-images").write_bytes(b"\0\0\x08\x03" + struct.pack(">3i", count, 8, 8) + images)
    pathlib.Path(folder, f"{name}-labels").write_bytes(b"\0\0\x08\x01" + struct.pack(">i", count) + labels)
    return list(labels)


def write_job(folder, name="quarters", *, epochs=4, model="quarters", more="", train="pictures"):
    text = f"""
name = "{name}"
model = "{model}"
output = "{name}.mlmodel"
seed = 3
[job]
devices = 1
{more}
[data]
format = "idx"
train = ["{train}-images", "{train}-labels"]
mean = 0.4
deviation = 0.25
batch = 16
drop_last = true
[[layer]]
type = "flatten"
[[layer]]
type = "linear"
in = 64
out = 4
[train]
loss = "cross_entropy"
optimizer = "adam"
learning_rate = 0.02
epochs = {epochs}
checkpoint = "{name}.checkpoint"
"""
    path = pathlib.Path(folder, f"{name}.toml")
    path.write_text(text)
    return path


def write_onnx(path):
    """scaled = x * 2 + offset, for any number of rows."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["twice"]), helper.make_node("Add", ["twice", "offset"], ["scaled"])]
    constants = [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
                 helper.make_tensor("offset", TensorProto.FLOAT, [3], [0.0, 10.0, 20.0])]
    graph = helper.make_graph(nodes, "scale", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
                              [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["n", 3])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_onnx_and_functions(model, functions):
    """doubled = com.example.Twice(x) in one file, and Twice in another."""
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    node = helper.make_node("Twice", ["x"], ["doubled"], domain="com.example")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "doubled")]
    onnx.save(helper.make_model(helper.make_graph([node], "twice", ports[:1], ports[1:]), opset_imports=sets,
                                ir_version=8), model)
    twice = helper.make_function("com.example", "Twice", ["v"], ["w"], [helper.make_node("Add", ["v", "v"], ["w"])],
                                 sets[:1])
    nothing = helper.make_graph([], "nothing", [], [])
    onnx.save(helper.make_model(nothing, functions=[twice], opset_imports=sets, ir_version=8), functions)
