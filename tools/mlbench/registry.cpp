// The table of benchmarks: a row each.
#include "tools/mlbench/benchmarks.h"

namespace ml::bench {

namespace {

constexpr Benchmark table[] = {
    {"ring",
     "[--via unix|kernel|embedded] a NOP's round trip, spinning and asleep, and NOPs per second, beside eventfd and "
     "unix "
     "sockets",
     run_ring},
    {"cpu",
     "[--model M]... [--threads 1,2] [--batch 1,8] [--rounds N] [--loads N] [--peer onnxruntime,openvino] "
     "[--python FILE] [--folder DIR] [--table FILE] [--profile] whole models beside ONNX Runtime and OpenVINO",
     run_cpu},
    {"bind",
     "[--model M]... [--threads N] [--rounds N] [--tokens N] what new shapes cost a loaded model, its arena beside the "
     "largest live set, and GPT-2 with a cache that grows beside one of fixed capacity",
     run_bind},
    {"model", "a batch of the demo's model behind mld, beside the same embedded", run_model},
    {"eval", "an expression of ten operations, repeated and new, beside PyTorch", run_eval},
    {"start", "mld from exec to ready", run_start},
    {"train", "a step of the demo's training, beside PyTorch", run_train},
};

}  // namespace

std::span<const Benchmark> benchmarks() { return table; }

}  // namespace ml::bench
