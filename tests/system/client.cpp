// libmlclient behind a real mld: which transport it takes, what is lost with a worker or mld and what comes back by
// itself, and models of the registry. A process has one session, so each test is played by a process of its own.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "ml/ml.h"
#include "mlclient.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/mlctl.h"

namespace ml::test {
namespace {

namespace fs = std::filesystem;

// What a body says when all is as it should be.
const std::string kFine = "fine";

// In a body: leaves with the line and what was expected.
struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};
#define WANT(condition) \
  if (!(condition)) throw Wrong("line " + std::to_string(__LINE__) + ": " #condition)

template <class F>
std::optional<Error> error_of(F body) {
  try {
    body();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  }
}
template <class F>
bool is_lost(F body) {
  const std::optional<Error> error = error_of(body);
  return error && error->code() == Code::device_lost;
}

// What a use answers once the loss has been noticed: it may be what notices it.
template <class F>
auto again(F body) {
  try {
    return body();
  } catch (const Error& error) {
    if (error.code() != Code::device_lost) throw;
    return body();
  }
}

// Something that takes a worker a second or so, or many.
Tensor long_work(int products = 100) {
  Generator generator(3);
  const Tensor x = randn({1024, 1024}, generator).eval();
  Tensor y = x;
  for (int i = 0; i < products; ++i) y = tanh(matmul(y, x));
  return y;
}

// The program of the one device.
pid_t worker_of(pid_t mld) {
  for (const ProcessEntry& child : children_of(mld)) {
    if (child.name == "mld-worker") return child.pid;
  }
  throw Wrong("mld has no worker");
}
void kill_worker(pid_t mld) {
  const pid_t worker = worker_of(mld);
  kill(worker, SIGKILL);
  WANT(eventually([&] { return !alive(worker); }));
}

// Plays a body in a process that is connected to the daemon.
std::string play(Daemon& daemon, const std::function<void(pid_t mld)>& body) {
  Forked client({}, [&, mld = daemon.pid()]() -> std::string {
    connect({.transport = daemon.transport()});
    body(mld);
    return kFine;
  });
  return client.answer();
}

TEST(Client, WhatIsUnderWayIsLostWithTheWorkerAndTheNextUseWorks) {
  Daemon daemon;
  EXPECT_EQ(play(daemon,
                 [](pid_t mld) {
                   const Tensor kept = (ones({4}) * 3).eval();
                   const Tensor lost = long_work();
                   const Future future = lost.eval_async();
                   kill_worker(mld);
                   WANT(is_lost([&] { future.wait(); }));
                   WANT(is_lost([&] { lost.to_vector<float>(); }));
                   WANT(is_lost([&] { (lost + 1).eval(); }));
                   // What had been computed is this process's, and goes on being used.
                   WANT(kept.to_vector<float>() == std::vector<float>(4, 3));
                   const std::uint64_t compiled = default_session().statistics().programs_compiled;
                   WANT((kept * 2).to_vector<float>() == std::vector<float>(4, 6));
                   WANT(default_session().statistics().programs_compiled == compiled + 1);
                   WANT((kept * 2).to_vector<float>() == std::vector<float>(4, 6));
                   WANT(default_session().statistics().programs_compiled == compiled + 1);
                 }),
            kFine);
}

TEST(Client, AFutureThatIsOnlyLookedAtEnds) {
  Daemon daemon;
  EXPECT_EQ(play(daemon,
                 [](pid_t mld) {
                   const Future future = long_work().eval_async();
                   kill(mld, SIGKILL);
                   WANT(eventually([&] { return future.ready(); }));
                 }),
            kFine);
}

TEST(Client, NoThreadIsLeftWaiting) {
  constexpr int kThreads = 6;
  Daemon daemon;
  EXPECT_EQ(play(daemon,
                 [](pid_t mld) {
                   std::atomic<int> lost{0}, other{0}, right{0};
                   std::vector<std::thread> threads;
                   std::atomic<int> started{0};
                   for (int i = 0; i < kThreads; ++i) {
                     threads.emplace_back([&] {
                       const Future future = long_work().eval_async();
                       ++started;
                       const std::optional<Error> error = error_of([&] { future.wait(); });
                       if (error) ++(error->code() == Code::device_lost ? lost : other);
                       if (!error_of([&] { return (ones({3}) + 1).sum().item<float>() == 6 ? ++right : 0; })) return;
                       ++other;
                     });
                   }
                   const bool all = eventually([&] { return started == kThreads; });
                   kill_worker(mld);
                   for (std::thread& thread : threads) thread.join();
                   WANT(all);
                   WANT(lost > 0);
                   WANT(other == 0);
                   WANT(right == kThreads);
                 }),
            kFine);
}

TEST(Client, AnIdleClientDoesNotNoticeThatMldWasKilledAndStartedAgain) {
  Daemon daemon;
  Forked client({}, [&, mld = daemon.pid()]() -> std::string {
    connect({.transport = daemon.transport()});
    const Tensor kept = (ones({4}) * 3).eval();
    kill(mld, SIGKILL);
    WANT(eventually([&] { return !alive(mld); }));
    // Longer than the silence after which the system is asked.
    const Deadline silence(Milliseconds(100));
    WANT(eventually([&] { return silence.passed(); }));
    WANT((kept * 2).to_vector<float>() == std::vector<float>(4, 6));  // waits for mld meanwhile
    return kFine;
  });
  ASSERT_TRUE(daemon.wait());
  daemon.start();
  EXPECT_EQ(client.answer(), kFine);
}

TEST(Client, SaysSoWhenMldDoesNotComeBack) {
  Daemon daemon;
  EXPECT_EQ(play(daemon,
                 [](pid_t mld) {
                   (ones({4}) * 3).eval();
                   kill(mld, SIGKILL);
                   WANT(eventually([&] { return !alive(mld); }));
                   // Whoever waits with another gets the same answer at the same time, not ten seconds later.
                   std::atomic<int> told{0};
                   const auto started = std::chrono::steady_clock::now();
                   const auto try_it = [&] {
                     std::optional<Error> error;
                     const auto says = [&](const char* text) {
                       return error && error->message().find(text) != std::string::npos;
                     };
                     // What was under way may be lost first.
                     while (!error || says("the worker is gone")) error = error_of([] { (ones({2}) + 1).eval(); });
                     if (error->code() == Code::device_lost && says("did not come back within 10 s")) ++told;
                   };
                   std::thread other(try_it), third(try_it);
                   try_it();
                   other.join();
                   third.join();
                   WANT(told == 3);
                   WANT(std::chrono::steady_clock::now() - started < std::chrono::seconds(25));
                 }),
            kFine);
}

TEST(Client, OneThatWasKickedIsToldAndConnectsAgain) {
  Daemon daemon;
  const Scratch folder;
  Forked client({}, [&]() -> std::string {
    connect({.transport = daemon.transport()});
    const Tensor kept = (ones({4}) * 3).eval();
    const Future future = long_work(2000).eval_async();
    folder.write("under way", "");
    const std::optional<Error> error = error_of([&] { future.wait(); });
    WANT(error && error->code() == Code::device_lost);
    WANT(error->message().starts_with("the daemon has ended this session"));
    WANT(!error->hint().empty());
    WANT((kept * 2).to_vector<float>() == std::vector<float>(4, 6));
    return kFine;
  });
  ASSERT_TRUE(eventually([&] { return fs::exists(folder.file("under way")); }));
  std::string session = mlctl_out(daemon, {"client", "ls", "-o", "name"});
  session.erase(session.find_last_not_of('\n') + 1);
  mlctl_out(daemon, {"client", "kick", session});
  EXPECT_EQ(client.answer(), kFine);
}

TEST(Client, PreparedRunsAndModelsGoOnOnTheNextWorker) {
  Daemon daemon;
  EXPECT_EQ(play(daemon,
                 [](pid_t mld) {
                   const Model model =
                       Model::trace([](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] * 2 + 1}; },
                                    {{"x", DType::f32, {-1}}});
                   const Shape shapes[] = {{16}};
                   PreparedRun prepared = model.prepare(shapes);
                   auto* const x = reinterpret_cast<float*>(prepared.input(0).data());
                   const auto* const y = reinterpret_cast<const float*>(prepared.output(0).data());
                   for (int round = 0; round < 3; ++round) {
                     x[3] = static_cast<float>(round);
                     prepared.run();
                     WANT(y[3] == 2 * x[3] + 1);
                     kill_worker(mld);
                     x[3] = 40;
                     const std::optional<Error> error = error_of([&] { prepared.run(); });
                     WANT(!error || error->code() == Code::device_lost);
                     if (error) prepared.run();
                     WANT(prepared.input(0).data() == reinterpret_cast<std::byte*>(x));
                     WANT(y[3] == 81);
                     WANT(model.run({ones({2})})[0].to_vector<float>() == std::vector<float>(2, 3));
                   }
                 }),
            kFine);
}

// Everything that makes going on hard: batch norm, dropout, Adam, shuffling.
struct TrainingRun {
  TrainingRun()
      : net((manual_seed(5), nn::Sequential(nn::Conv2d(1, 4, 3), nn::BatchNorm2d(4), nn::ReLU(), nn::MaxPool2d(2),
                                            nn::Dropout(0.3), nn::Linear(36, 4), nn::Softmax()))),
        loader(samples(), {.batch_size = 16, .shuffle = true, .seed = 8}),
        trainer(net, optim::Adam(net.parameters(), {.learning_rate = 0.01}), {.seed = 21}) {}

  static std::shared_ptr<data::TensorDataset> samples() {
    Generator generator(11);
    return std::make_shared<data::TensorDataset>(
        std::vector<Tensor>{randn({96, 1, 8, 8}, generator).eval(), (arange(96) % 4).eval()});
  }

  nn::Sequential net;
  data::DataLoader loader;
  train::Trainer trainer;
};

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Client, ATrainerSaysThatItsDeviceWasLostUntilACheckpointIsLoaded) {
  Daemon daemon;
  const Scratch folder;
  EXPECT_EQ(play(daemon,
                 [&](pid_t mld) {
                   const std::string checkpoint = folder.file("checkpoint"), end = folder.file("end");
                   const train::FitOptions quiet{.epochs = 2, .progress = train::Progress::none};
                   data::Batch batch;
                   TrainingRun undisturbed;
                   for (int i = 0; i < 3 && undisturbed.loader.next(batch); ++i) undisturbed.trainer.step(batch);
                   undisturbed.trainer.fit(undisturbed.loader, quiet);
                   undisturbed.trainer.save_checkpoint(end, undisturbed.loader);
                   const std::string wanted = bytes_of(end);

                   TrainingRun run;
                   for (int i = 0; i < 3 && run.loader.next(batch); ++i) run.trainer.step(batch);
                   run.trainer.save_checkpoint(checkpoint, run.loader);
                   for (int i = 0; i < 2 && run.loader.next(batch); ++i) run.trainer.step(batch);
                   kill_worker(mld);
                   for (int i = 0; i < 3; ++i) {
                     WANT(is_lost([&] { run.trainer.step(batch); }));
                     WANT(is_lost([&] { run.trainer.fit(run.loader, quiet); }));
                     WANT(is_lost([&] { run.trainer.save_checkpoint(end, run.loader); }));
                     WANT(is_lost([&] { run.net.parameters()[0].value().to_vector<float>(); }));
                   }
                   WANT(bytes_of(end) == wanted);  // and no file was touched
                   WANT(run.trainer.load_checkpoint(checkpoint, run.loader));
                   run.trainer.fit(run.loader, quiet);
                   run.trainer.save_checkpoint(end, run.loader);
                   WANT(bytes_of(end) == wanted);
                 }),
            kFine);
}

Model line(float slope) {
  return Model::trace([slope](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] * slope}; },
                      {{"x", DType::f32, {-1}}}, {"y"});
}
float at_one(const Model& model) { return model.run({ones({1})})[0].item<float>(); }

TEST(Client, ModelsAreRegisteredAndOpened) {
  Daemon daemon;
  EXPECT_EQ(play(daemon,
                 [](pid_t mld) {
                   WANT(line(2).publish("line") == 1);
                   const Model first = Model::open("line");
                   WANT(first.inputs().size() == 1 && first.inputs()[0].name == "x");
                   WANT(first.inputs()[0].shape == Shape{-1} && first.outputs()[0].name == "y");
                   WANT(at_one(first) == 2);
                   WANT(line(3).publish("line", true) == 2);
                   WANT(at_one(Model::open("line")) == 3);
                   WANT(at_one(Model::open("line:1")) == 2);
                   // An open model stays the version that it was opened as, also behind a lost worker.
                   kill_worker(mld);
                   WANT(again([&] { return at_one(first); }) == 2);
                   for (const char* nobody : {"line:3", "circle", "line@best", "", "../line"}) {
                     const std::optional<Error> error = error_of([&] { Model::open(nobody); });
                     WANT(error && (error->code() == Code::not_found || error->code() == Code::invalid_argument));
                   }
                   WANT(error_of([] { line(1).publish("no/such name"); })->code() == Code::invalid_argument);
                   WANT(at_one(first) == 2);
                 }),
            kFine);
}

TEST(Client, ModelsOfTheCInterface) {
  Daemon daemon;
  const Scratch folder;
  EXPECT_EQ(play(daemon,
                 [&](pid_t) {
                   line(5).save(folder.file("line.mlmodel"));
                   ml_model *saved = nullptr, *opened = nullptr;
                   std::uint64_t version = 0;
                   WANT(ml_model_load(folder.file("line.mlmodel").c_str(), &saved) == ML_OK);
                   WANT(ml_model_publish(saved, "line", 0, &version) == ML_OK && version == 1);
                   WANT(ml_model_open("line:1", &opened) == ML_OK);
                   WANT(std::string(ml_model_input_name(opened, 0)) == "x");
                   ml_model_free(saved);
                   WANT(ml_model_open("circle", &saved) == ML_ERROR_NOT_FOUND);
                   const std::int64_t shape[] = {1};
                   const float one = 1;
                   float answer = 0;
                   ml_tensor *x = nullptr, *y = nullptr;
                   WANT(ml_tensor_from_data(ML_F32, shape, 1, &one, sizeof one, &x) == ML_OK);
                   WANT(ml_model_run(opened, &x, 1, &y, 1) == ML_OK);
                   WANT(ml_tensor_read(y, &answer, sizeof answer) == ML_OK && answer == 5);
                   ml_tensor_free(x);
                   ml_tensor_free(y);
                   ml_model_free(opened);
                 }),
            kFine);
}

// What is found by who names no transport: a daemon where one listens, else the engine in this process.
std::string found_in(const std::string& runtime_directory, const SessionOptions& options = {}) {
  return Forked({},
                [&] {
                  unsetenv("MLACCEL");
                  setenv("XDG_RUNTIME_DIR", runtime_directory.c_str(), 1);
                  const std::optional<Error> error = error_of([&] { connect(options); });
                  return error ? std::string(code_name(error->code())) + ": " + error->message()
                               : default_session().transport();
                })
      .answer();
}

TEST(Client, TakesTheDaemonThatListens) {
  Daemon daemon;
  const Scratch folder;
  EXPECT_EQ(found_in(folder.path()), "embedded");
  fs::create_directory(folder.file("mlaccel"));
  fs::create_symlink(daemon.socket(), folder.file("mlaccel/mld.sock"));
  EXPECT_EQ(found_in(folder.path()),
            Daemon::through_kernel() ? daemon.transport() : "unix:" + folder.file("mlaccel/mld.sock"));
  daemon.kill();  // its socket stays where it was
  EXPECT_EQ(found_in(folder.path()), "embedded");
}

TEST(Client, ARefusalIsNoReasonToGoElsewhere) {
  Daemon daemon({.toml = "[limits]\nsessions = 0\n"});
  const Scratch folder;
  fs::create_directory(folder.file("mlaccel"));
  fs::create_symlink(daemon.socket(), folder.file("mlaccel/mld.sock"));
  const std::string refused = found_in(folder.path());
  EXPECT_TRUE(refused.starts_with("no_space: ")) << refused;
  EXPECT_NE(refused.find("sessions"), std::string::npos) << refused;
  Daemon other;
  fs::remove(folder.file("mlaccel/mld.sock"));
  fs::create_symlink(other.socket(), folder.file("mlaccel/mld.sock"));
  const std::string device = found_in(folder.path(), {.device = "gpu7"});
  EXPECT_TRUE(device.starts_with("not_found: ")) << device;
  EXPECT_NE(device.find("gpu7"), std::string::npos) << device;
  const std::string threads = found_in(folder.path(), {.threads = 77});
  EXPECT_TRUE(threads.starts_with("invalid_argument: 77 threads were asked for")) << threads;
}

TEST(Client, MayAskForADeviceByItsBackendAgainAndAgain) {
  Daemon daemon;
  EXPECT_EQ(Forked({},
                   [&]() -> std::string {
                     const Session session = connect({.transport = daemon.transport(), .device = "cpu"});
                     WANT(session.device() == "cpu0");
                     connect({.transport = daemon.transport(), .device = "cpu"});
                     connect({.device = "cpu0"});
                     WANT(error_of([] { connect({.device = "cpu1"}); })->code() == Code::invalid_argument);
                     return kFine;
                   })
                .answer(),
            kFine);
}

}  // namespace
}  // namespace ml::test
