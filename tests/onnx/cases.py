"""Single nodes that ONNX's own tests do not try, against ONNX Runtime."""
import itertools
import pathlib
import random as dice
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from peers import finish, run_model, worst

UNIMPLEMENTED = ("NOT_IMPLEMENTED", "Could not find an implementation")


def arguments():
    """The program, a source of random numbers whose seed is an argument or new, and printed, and what the names of cases hold."""
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else dice.randrange(1 << 31)
    print(f"seed {seed}")
    return sys.argv[1], np.random.RandomState(seed), sys.argv[3] if len(sys.argv) > 3 else ""


class Case:
    """One node. Operands are arrays, those in `constants` initializers; None is an operand that is left out. `symbols` says which
    dimensions of the first operand may be symbols, `reference` that ONNX's own reference is the better peer."""

    def __init__(self, op, opset, operands, constants=(), results=1, symbols=lambda axis: True, reference=False, **attributes):
        self.op, self.opset, self.operands, self.constants = op, opset, operands, set(constants)
        self.results, self.symbols, self.reference, self.attributes = results, symbols, reference, attributes
        shapes = [list(x.shape) if x is not None else None for x in operands]
        self.name = f"{op} {opset} {shapes} {attributes}" + (f" constant {sorted(self.constants)}" if constants else "")

    def model(self, symbolic):
        names = [f"x{i}" if x is not None else "" for i, x in enumerate(self.operands)]
        node = helper.make_node(self.op, names, [f"y{i}" for i in range(self.results)], **self.attributes)
        inputs, initializers = [], []
        for i, (name, x) in enumerate(zip(names, self.operands)):
            if x is None:
                continue
            kind = helper.np_dtype_to_tensor_dtype(x.dtype)
            shape = [f"{name}_{d}" if symbolic and i == 0 and self.symbols(d) else extent for d, extent in enumerate(x.shape)]
            if i in self.constants:
                initializers.append(numpy_helper.from_array(x, name))
            else:
                inputs.append(helper.make_tensor_value_info(name, kind, shape))
        outputs = [helper.make_empty_tensor_value_info(f"y{i}") for i in range(self.results)]
        graph = helper.make_graph([node], "case", inputs, outputs, initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def feed(self):
        return {f"x{i}": x for i, x in enumerate(self.operands) if x is not None and i not in self.constants}


def expected(case, path, reference):
    """What ONNX Runtime says, or where it has no kernel ONNX's reference if that is wanted, else nothing."""
    try:
        if case.reference:
            return ReferenceEvaluator(case.model(False)).run(None, case.feed())
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, case.feed())
    except Exception as error:
        if not any(word in str(error) for word in UNIMPLEMENTED):
            raise
    return ReferenceEvaluator(case.model(False)).run(None, case.feed()) if reference else None


def compare(binary, cases, only="", atol=1e-5, reference=False):
    """Every case with known and with symbolic extents on both backends."""
    onnxruntime.set_default_logger_severity(4)
    failures, passed, peerless = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        for case in cases:
            if only not in case.name:
                continue
            onnx.save(case.model(False), str(path))
            try:
                wanted = expected(case, path, reference)
            except Exception as error:
                failures.append(f"peer: {case.name}: {error}")
                continue
            if wanted is None:
                peerless += 1
                continue
            for symbolic, device in itertools.product((False, True), ("reference", "cpu")):
                onnx.save(case.model(symbolic), str(path))
                what = f"{device}: {case.name}{' with symbols' if symbolic else ''}"
                try:
                    got = run_model(binary, device, path, list(case.feed().values()))
                except Exception as error:
                    failures.append(f"{what}: {getattr(error, 'stderr', error)}")
                    continue
                off = max(worst(a, np.asarray(b), atol=atol) for a, b in zip(got, wanted, strict=True))
                if off > 0:
                    failures.append(f"{what}: off by {off}")
                else:
                    passed += 1
    print(f"without a peer: {peerless}", file=sys.stderr)
    finish(passed, failures)
