// A worker dies: who works with it loses what it had there and comes back, and nobody else notices.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "ml/ml.h"
#include "tests/system/support/baseline.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

constexpr std::int64_t kForever = 1'000'000'000'000;

// What is executing when the worker dies, and does not end by itself.
struct Busy {
  Busy(RawSession& session, pid_t worker)
      : queue(session.open_queue()),
        arena(session.add_arena()),
        program(compile(*queue, *arena, busy_graph(kForever))),
        sequence(queue->submit(execute(*arena, program, {arena->input(std::vector<float>(256)), arena->output(256)}))) {
    // Nothing else makes an idle worker compute for so long.
    const std::uint64_t before = usage_of(worker).cpu_ns;
    EXPECT_TRUE(eventually([&] { return usage_of(worker).cpu_ns >= before + 100'000'000; }));
  }

  std::unique_ptr<RawQueue> queue;
  std::unique_ptr<RawArena> arena;
  mlring_handle program;
  std::uint64_t sequence;
};

pid_t only_worker(Daemon& daemon) {
  const std::vector<pid_t> workers = daemon.workers();
  EXPECT_EQ(workers.size(), 1U);
  return workers.empty() ? -1 : workers.front();
}

// Kills it and waits until its successor is there.
void kill_worker(Daemon& daemon, pid_t pid) {
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  ASSERT_TRUE(eventually([&] {
    const std::vector<pid_t> workers = daemon.workers();
    return !workers.empty() && std::ranges::find(workers, pid) == workers.end();
  }));
}

TEST(DeviceLost, SessionsAreServedAgainWithinTwoSeconds) {
  Daemon daemon;
  const pid_t worker = only_worker(daemon);
  RawSession session(daemon.socket());
  const std::uint32_t generation = session.welcome().generation;
  const Busy busy(session, worker);

  const auto killed = std::chrono::steady_clock::now();
  ASSERT_EQ(kill(worker, SIGKILL), 0);
  EXPECT_EQ(busy.queue->ended(), transport::RingState::lost);
  const transport::Packet packet = session.unasked(protocol::Kind::device_lost);
  ASSERT_NE(packet.as<protocol::DeviceLost>(), nullptr);
  EXPECT_EQ(packet.as<protocol::DeviceLost>()->generation, generation);

  RawSession again(daemon.socket());
  EXPECT_EQ(again.open_queue()->nop().status(), MLRING_OK);
  const std::chrono::duration<double> away = std::chrono::steady_clock::now() - killed;
  EXPECT_LT(away.count(), 2.0);
  EXPECT_GT(again.welcome().generation, generation);
  compute_something(again);
}

TEST(DeviceLost, AProgramLosesWhatWasUnderWayAndConnectsByItself) {
  Daemon daemon;
  // Forked, because a process has one default session.
  Forked client({}, [&] {
    connect({.transport = daemon.transport()});
    const Tensor kept = full({4}, 2);
    if ((kept + 1).sum().item<float>() != 12) return std::string("wrong before");
    kill_worker(daemon, only_worker(daemon));
    // The tensor lies in the client's own memory, and programs are made anew.
    for (int attempt = 0; attempt < 3; ++attempt) {
      try {
        return std::string((kept + 1).sum().item<float>() == 12 ? "right again" : "wrong afterwards");
      } catch (const Error& error) {
        if (error.code() != Code::device_lost) return std::string(error.what());
      }
    }
    return std::string("lost for good");
  });
  EXPECT_EQ(client.answer(), "right again");
}

TEST(DeviceLost, AnOpenedModelRunsAgainOnTheNextWorker) {
  Daemon daemon;
  Forked client({}, [&] {
    connect({.transport = daemon.transport()});
    Model::trace([](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] * 2 + 1}; },
                 {{"x", DType::f32, {-1}}})
        .publish("twice", false);
    const Model model = Model::open("twice");
    for (int death = 0; death < 3; ++death) {
      for (int attempt = 0;; ++attempt) {
        try {
          if (model.run({full({3}, 4)})[0].to_vector<float>() != std::vector<float>{9, 9, 9})
            return std::string("wrong");
          break;
        } catch (const Error& error) {
          if (error.code() != Code::device_lost || attempt == 3) return std::string(error.what());
        }
      }
      kill_worker(daemon, only_worker(daemon));
    }
    return std::string("right each time");
  });
  EXPECT_EQ(client.answer(), "right each time");
}

TEST(DeviceLost, WhoseWorkKillsTwiceIsRefusedAndOthersAreNot) {
  Daemon daemon;
  for (int death = 0; death < 2; ++death) {
    const pid_t worker = only_worker(daemon);
    RawSession session(daemon.socket());
    const Busy busy(session, worker);
    kill_worker(daemon, worker);
    EXPECT_EQ(busy.queue->ended(), transport::RingState::lost);
  }
  try {
    RawSession refused(daemon.socket());
    ADD_FAILURE() << "it was let in";
  } catch (const Refused& refused) {
    EXPECT_EQ(refused.status, MLRING_DENIED) << refused.what();
    EXPECT_NE(std::string(refused.what()).find("died 2 times"), std::string::npos) << refused.what();
  }
  Forked other({}, [&] {
    RawSession session(daemon.socket());
    compute_something(session);
    return std::string("served");
  });
  EXPECT_EQ(other.answer(), "served");
}

TEST(DeviceLost, AJobsWorkerMayDieWhileOthersInfer) {
  const Scratch folder;
  write_pictures(folder.path(), "pictures", 512);
  Daemon daemon;
  const pid_t serving = only_worker(daemon);
  const Job job(daemon, write_job(folder.path(), {.epochs = 60, .checkpoint_every = 7}));

  std::atomic<bool> stop{false};
  std::atomic<int> inferred{0};
  std::string failure;
  std::thread client([&] {
    try {
      RawSession session(daemon.socket());
      const auto queue = session.open_queue();
      const auto arena = session.add_arena();
      const mlring_handle program = compile(*queue, *arena, add_one_graph());
      const mlring_argument in = arena->input({1, 2, 3}), out = arena->output(3);
      const mlring_descriptor run = execute(*arena, program, {in, out});
      while (!stop) {
        const RawQueue::Answer answer = queue->run(run);
        if (answer.status() != MLRING_OK) throw Refused(answer.status(), answer.message);
        if (arena->floats(out) != std::vector<float>{2, 3, 4}) throw std::runtime_error("wrong numbers");
        ++inferred;
      }
    } catch (const std::exception& error) {
      failure = error.what();
    }
  });
  for (std::uint64_t death = 1; death <= 2; ++death) {
    // The process that trains: it has come further since the last death.
    std::vector<pid_t> workers;
    const std::uint64_t before = job.number("step");
    EXPECT_TRUE(eventually([&] {
      workers = daemon.workers();
      std::erase(workers, serving);
      return workers.size() == 1 && job.state() == "running" && job.number("step") > before;
    })) << job.show();
    if (workers.size() != 1) break;
    EXPECT_EQ(kill(workers.front(), SIGKILL), 0);
    // It was not at its end: it is started once more.
    EXPECT_TRUE(eventually([&] { return job.number("starts") == death + 1; })) << job.show();
    const int now = inferred;
    EXPECT_TRUE(eventually([&] { return inferred > now + 20 || !failure.empty(); }));
  }
  stop = true;
  client.join();
  EXPECT_EQ(failure, "");
  const std::vector<pid_t> workers = daemon.workers();
  EXPECT_NE(std::ranges::find(workers, serving), workers.end()) << "the serving worker was replaced";
  EXPECT_TRUE(job.reaches("done")) << job.show() << job.log();
  EXPECT_EQ(job.number("starts"), 3U) << job.show();
  EXPECT_EQ(job.number("failures"), 2U) << job.show();  // its starts that ended by a death, not by its own doing
}

}  // namespace
}  // namespace ml::test
