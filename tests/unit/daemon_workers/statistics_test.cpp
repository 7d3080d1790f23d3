#include "daemon/workers/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "ml/error.h"

namespace ml::daemon {
namespace {

using worker_protocol::SessionStatistics;

// A worker with sessions 1 to `sessions`, that answers, or not.
class CountingWorker final : public WorkerProcess {
 public:
  enum class Way { answers, hangs, dies, talks_nonsense };
  CountingWorker(Loop& loop, std::uint64_t sessions, Way way) : loop_(loop), sessions_(sessions), way_(way) {}

  const WorkerSpec& spec() const override { return spec_; }
  pid_t pid() const override { return 1; }
  std::uint32_t generation() const override { return 1; }
  bool ready() const override { return is_ready; }
  const std::string& fingerprint() const override { return spec_.name; }
  std::vector<std::uint64_t> running_sessions() const override { return {}; }
  void kill() override {}
  void request(std::span<std::byte> message, std::string_view, std::span<const int>, Answer answer) override {
    ++requests;
    if (way_ == Way::hangs) return kept_.push_back(std::move(answer));
    worker_protocol::Statistics asked;
    ASSERT_EQ(message.size(), sizeof asked);
    std::memcpy(&asked, message.data(), sizeof asked);
    loop_.post([this, after = asked.after, answer = std::move(answer)] {
      if (way_ == Way::dies) {
        const Error error(Code::device_lost, "it died");
        return answer(nullptr, &error);
      }
      SessionStatistics statistics{};
      statistics.header.bytes = sizeof statistics;
      statistics.busy_ns = 1000 + sessions_;
      while (statistics.count < worker_protocol::kStatisticsEntries && after + statistics.count < sessions_) {
        statistics.entries[statistics.count].session = after + statistics.count + 1;
        ++statistics.count;
      }
      transport::Packet packet;
      packet.bytes.resize(way_ == Way::talks_nonsense ? 32 : sizeof statistics);
      statistics.header.bytes = static_cast<std::uint32_t>(packet.bytes.size());
      std::memcpy(packet.bytes.data(), &statistics, packet.bytes.size());
      answer(&packet, nullptr);
    });
  }

  bool is_ready = true;
  int requests = 0;

 private:
  Loop& loop_;
  const std::uint64_t sessions_;
  const Way way_;
  WorkerSpec spec_;
  std::vector<Answer> kept_;
};
using Way = CountingWorker::Way;

class StatisticsTest : public testing::Test {
 protected:
  Statistics gather(const std::vector<WorkerProcess*>& workers) {
    Statistics gathered;
    bool within = true, done = false;
    gather_statistics(*loop, workers, [&](Statistics statistics) {
      EXPECT_FALSE(within);
      EXPECT_FALSE(done);
      done = true;
      gathered = std::move(statistics);
      loop->stop();
    });
    within = false;
    loop->run();
    EXPECT_TRUE(done);
    return gathered;
  }
  std::unique_ptr<Loop> loop = Loop::create(Loop::Kind::epoll, nullptr);
};

TEST_F(StatisticsTest, EverySessionOfEveryWorkerIsThereOnceWhateverThePages) {
  constexpr std::uint64_t kPage = worker_protocol::kStatisticsEntries;
  for (const std::uint64_t sessions : {std::uint64_t{0}, std::uint64_t{1}, kPage - 1, kPage, kPage + 1, 3 * kPage}) {
    CountingWorker one(*loop, sessions, Way::answers), two(*loop, 2, Way::answers);
    const Statistics statistics = gather({&one, &two});
    ASSERT_EQ(statistics.size(), 2u);
    EXPECT_EQ(statistics.at(&one).worker.busy_ns, 1000 + sessions);
    const auto& entries = statistics.at(&one).sessions;
    ASSERT_EQ(entries.size(), sessions);
    for (std::uint64_t i = 0; i < sessions; ++i) EXPECT_EQ(entries[i].session, i + 1);
    EXPECT_EQ(statistics.at(&two).sessions.size(), 2u);
  }
}

TEST_F(StatisticsTest, AWorkerThatHangsDiesOrTalksNonsenseIsLeftOut) {
  CountingWorker good(*loop, 3, Way::answers), hangs(*loop, 3, Way::hangs), dies(*loop, 3, Way::dies),
      nonsense(*loop, 3, Way::talks_nonsense);
  const Statistics statistics = gather({&hangs, &good, &dies, &nonsense});
  ASSERT_EQ(statistics.size(), 1u);
  EXPECT_EQ(statistics.at(&good).sessions.size(), 3u);
}

TEST_F(StatisticsTest, NobodyThatIsNotReadyIsAsked) {
  CountingWorker starting(*loop, 3, Way::hangs);
  starting.is_ready = false;
  EXPECT_TRUE(gather({&starting, nullptr}).empty());
  EXPECT_EQ(starting.requests, 0);
  EXPECT_TRUE(gather({}).empty());
}

}  // namespace
}  // namespace ml::daemon
