// mlbench eval: a small expression of ten operations, repeated with new numbers, and new expressions.
#include "ml/ml.h"
#include "tools/mlbench/benchmarks.h"
#include "tools/mlbench/torch_peer.h"

namespace ml::bench {
namespace {

constexpr int kBatch = 100;

// Ten operations: those of peers/torch_peer.py.
Tensor expression(const Tensor& x, const Tensor& y) {
  const Tensor a = x * 1.5 + y;
  const Tensor b = tanh(a) - x / y;
  const Tensor c = exp(b * 0.5) + maximum(a, b);
  return abs(c);
}

}  // namespace

int run_eval(const Options& options) {
  const int threads = static_cast<int>(allowed_cpus().size());
  TorchPeer peer("eval", threads);
  const Tensor x = arange(-1, 1, 2.0 / 1024).eval(), y = arange(2, 3, 1.0 / 1024).eval();
  expression(x, y).eval();

  const int rounds = options.quick ? 10 : 100;
  std::vector<double> ours, theirs;
  const std::function<void()> contestants[] = {
      [&] {
        const std::uint64_t started = now_ns();
        for (int i = 0; i < kBatch; ++i) expression(x, y).eval();
        ours.push_back(static_cast<double>(now_ns() - started) / 1e3 / kBatch);
      },
      [&] {
        if (peer.there()) theirs.push_back(peer.run(kBatch) * 1e6 / kBatch);
      },
  };
  interleave(rounds, contestants);
  Figure repeated{"eval.repeated", "operations=10 elements=1024 threads=" + std::to_string(threads) + " stat=median",
                  quantile(ours, 0.5), "us"};
  if (peer.there()) {
    repeated.peer = peer.name() + " eager";
    repeated.peer_value = quantile(theirs, 0.5);
  }
  print(repeated);

  // Expressions that were never seen: each has a shape of its own.
  std::vector<double> fresh;
  for (int i = 0; i < (options.quick ? 20 : 200); ++i) {
    const Tensor u = ones({1025 + i}).eval(), v = full({1025 + i}, 2).eval();
    const std::uint64_t started = now_ns();
    expression(u, v).eval();
    fresh.push_back(static_cast<double>(now_ns() - started) / 1e3);
  }
  print({"eval.new", "operations=10 elements=1025.. threads=" + std::to_string(threads) + " stat=median",
         quantile(fresh, 0.5), "us"});
  return 0;
}

}  // namespace ml::bench
