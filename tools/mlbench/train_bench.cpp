// mlbench train: the time of one step of the demo's training, against PyTorch with the same model, batch and threads.
#include "ml/ml.h"
#include "tools/mlbench/benchmarks.h"
#include "tools/mlbench/demo_model.h"
#include "tools/mlbench/torch_peer.h"

namespace ml::bench {

int run_train(const Options& options) {
  const int threads = static_cast<int>(allowed_cpus().size());
  TorchPeer peer("train", threads);
  nn::Sequential model = demo_model();
  train::Trainer trainer(
      model, optim::SGD(model.parameters(), {.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 1e-4}));
  Generator generator(2);
  const data::Batch batch{randn({64, 1, 28, 28}, generator).eval(), (arange(64) % 10).eval()};
  trainer.step(batch);

  constexpr int kSteps = 10;
  std::vector<double> ours, theirs;
  const std::function<void()> contestants[] = {
      [&] {
        const std::uint64_t started = now_ns();
        for (int i = 0; i < kSteps; ++i) trainer.step(batch);
        ours.push_back(static_cast<double>(now_ns() - started) / 1e6 / kSteps);
      },
      [&] {
        if (peer.there()) theirs.push_back(peer.run(kSteps) * 1e3 / kSteps);
      },
  };
  interleave(options.quick ? 3 : 20, contestants);
  Figure step{"train.step", "model=demo batch=64 threads=" + std::to_string(threads) + " stat=median",
              quantile(ours, 0.5), "ms"};
  if (peer.there()) {
    step.peer = peer.name();
    step.peer_value = quantile(theirs, 0.5);
  }
  print(step);
  return 0;
}

}  // namespace ml::bench
