"""What `mlbench cpu` compares with: ONNX Runtime or OpenVINO on the same model and inputs, timed on request.

Started as `python onnx_peer.py onnxruntime|openvino MODEL.onnx INPUTS THREADS`. Prints "ready SECONDS NAME VERSION" once
the first output is there (SECONDS from the imports on); exits 3 when the package is not there. Then answers the lines

  time COUNT NANOSECONDS   runs until one of both is reached, at least once: the latency of each run in nanoseconds
  outputs FILE             writes the outputs

Inputs and outputs stay in the same memory and no other process is asked meanwhile, so that a run costs what the library
takes for it.
"""
import gc
import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's pool has nothing to do here
import numpy as np  # noqa: E402

DTYPES = {"f32": np.float32, "i64": np.int64}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def read_tensors(path):
    with open(path, "rb") as file:
        header, _, data = file.read().partition(b"\n\n")
    tensors, at = {}, 0
    for line in header.decode().splitlines():
        name, dtype, *shape = line.split()
        shape = [int(extent) for extent in shape]
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, DTYPES[dtype], count, at).reshape(shape).copy()
        at += tensors[name].nbytes
    return tensors


def write_tensors(path, tensors):
    with open(path, "wb") as file:
        for name, array in tensors.items():
            file.write(" ".join([name, NAMES[array.dtype], *map(str, array.shape)]).encode() + b"\n")
        file.write(b"\n")
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


class OnnxRuntime:
    """All optimizations, THREADS in a kernel and one kernel at a time, everything else as it comes."""

    def __init__(self, path, inputs, threads):
        import onnxruntime
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        self.began = time.perf_counter()
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        batch = next(iter(inputs.values())).shape[0]
        options.add_free_dimension_override_by_name("batch", batch)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in inputs.values()]
        for name, value in zip(inputs, self.values):
            self.binding.bind_ortvalue_input(name, value)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name, "cpu")
        self.run()
        # From now on where the first results are.
        self.results = self.binding.get_outputs()
        for output, value in zip(self.session.get_outputs(), self.results):
            self.binding.bind_ortvalue_output(output.name, value)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def outputs(self):
        return {output.name: value.numpy() for output, value in zip(self.session.get_outputs(), self.results)}


class OpenVino:
    """The latency hint, one stream, and f32 where it would choose bf16 by itself."""

    def __init__(self, path, inputs, threads):
        import openvino
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}"
        self.began = time.perf_counter()
        core = openvino.Core()
        model = core.read_model(path)
        model.reshape({name: list(array.shape) for name, array in inputs.items()})
        compiled = core.compile_model(model, "CPU", {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32"})
        self.request = compiled.create_infer_request()
        self.tensors = [openvino.Tensor(array, shared_memory=True) for array in inputs.values()]
        for name, tensor in zip(inputs, self.tensors):
            self.request.set_tensor(name, tensor)
        self.names = [output.any_name for output in model.outputs]
        self.run()

    def run(self):
        self.request.infer()

    def outputs(self):
        return {name: self.request.get_tensor(name).data for name in self.names}


def main():
    kind, path, inputs, threads = sys.argv[1:]
    inputs = read_tensors(inputs)
    try:
        peer = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}[kind](path, inputs, int(threads))
    except ImportError:
        sys.exit(3)
    print(f"ready {time.perf_counter() - peer.began:.6f} {peer.name}", flush=True)
    gc.disable()
    clock = time.perf_counter_ns
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "time":
            count, limit = map(int, arguments)
            times, began = [], clock()
            before = began
            while len(times) < count and (not times or before - began < limit):
                peer.run()
                after = clock()
                times.append(after - before)
                before = after
            print(*times, flush=True)
        else:
            write_tensors(arguments[0], peer.outputs())
            print("written", flush=True)


main()
