#include "tools/mlctl/commands/follow.h"

#include <unistd.h>

#include <thread>

#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/human.h"

namespace ml::ctl {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kBetweenLooks = std::chrono::milliseconds(200);

// mld's answers, also across its restart.
class PatientClient {
 public:
  explicit PatientClient(const Invocation& invocation) : invocation_(invocation) { connect(); }

  template <class Ask>
  auto ask(const Ask& question) {
    for (Clock::time_point lost_at{};;) {
      try {
        if (!client_) connect();
        auto answer = question(*client_);
        if (lost_at != Clock::time_point{}) invocation_.remark("mld is back");
        return answer;
      } catch (const Failure& failure) {
        if (failure.exit != Exit::not_running) throw;
        client_.reset();
        if (lost_at == Clock::time_point{}) {
          lost_at = Clock::now();
          invocation_.remark("mld went away: waiting for it");
        }
        if (Clock::now() - lost_at > invocation_.timeout()) throw;
        std::this_thread::sleep_for(kBetweenLooks);
      }
    }
  }

 private:
  void connect() { client_ = std::make_unique<AdminClient>(invocation_.text("--socket"), invocation_.timeout()); }

  const Invocation& invocation_;
  std::unique_ptr<AdminClient> client_;
};

// A line at the bottom of the terminal: how far the job is.
class ProgressLine {
 public:
  ProgressLine() : shown_(isatty(STDERR_FILENO) != 0 && isatty(STDOUT_FILENO) != 0) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool shown() const { return shown_; }
  void clear() {
    if (drawn_) write_error("\r\033[K");
    drawn_ = false;
  }
  void draw(const admin::Job& job) {
    clear();
    std::string line = job.state();
    if (job.state() == "queued" && !job.why().empty()) line += ": " + printable(job.why());
    if (job.steps() > 0) {
      line += "  step " + human_count(job.step()) + " of " + human_count(job.steps());
      line += "  epoch " + std::to_string(job.epoch()) + '/' + std::to_string(job.epochs());
      if (job.step() > 0) line += "  loss " + human_number(job.loss());
    }
    constexpr std::size_t kWidth = 78;
    if (display_width(line) > kWidth) line.resize(kWidth);
    write_error(line);
    drawn_ = true;
  }

 private:
  bool shown_, drawn_ = false;
};

}  // namespace

Exit print_log(const Invocation& invocation, std::uint64_t job) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  for (std::uint64_t offset = 0;;) {
    const admin::ReadJobLogReply part = client.log(job, offset);
    if (part.data().empty()) return Exit::ok;
    write_out(part.data());
    offset = part.offset() + part.data().size();
  }
}

Exit follow_log(const Invocation& invocation, std::uint64_t job) {
  PatientClient client(invocation);
  ProgressLine progress;
  for (std::uint64_t offset = 0;;) {
    const admin::ReadJobLogReply part = client.ask([&](AdminClient& mld) { return mld.log(job, offset); });
    if (!part.data().empty()) {
      progress.clear();
      write_out(part.data());
      offset = part.offset() + part.data().size();
      continue;
    }
    if (part.ended()) break;
    if (progress.shown()) progress.draw(client.ask([&](AdminClient& mld) { return mld.job(job); }));
    std::this_thread::sleep_for(kBetweenLooks);
  }
  progress.clear();
  const admin::Job ended = client.ask([&](AdminClient& mld) { return mld.job(job); });
  const std::string reason = ended.reason().empty() ? "" : ": " + printable(ended.reason());
  invocation.remark("job " + std::to_string(job) + ' ' + ended.state() + reason);
  return ended.state() == "done" ? Exit::ok : Exit::failure;
}

}  // namespace ml::ctl
