// mld-worker itself, in its sandbox: what it computes, what it refuses, and its end.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "daemon/workers/devices.h"
#include "engine/graph/autodiff.h"
#include "engine/graph/build.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/model_file.h"
#include "ml/error.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/own_worker.h"
#include "tests/system/support/randomness.h"

namespace ml::test {
namespace {

namespace wire = daemon::worker_protocol;

constexpr std::uint64_t kSession = 7;
constexpr std::int64_t kForever = 1'000'000'000'000;

Code code_of(const std::function<void()>& action) {
  try {
    action();
    return Code{};
  } catch (const Error& error) {
    return error.code();
  }
}

transport::UniqueFd model_file(const Graph& graph, std::uint64_t& bytes) {
  std::vector<std::byte> file;
  write_model(graph, [&file](std::span<const std::byte> part) { file.insert(file.end(), part.begin(), part.end()); });
  bytes = file.size();
  transport::UniqueFd fd = make_memory({.bytes = bytes, .seals = 0});
  EXPECT_EQ(pwrite(fd.get(), file.data(), bytes, 0), static_cast<ssize_t>(bytes));
  return fd;
}

// The one socket of this process that is none of the standard descriptors.
int socket_to_worker() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    int type = 0;
    socklen_t size = sizeof type;
    if (fd > 2 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET) return fd;
  }
  return -1;
}

class OneSession : public testing::Test {
 protected:
  OneSession() { worker.open_session(kSession); }

  RawQueue& queue() {
    if (!queue_) queue_ = worker.open_queue(kSession);
    return *queue_;
  }
  RawArena& arena() {
    if (!arena_) arena_ = worker.add_arena(kSession);
    return *arena_;
  }
  // Begins what doesn't end.
  std::uint64_t be_busy() {
    const mlring_handle program = compile(queue(), arena(), busy_graph(kForever));
    const mlring_argument in = arena().input(std::vector<float>(256)), out = arena().output(256);
    return queue().submit(execute(arena(), program, {in, out}));
  }
  void close_session() {
    wire::CloseSession wanted{};
    wanted.session = kSession;
    worker.request(wanted, wire::Kind::close_session);
  }

  OwnWorker worker;

 private:
  std::unique_ptr<RawQueue> queue_;
  std::unique_ptr<RawArena> arena_;
};

TEST_F(OneSession, AnswersWhatTheDeviceIs) {
  EXPECT_TRUE(worker.worker->ready());
  EXPECT_NE(worker.worker->fingerprint().find("cpu"), std::string::npos) << worker.worker->fingerprint();
}

// A step of gradient descent with what oneDNN generates code for, from memory to memory, in the sandbox.
TEST_F(OneSession, TrainsInTheSandbox) {
  Graph graph;
  const Var image = input(graph, "image", DType::f32, Shape{8, 3, 16, 16});
  const Var kernel = input(graph, "kernel", DType::f32, Shape{16, 3, 3, 3});
  const Var weight = input(graph, "weight", DType::f32, Shape{16 * 14 * 14, 32});
  const Var features = convolution(image, kernel, {}, Windows::unit(2));
  const Var result = matmul(reshape(maximum(features, 0.0), Shape{8, 16 * 14 * 14}), weight);
  const Var loss = reduce_sum(result * result, {0, 1});
  const Var wrt[] = {kernel, weight};
  const Var seed = scalar(graph, DType::f32, 1);
  const std::vector<Var> slopes = gradients(std::span(&loss, 1), std::span(&seed, 1), wrt);
  output("loss", loss);
  output("kernel", kernel - slopes[0] * 1e-6);
  output("weight", weight - slopes[1] * 1e-6);

  const mlring_handle program = compile(queue(), arena(), graph);
  const auto ramp = [](std::size_t count) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 17) * 0.01F - 0.08F;
    return values;
  };
  const auto dims = [](mlring_argument argument, std::initializer_list<std::uint64_t> shape) {
    argument.rank = 0;
    for (const std::uint64_t dim : shape) argument.dims[argument.rank++] = dim;
    return argument;
  };
  const std::uint64_t weights = 16 * 14 * 14 * 32;
  const mlring_argument images = dims(arena().input(ramp(8 * 3 * 16 * 16)), {8, 3, 16, 16});
  mlring_argument kernels = dims(arena().input(ramp(16 * 27)), {16, 3, 3, 3});
  mlring_argument matrix = dims(arena().input(ramp(weights)), {16 * 14 * 14, 32});
  std::vector<float> losses;
  for (int step = 0; step < 3; ++step) {
    const mlring_argument value = dims(arena().output(1), {});
    const mlring_argument new_kernels = dims(arena().output(16 * 27), {16, 3, 3, 3});
    const mlring_argument new_matrix = dims(arena().output(weights), {16 * 14 * 14, 32});
    const RawQueue::Answer answer =
        queue().run(execute(arena(), program, {images, kernels, matrix, value, new_kernels, new_matrix}));
    ASSERT_EQ(answer.status(), MLRING_OK) << answer.message;
    losses.push_back(arena().floats(value)[0]);
    kernels = new_kernels;
    matrix = new_matrix;
    kernels.direction = matrix.direction = MLRING_IN;
  }
  EXPECT_GT(losses[0], losses[1]);
  EXPECT_GT(losses[1], losses[2]);
}

TEST_F(OneSession, OthersAreServedWhileOneIsBusy) {
  be_busy();
  worker.open_session(8);  // needs an executor more, made in the sandbox
  const auto other = worker.open_queue(8);
  const auto memory = worker.add_arena(8);
  const mlring_handle program = compile(*other, *memory, add_one_graph());
  const mlring_argument in = memory->input({1, 2, 3}), out = memory->output(3);
  EXPECT_EQ(other->run(execute(*memory, program, {in, out})).status(), MLRING_OK);
  EXPECT_EQ(memory->floats(out), (std::vector<float>{2, 3, 4}));
  // And large memory is there to be had.
  mlring_descriptor alloc{};
  alloc.opcode = MLRING_OP_ALLOC;
  alloc.operand = 512u << 20;
  EXPECT_EQ(other->run(alloc).status(), MLRING_OK);
}

TEST_F(OneSession, ASessionEndsThoughItIsBusy) {
  be_busy();
  close_session();
  EXPECT_EQ(code_of([&] { close_session(); }), Code::not_found);
  EXPECT_EQ(worker.statistics().count, 0U);
}

TEST_F(OneSession, SaysWhatSessionsUse) {
  const mlring_handle program = compile(queue(), arena(), add_one_graph());
  const mlring_argument in = arena().input({1}), out = arena().output(1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(queue().run(execute(arena(), program, {in, out})).status(), MLRING_OK);
  worker.open_session(3);
  const wire::SessionStatistics all = worker.statistics();
  ASSERT_EQ(all.count, 2U);
  EXPECT_EQ(all.entries[0].session, 3U);
  EXPECT_EQ(all.entries[0].executions, 0U);
  EXPECT_EQ(all.entries[1].session, kSession);
  EXPECT_EQ(all.entries[1].executions, 5U);
  EXPECT_GT(all.entries[1].compile_ns, 0U);
  EXPECT_EQ(all.entries[1].arena_bytes, 4u << 20);
}

TEST_F(OneSession, ModelsAreLoadedOnceAndOpenedByMany) {
  std::uint64_t bytes = 0;
  const transport::UniqueFd file = model_file(add_one_graph(), bytes);
  worker.load_model(11, file.get(), bytes);
  EXPECT_EQ(code_of([&] { worker.load_model(11, file.get(), bytes); }), Code::invalid_argument);
  EXPECT_EQ(worker.statistics().models, 1U);
  EXPECT_EQ(worker.statistics().model_bytes, bytes);
  wire::OpenModel open{};
  open.session = kSession;
  open.model = 11;
  const mlring_handle program = worker.request(open, wire::Kind::open_model).as<wire::ModelOpened>()->program;
  const mlring_argument in = arena().input({1, 2}), out = arena().output(2);
  EXPECT_EQ(queue().run(execute(arena(), program, {in, out})).status(), MLRING_OK);
  wire::UnloadModel unload{};
  unload.model = 11;
  worker.request(unload, wire::Kind::unload_model);
  // Who has it open keeps it; others don't get it any more.
  EXPECT_EQ(queue().run(execute(arena(), program, {in, out})).status(), MLRING_OK);
  EXPECT_EQ(code_of([&] { worker.request(open, wire::Kind::open_model); }), Code::not_found);
  EXPECT_EQ(code_of([&] { worker.request(unload, wire::Kind::unload_model); }), Code::not_found);
}

TEST_F(OneSession, DamagedModelsAreRefused) {
  std::uint64_t bytes = 0;
  const transport::UniqueFd file = model_file(add_one_graph(), bytes);
  EXPECT_EQ(code_of([&] { worker.load_model(1, file.get(), bytes - 1); }), Code::invalid_argument);
  for (std::uint64_t at = 0; at < 40; at += 8) {
    std::uint64_t whole = 0;
    const transport::UniqueFd damaged = model_file(add_one_graph(), whole);
    unsigned char byte = 0;
    ASSERT_EQ(pread(damaged.get(), &byte, 1, static_cast<off_t>(at)), 1);
    byte ^= 0xff;
    ASSERT_EQ(pwrite(damaged.get(), &byte, 1, static_cast<off_t>(at)), 1);
    const Code code = code_of([&] { worker.load_model(2, damaged.get(), whole); });
    EXPECT_TRUE(code == Code::corrupt || code == Code::unsupported) << at;
  }
  worker.load_model(2, file.get(), bytes);
}

// A model as it would be trained: weights in blobs, and most kinds of attributes.
Graph classifier() {
  Graph graph;
  const auto weights = [&graph](const Shape& shape) {
    const std::vector<float> values(static_cast<std::size_t>(shape.elements()), 0.01F);
    return constant(graph, std::make_shared<const ConstantData>(
                               ConstantData{DType::f32, shape, Blob::copy_of(std::as_bytes(std::span(values))), 0}));
  };
  const Var image = input(graph, "image", DType::f32, Shape{4, 3, 16, 16});
  const Var features = maximum(convolution(image, weights(Shape{16, 3, 3, 3}), {}, Windows::unit(2)), 0.0);
  output("logits", matmul(reshape(features, Shape{4, 16 * 14 * 14}), weights(Shape{16 * 14 * 14, 10})));
  return graph;
}

TEST_F(OneSession, SurvivesModelsDamagedAnywhere) {
  std::uint64_t bytes = 0;
  const transport::UniqueFd whole = model_file(classifier(), bytes);
  std::vector<unsigned char> file(bytes);
  ASSERT_EQ(pread(whole.get(), file.data(), bytes, 0), static_cast<ssize_t>(bytes));
  // The weights, which any bytes are as good as, lie behind the header and the graph.
  const std::size_t structure = std::min<std::size_t>(bytes, 4096);
  std::mt19937_64 random(seed());
  std::uint64_t model = 100, refused = 0;
  const int times = rounds(400);
  for (int round = 0; round < times; ++round) {
    std::vector<unsigned char> damaged = file;
    for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes)
      damaged[random() % structure] = static_cast<unsigned char>(random() % 3 == 0 ? 0xff : random());
    const transport::UniqueFd memory = make_memory({.bytes = bytes, .seals = 0});
    ASSERT_EQ(pwrite(memory.get(), damaged.data(), bytes, 0), static_cast<ssize_t>(bytes));
    const Code code = code_of([&] { worker.load_model(++model, memory.get(), bytes); });
    ASSERT_NE(code, Code::device_lost) << "round " << round << ": " << worker.death;
    ASSERT_NE(code, Code::internal) << "round " << round;
    if (code != Code{}) {
      ++refused;
      continue;
    }
    wire::UnloadModel unload{};
    unload.model = model;
    worker.request(unload, wire::Kind::unload_model);
  }
  EXPECT_GT(refused, 0U);
  EXPECT_EQ(queue().nop().status(), MLRING_OK);
  EXPECT_EQ(worker.statistics().models, 0U);
}

TEST_F(OneSession, WrongRequestsAreRefusedAndHarmNothing) {
  const auto request = [this](auto message, wire::Kind kind, std::initializer_list<int> fds = {}) {
    return code_of([&] { worker.request(message, kind, fds); });
  };
  wire::AddArena arena_of_nobody{};
  arena_of_nobody.session = 99;
  arena_of_nobody.bytes = 4096;
  const transport::UniqueFd memory = make_memory({.bytes = 4096});
  EXPECT_EQ(request(arena_of_nobody, wire::Kind::add_arena, {memory.get()}), Code::not_found);
  EXPECT_EQ(request(arena_of_nobody, wire::Kind::add_arena), Code::invalid_argument) << "a file is missing";
  EXPECT_EQ(request(wire::Statistics{}, wire::Kind::add_arena), Code::invalid_argument) << "another size";
  EXPECT_EQ(request(wire::Statistics{}, static_cast<wire::Kind>(999)), Code::unsupported);
  EXPECT_EQ(request(wire::Configure{}, wire::Kind::configure, {memory.get(), memory.get()}), Code::invalid_argument);
  EXPECT_EQ(queue().nop().status(), MLRING_OK);
}

TEST_F(OneSession, ArenasMustBeSealedMemory) {
  struct Case {
    const char* what;
    transport::UniqueFd file;
    std::uint64_t bytes;
  };
  std::vector<Case> cases;
  cases.push_back({"unsealed", make_memory({.bytes = 4096, .seals = 0}), 4096});
  cases.push_back({"may shrink", make_memory({.bytes = 4096, .seals = F_SEAL_GROW}), 4096});
  cases.push_back({"can't be written", make_memory({.bytes = 4096, .seals = 7 | F_SEAL_WRITE}), 4096});
  cases.push_back({"of another size", make_memory({.bytes = 4096}), 8192});
  cases.push_back({"empty", make_memory({.bytes = 0}), 0});
  cases.push_back({"a device", transport::UniqueFd(open("/dev/zero", O_RDWR | O_CLOEXEC)), 4096});
  cases.push_back(
      {"a file", transport::UniqueFd(open(testing::TempDir().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)), 4096});
  ASSERT_EQ(ftruncate(cases.back().file.get(), 4096), 0);
  for (const Case& one : cases) {
    wire::AddArena wanted{};
    wanted.session = kSession;
    wanted.bytes = one.bytes;
    EXPECT_EQ(code_of([&] { worker.request(wanted, wire::Kind::add_arena, {one.file.get()}); }), Code::invalid_argument)
        << one.what;
  }
}

TEST_F(OneSession, AClientThatBreaksTheRulesIsReported) {
  queue().submission()->tail += 1000;
  const std::uint64_t one = 1;
  ASSERT_EQ(write(queue().fd(3), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  ASSERT_TRUE(run_until(*worker.loop, [&] { return !worker.ended.empty(); }));
  EXPECT_EQ(worker.ended[0].session, kSession);
  EXPECT_NE(worker.ended[0].fault, 0U);
  close_session();
}

TEST_F(OneSession, ItsDeathAnswersEverything) {
  be_busy();
  int lost = 0;
  for (int i = 0; i < 3; ++i) {
    wire::Statistics wanted{};
    wanted.header.kind = static_cast<std::uint32_t>(wire::Kind::statistics);
    kill(worker.worker->pid(), SIGSTOP);  // so that it can't answer before
    worker.worker->request(wanted, {}, [&lost](transport::Packet*, const Error* error) {
      if (error != nullptr && error->code() == Code::device_lost) ++lost;
    });
  }
  EXPECT_EQ(lost, 0);
  worker.worker->kill();
  ASSERT_TRUE(run_until(*worker.loop, [&] { return !worker.death.empty(); }));
  EXPECT_EQ(worker.death, "killed by signal 9 (Killed)");
  EXPECT_EQ(lost, 3);
  // One that comes too late is answered too.
  EXPECT_EQ(code_of([&] { worker.statistics(); }), Code::device_lost);
}

TEST_F(OneSession, IsKilledByItsSupervisorThoughItIsBusy) {
  be_busy();
  const pid_t pid = worker.worker->pid();
  worker.worker.reset();
  EXPECT_TRUE(run_until(*worker.loop, [&] { return kill(pid, 0) != 0; }));
}

// Before this side looks at it, so that it can't be killed.
TEST_F(OneSession, EndsByItselfWhenItsSocketHangsUpThoughItIsBusy) {
  be_busy();
  ASSERT_EQ(shutdown(socket_to_worker(), SHUT_RDWR), 0);
  const std::string stat = "/proc/" + std::to_string(worker.worker->pid()) + "/stat";
  EXPECT_TRUE(eventually([&] { return read_file(stat).find(") Z ") != std::string::npos; }));
  ASSERT_TRUE(run_until(*worker.loop, [&] { return !worker.death.empty(); }));
  EXPECT_EQ(worker.death, "exited with status 0");
}

TEST(Worker, KeepsItsMemoryWithinItsBound) {
  OwnWorker worker({.name = "test", .devices = {"cpu0"}, .backend = "cpu", .memory_bytes = 64u << 20});
  worker.open_session(kSession);
  const auto queue = worker.open_queue(kSession);
  mlring_descriptor alloc{};
  alloc.opcode = MLRING_OP_ALLOC;
  alloc.operand = 40u << 20;
  EXPECT_EQ(queue->run(alloc).status(), MLRING_OK);
  EXPECT_EQ(queue->run(alloc).status(), MLRING_NO_SPACE);
}

TEST(Worker, WhatCantBeStartedSaysWhy) {
  const auto loop = daemon::Loop::create(daemon::Loop::Kind::automatic, nullptr);
  EXPECT_EQ(code_of([&] { daemon::start_worker(*loop, "/nowhere/mld-worker", {}, std::nullopt, 1, {}); }), Code::io);
  // A device that there isn't: the worker refuses, and its supervisor learns why.
  OwnWorker worker({.name = "test", .devices = {"tpu0"}, .backend = "tpu"});
  ASSERT_TRUE(run_until(*worker.loop, [&] { return !worker.death.empty(); }));
  EXPECT_NE(worker.death.find("there is no device 'tpu'"), std::string::npos) << worker.death;
}

class OfDevices : public testing::Test {
 protected:
  OfDevices() : loop(daemon::Loop::create(daemon::Loop::Kind::automatic, nullptr)) {
    config.user = true;
    const std::string program = program_path("mld-worker");
    config.libexec_directory = program.substr(0, program.rfind('/'));
    config.devices = {{.name = "cpu0"}, {.name = "cpu1"}, {.name = "slow0", .backend = "reference"}};
  }
  std::unique_ptr<daemon::Loop> loop;
  daemon::Config config;
};

TEST_F(OfDevices, ADeadWorkerIsReplacedAtOnce) {
  daemon::Devices devices(*loop, config);
  std::vector<std::string> deaths;
  devices.on_death = [&](daemon::Device& device, daemon::WorkerProcess& dead, const std::string& how) {
    deaths.push_back(device.config.name + " " + std::to_string(dead.generation()) + " " + how);
  };
  devices.start();
  daemon::Device& device = *devices.find("cpu0");
  ASSERT_TRUE(run_until(*loop, [&] { return device.serving->ready(); }));
  device.preemption->demand = 1;  // as a worker that had work
  const pid_t first = device.serving->pid();
  ASSERT_EQ(kill(first, SIGKILL), 0);
  ASSERT_TRUE(run_until(*loop, [&] { return device.generation == 2 && device.serving && device.serving->ready(); }));
  EXPECT_NE(device.serving->pid(), first);
  EXPECT_EQ(deaths, std::vector<std::string>{"cpu0 1 killed by signal 9 (Killed)"});
  EXPECT_EQ(device.preemption->demand, 0U);
  EXPECT_EQ(device.restarts, 1U);
  EXPECT_EQ(device.last_death, "killed by signal 9 (Killed)");
}

TEST_F(OfDevices, AWorkerThatCantBeStartedIsTriedAgain) {
  const Scratch folder;
  const std::string program = folder.file("mld-worker");
  std::filesystem::create_symlink(program_path("mld-worker"), program);
  config.libexec_directory = folder.path();
  config.devices.resize(1);
  daemon::Devices devices(*loop, config);
  std::string why;
  devices.on_restart_failed = [&](daemon::Device&, const std::string& text) { why = text; };
  devices.start();
  daemon::Device& device = *devices.find("cpu0");
  std::filesystem::remove(program);
  ASSERT_EQ(kill(device.serving->pid(), SIGKILL), 0);
  ASSERT_TRUE(run_until(*loop, [&] { return !why.empty(); }));
  EXPECT_NE(why.find("No such file"), std::string::npos) << why;
  EXPECT_EQ(device.last_death, why);
  EXPECT_EQ(code_of([&] { devices.choose(""); }), Code::again);
  std::filesystem::create_symlink(program_path("mld-worker"), program);
  EXPECT_TRUE(run_until(*loop, [&] { return device.serving && device.serving->ready(); }));
}

TEST_F(OfDevices, TheLeastUsedThatFitsIsChosen) {
  daemon::Devices devices(*loop, config);
  EXPECT_EQ(code_of([&] { devices.choose("cpu0"); }), Code::again) << "none is started";
  devices.start();
  const auto chosen = [&](const std::string& wanted) { return devices.choose(wanted).config.name; };
  EXPECT_EQ(chosen("cpu1"), "cpu1");
  EXPECT_EQ(chosen("reference"), "slow0");
  devices.find("cpu0")->sessions = 2;
  EXPECT_EQ(chosen("cpu"), "cpu1");
  devices.drain("cpu1", true);
  EXPECT_EQ(chosen("cpu"), "cpu0");
  EXPECT_EQ(code_of([&] { devices.choose("cpu1"); }), Code::again);
  devices.drain("cpu1", false);
  EXPECT_EQ(chosen("cpu1"), "cpu1");
  EXPECT_EQ(code_of([&] { devices.choose("gpu"); }), Code::not_found);
  EXPECT_EQ(code_of([&] { devices.drain("gpu", true); }), Code::not_found);
}

TEST(Devices, WaitLongerTheOftenerTheirWorkersDie) {
  const std::uint64_t expected_ms[] = {0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
  for (std::uint32_t deaths = 0; deaths < std::size(expected_ms); ++deaths)
    EXPECT_EQ(daemon::restart_delay_ns(deaths), expected_ms[deaths] * 1'000'000) << deaths;
  EXPECT_EQ(daemon::restart_delay_ns(~0u), 5'000'000'000);
}

}  // namespace
}  // namespace ml::test
