// mlbench model: a batch of the demo's model behind a mld of its own (or with --via unix:PATH the one that listens
// there), beside the same in this process.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "ml/ml.h"
#include "tools/mlbench/benchmarks.h"
#include "tools/mlbench/contestant.h"
#include "tools/mlbench/demo_model.h"
#include "tools/mlbench/private_daemon.h"

namespace ml::bench {
namespace {

using Task = Contestant::Task;
enum Kind : std::int64_t { kAsleep, kPolling };

constexpr double kWanted = 7.5;  // ms that a batch should take: between 5 and 10

// What one process measures: the mean time of a batch in ms.
class Client {
 public:
  explicit Client(const std::string& transport) : model_(make(transport)) {}

  double measure(const Task& task) {
    if (task.size != batch_) prepare(task.size);
    const std::uint64_t started = now_ns();
    for (std::int64_t i = 0; i < task.times; ++i) task.kind == kAsleep ? prepared_->run() : poll_until_done();
    return static_cast<double>(now_ns() - started) / 1e6 / static_cast<double>(task.times);
  }

 private:
  static Model make(const std::string& transport) {
    connect({.transport = transport});
    nn::Sequential net = demo_model();
    return Model::trace(net, {{"image", DType::f32, {-1, 1, 28, 28}}});
  }
  void prepare(std::int64_t batch) {
    const Shape shapes[] = {{batch, 1, 28, 28}};
    prepared_.emplace(model_.prepare(shapes));
    auto* const pixels = reinterpret_cast<float*>(prepared_->input(0).data());
    for (std::int64_t i = 0; i < batch * 28 * 28; ++i) pixels[i] = static_cast<float>(i % 251) / 251;
    batch_ = batch;
    prepared_->run();
  }
  void poll_until_done() {
    prepared_->start();
    while (!prepared_->done()) continue;
    prepared_->wait();
  }

  Model model_;
  std::optional<PreparedRun> prepared_;
  std::int64_t batch_ = 0;
};

std::function<std::function<double(const Task&)>()> client_of(const std::string& transport) {
  return [transport] {
    return [client = std::make_shared<Client>(transport)](const Task& task) { return client->measure(task); };
  };
}

// How many images take about as long as wanted.
std::int64_t choose_batch(Contestant& client) {
  std::int64_t batch = 64;
  for (int i = 0; i < 3; ++i) {
    const double took = client.perform({kAsleep, batch, 20});
    batch = std::clamp<std::int64_t>(static_cast<std::int64_t>(static_cast<double>(batch) * kWanted / took), 8, 4096);
    batch = (batch + 7) / 8 * 8;
  }
  return batch;
}

}  // namespace

int run_model(const Options& options) {
  const std::string via = options.via("unix");
  if (via == "embedded" || via == "kernel")
    throw Error(Code::invalid_argument, "model is measured through a daemon: --via unix");
  const TemporaryFolder folder;
  std::optional<PrivateDaemon> daemon;
  if (via == "unix") daemon.emplace(folder);
  Contestant behind_mld(client_of(daemon ? "unix:" + daemon->socket() : via)), embedded(client_of("embedded"));
  const std::int64_t batch = choose_batch(embedded);
  const int rounds = 5;
  const std::int64_t times = options.quick ? 20 : 100;
  for (const auto& [kind, name] : {std::pair{kAsleep, "asleep"}, std::pair{kPolling, "polling"}}) {
    std::vector<double> ours, theirs;
    const Task warm_up{kind, batch, 20}, task{kind, batch, times};
    behind_mld.perform(warm_up);
    embedded.perform(warm_up);
    const std::function<void()> contestants[] = {
        [&] { ours.push_back(behind_mld.perform(task)); },
        [&] { theirs.push_back(embedded.perform(task)); },
    };
    interleave(rounds, contestants);
    print({"model.batch",
           "via=unix client=" + std::string(name) + " model=demo batch=" + std::to_string(batch) + " stat=median of " +
               std::to_string(rounds),
           quantile(ours, 0.5), "ms", "embedded", quantile(theirs, 0.5)});
  }
  return 0;
}

}  // namespace ml::bench
