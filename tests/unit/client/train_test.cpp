// Training, loaders, checkpoints.
#include "ml/train.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <algorithm>

#include <filesystem>
#include <fstream>

#include "ml/session.h"
#include "tests/unit/client/expected.h"

namespace ml {
namespace {

namespace fs = std::filesystem;

std::string temporary(const std::string& name) { return testing::TempDir() + "mlclient_" + name; }

std::vector<char> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write_bytes(const std::string& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Small pictures whose class is where they are bright.
std::shared_ptr<data::TensorDataset> pictures(std::int64_t count) {
  Generator generator(11);
  const Tensor label = arange(count) % 4;
  const Tensor bright = (unsqueeze(arange(4), 0) == unsqueeze(label, 1)).to(DType::f32);  // [count, 4]
  const Tensor x = reshape(broadcast_to(unsqueeze(bright, 2), {count, 4, 16}), {count, 1, 8, 8});
  return std::make_shared<data::TensorDataset>(
      std::vector<Tensor>{x + randn({count, 1, 8, 8}, generator) * 0.3, label});
}

// Everything that makes resuming hard: batch norm, dropout, Adam, shuffling.
struct TrainingRun {
  TrainingRun()
      : net((manual_seed(5), nn::Sequential(nn::Conv2d(1, 4, 3), nn::BatchNorm2d(4), nn::ReLU(), nn::MaxPool2d(2),
                                            nn::Dropout(0.3), nn::Linear(36, 4), nn::Softmax()))),
        loader(pictures(96), {.batch_size = 16, .shuffle = true, .seed = 8}),
        trainer(net, optim::Adam(net.parameters(), {.learning_rate = 0.01}), {.seed = 21}) {}

  nn::Sequential net;
  data::DataLoader loader;
  train::Trainer trainer;
};

// All state of a run, as the bytes of its checkpoint.
std::vector<char> state_of(TrainingRun& run) {
  const std::string path = temporary("state");
  run.trainer.save_checkpoint(path, run.loader);
  std::vector<char> bytes = bytes_of(path);
  fs::remove(path);
  return bytes;
}

train::FitOptions quiet(std::int64_t epochs) { return {.epochs = epochs, .progress = train::Progress::none}; }

TEST(Trainer, Learns) {
  TrainingRun run;
  const train::EpochReport first = run.trainer.fit(run.loader, quiet(1));
  const train::EpochReport last = run.trainer.fit(run.loader, quiet(12));
  EXPECT_LT(last.training.loss, first.training.loss);
  EXPECT_GT(run.trainer.evaluate(run.loader).accuracy, 0.95);
  EXPECT_EQ(run.trainer.steps(), 12 * 6);
}

TEST(Trainer, CompilesOneProgramPerShape) {
  TrainingRun run;
  run.trainer.fit(run.loader, quiet(1));
  const std::uint64_t compiled = default_session().statistics().programs_compiled;
  run.trainer.optimizer().set_learning_rate(0.5);
  run.trainer.fit(run.loader, quiet(3));
  EXPECT_EQ(default_session().statistics().programs_compiled, compiled);
}

TEST(Trainer, IsRepeatable) {
  TrainingRun a, b;
  a.trainer.fit(a.loader, quiet(2));
  b.trainer.fit(b.loader, quiet(2));
  EXPECT_EQ(state_of(a), state_of(b));
}

TEST(Trainer, FollowsTheSameLossAsALoopByHand) {
  const Tensor x = expected().at("linear/x");
  const Tensor y = tensor<std::int64_t>({0, 2, 1, 2});
  nn::Linear by_hand(5, 3), trained(5, 3);
  trained.load_state_dict(by_hand.state_dict());
  optim::SGD sgd(by_hand.parameters(), {.learning_rate = 0.1, .momentum = 0.9});
  train::Trainer trainer(trained, optim::SGD(trained.parameters(), {.learning_rate = 0.1, .momentum = 0.9}));
  for (int i = 0; i < 5; ++i) {
    const Tensor loss = cross_entropy(by_hand(x), y);
    sgd.step(nn::grad(loss, by_hand.parameters()), {loss});
    EXPECT_NEAR(trainer.step({x, y}).loss, loss.item<double>(), 1e-5);
  }
  expect_close(trained.weight, by_hand.weight, "weight", 1e-5);
}

TEST(Trainer, OldTensorsOfItsStateSaySo) {
  TrainingRun run;
  run.trainer.fit(run.loader, quiet(1));
  const Tensor weight = run.net.parameters()[0].value();
  EXPECT_EQ(weight.elements(), 36);
  weight.to_vector<float>();
  run.trainer.fit(run.loader, quiet(2));
  EXPECT_NE(message_of([&] { weight.to_vector<float>(); }).find("updated in place by a training step"),
            std::string::npos);
  run.net.parameters()[0].value().to_vector<float>();
}

TEST(Trainer, LeavesStoringToWhoWantsTo) {
  TrainingRun run;  // 6 steps an epoch
  train::FitOptions options = quiet(2);
  options.checkpoint_every = 5;
  options.checkpoint = temporary("not_written");
  std::vector<std::int64_t> at;
  std::int64_t reported = 0;
  options.on_step = [&](const train::StepReport& report) { return reported = report.step, true; };
  options.store = [&] {
    at.push_back(run.trainer.steps());
    EXPECT_EQ(reported, run.trainer.steps()) << "a step is under way";
  };
  run.trainer.fit(run.loader, options);
  EXPECT_EQ(at, (std::vector<std::int64_t>{5, 10}));
  EXPECT_FALSE(fs::exists(options.checkpoint));
}

TEST(Trainer, StopsWhenToldTo) {
  TrainingRun run;
  train::FitOptions options = quiet(5);
  options.on_step = [](const train::StepReport& report) { return report.step < 4; };
  run.trainer.fit(run.loader, options);
  EXPECT_LE(run.trainer.steps(), 6);
}

TEST(Trainer, SaysWhenALabelIsNoClass) {
  nn::Linear net(2, 3);
  train::Trainer trainer(net, optim::SGD(net.parameters()));
  EXPECT_EQ(code_of([&] { trainer.step({ones({2, 2}), tensor<std::int64_t>({0, 3})}); }), Code::out_of_range);
}

TEST(Trainer, AccuracyIsAShareWhenASampleHasManyTargets) {
  nn::Sequential net(nn::Conv2d(1, 3, 1));
  train::Trainer trainer(net, optim::SGD(net.parameters()));
  Generator generator(2);
  const Tensor x = randn({4, 1, 5, 5}, generator);
  const Tensor classes = argmax(net(x), 1).eval();
  EXPECT_EQ(trainer.step({x, classes}).accuracy, 1.0);
}

TEST(Trainer, RefusesAnOptimizerOfAnotherModule) {
  nn::Linear net(2, 3), other(2, 3);
  EXPECT_NE(message_of([&] { train::Trainer(net, optim::SGD(other.parameters())); }).find("'weight' [3, 2] is not one"),
            std::string::npos);
}

TEST(Trainer, EvaluatesAWholeEpochWhereverTheLoaderIs) {
  TrainingRun run;
  data::Batch batch;
  ASSERT_TRUE(run.loader.next(batch));
  EXPECT_EQ(run.trainer.evaluate(run.loader).samples, run.loader.size());
}

TEST(Checkpoint, ResumesBitForBitBetweenEpochs) {
  const std::string path = temporary("between_epochs");
  TrainingRun whole, first, second;
  whole.trainer.fit(whole.loader, quiet(4));
  first.trainer.fit(first.loader, quiet(2));
  first.trainer.save_checkpoint(path, first.loader);
  EXPECT_TRUE(second.trainer.load_checkpoint(path, second.loader));
  second.trainer.fit(second.loader, quiet(4));
  EXPECT_EQ(state_of(second), state_of(whole));
  fs::remove(path);
}

TEST(Checkpoint, ResumesBitForBitInTheMiddleOfAnEpoch) {
  const std::string path = temporary("in_the_middle");
  TrainingRun whole, first, second;
  whole.trainer.fit(whole.loader, quiet(2));
  train::FitOptions options = quiet(2);
  options.checkpoint = path;
  options.checkpoint_every = 4;  // an epoch has 6 steps: the last checkpoint is at step 8, two into the second
  options.on_step = [](const train::StepReport& report) { return report.step < 9; };
  first.trainer.fit(first.loader, options);
  second.trainer.load_checkpoint(path, second.loader);
  EXPECT_EQ(second.trainer.steps(), 8);
  EXPECT_EQ(second.loader.position(), (data::Position{1, 2}));
  const train::EpochReport report = second.trainer.fit(second.loader, quiet(2));
  EXPECT_EQ(report.training.samples, 96);
  EXPECT_EQ(state_of(second), state_of(whole));
  fs::remove(path);
}

TEST(Checkpoint, OfAnotherDeviceLoadsAndSaysSo) {
  const std::string path = temporary("another_device");
  TrainingRun run;
  run.trainer.save_checkpoint(path, run.loader);
  std::vector<char> bytes = bytes_of(path);
  const std::string key = "\"device\":\"";
  const auto at = std::search(bytes.begin(), bytes.end(), key.begin(), key.end());
  ASSERT_NE(at, bytes.end());
  at[static_cast<std::ptrdiff_t>(key.size())] = 'X';  // the first letter of the device's name
  write_bytes(path, bytes);
  EXPECT_FALSE(run.trainer.load_checkpoint(path, run.loader));
  fs::remove(path);
}

TEST(Checkpoint, DamageIsFoundAndChangesNothing) {
  const std::string path = temporary("damaged");
  TrainingRun run;
  run.trainer.fit(run.loader, quiet(1));
  const std::vector<char> before = state_of(run);
  run.trainer.save_checkpoint(path, run.loader);
  const std::vector<char> whole = bytes_of(path);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    write_bytes(path, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    EXPECT_EQ(code_of([&] { run.trainer.load_checkpoint(path, run.loader); }), Code::corrupt) << size;
  }
  for (const std::size_t at : {std::size_t{0}, std::size_t{12}, whole.size() / 2, whole.size() - 3}) {
    std::vector<char> flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    write_bytes(path, flipped);
    EXPECT_THROW(run.trainer.load_checkpoint(path, run.loader), Error) << at;
  }
  // One digit of the step number: still a checkpoint, but of another run.
  std::string text(whole.begin(), whole.end());
  char& digit = text.at(text.find("\"steps\":\"") + 9);
  digit = digit == '1' ? '2' : '1';
  write_bytes(path, {text.begin(), text.end()});
  EXPECT_EQ(code_of([&] { run.trainer.load_checkpoint(path, run.loader); }), Code::corrupt);
  EXPECT_EQ(state_of(run), before);
  fs::remove(path);
  EXPECT_EQ(code_of([&] { run.trainer.load_checkpoint(path, run.loader); }), Code::not_found);
}

TEST(Checkpoint, OfAnotherRunIsRefusedSayingWhy) {
  const std::string path = temporary("another_run");
  TrainingRun run;
  run.trainer.save_checkpoint(path, run.loader);
  data::DataLoader other(pictures(96), {.batch_size = 8, .shuffle = true, .seed = 8});
  EXPECT_NE(message_of([&] { run.trainer.load_checkpoint(path, other); }).find("it has 'batch 16', this run 'batch 8'"),
            std::string::npos)
      << message_of([&] { run.trainer.load_checkpoint(path, other); });
  fs::remove(path);
}

TEST(Checkpoint, AFullDiskLeavesTheOldOneWhole) {
  const fs::path folder = temporary("full_disk");
  fs::create_directories(folder);
  const std::string path = folder / "checkpoint";
  TrainingRun run;
  run.trainer.save_checkpoint(path, run.loader);
  const std::vector<char> old = bytes_of(path);
  run.trainer.fit(run.loader, quiet(1));
  rlimit limit{}, small{};
  getrlimit(RLIMIT_FSIZE, &limit);
  small = limit;
  small.rlim_cur = 1000;
  setrlimit(RLIMIT_FSIZE, &small);
  const Code code = code_of([&] { run.trainer.save_checkpoint(path, run.loader); });
  setrlimit(RLIMIT_FSIZE, &limit);
  EXPECT_EQ(code, Code::no_space);
  EXPECT_EQ(bytes_of(path), old);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);  // nothing half-written
  run.trainer.save_checkpoint(path, run.loader);
  EXPECT_NE(bytes_of(path), old);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace ml
