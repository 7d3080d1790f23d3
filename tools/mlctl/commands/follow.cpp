#include "tools/mlctl/commands/follow.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/human.h"

namespace ml::ctl {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kBetweenLooks = std::chrono::milliseconds(200);

// As it is; on a terminal without what would move its cursor: an administrator reads what others' jobs wrote.
void write_log(const std::string& text) { write_out(isatty(STDOUT_FILENO) != 0 ? printable_lines(text) : text); }

// mld's answers, also across its restart. One that was never met is waited for only where its socket could come back,
// and not long; one that was there, for the time that --timeout gives, and longer while its socket's folder is there.
class PatientClient {
 public:
  // `met`: it has answered this command already.
  PatientClient(const Invocation& invocation, bool met) : invocation_(invocation), met_(met) {}

  template <class Ask>
  auto ask(const Ask& question) {
    for (std::optional<Clock::time_point> lost_at;;) {
      try {
        if (!client_) client_ = std::make_unique<AdminClient>(invocation_.text("--socket"), invocation_.timeout());
        auto answer = question(*client_);
        if (lost_at) invocation_.remark("mld is back");
        met_ = true;
        return answer;
      } catch (const Failure& failure) {
        client_.reset();
        if (failure.exit != Exit::not_running) throw;
        const auto now = Clock::now();
        if (now - lost_at.value_or(now) >= patience()) throw;
        if (!lost_at) invocation_.remark(met_ ? "mld went away: waiting for it" : "mld is not there: waiting for it");
        lost_at = lost_at.value_or(now);
        std::this_thread::sleep_for(kBetweenLooks);
      }
    }
  }

 private:
  Clock::duration patience() const {
    const bool may_return = folder_exists();
    if (!met_) return may_return ? std::chrono::seconds(10) : Clock::duration::zero();
    return invocation_.timeout() * (may_return ? 4 : 1);
  }
  bool folder_exists() const {
    std::error_code ignored;
    for (const std::string& path : admin_sockets(invocation_.text("--socket")))
      if (std::filesystem::exists(std::filesystem::path(path).parent_path(), ignored)) return true;
    return false;
  }

  const Invocation& invocation_;
  bool met_;
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
    write_log(part.data());
    offset = part.offset() + part.data().size();
  }
}

Exit follow_log(const Invocation& invocation, std::uint64_t job, bool submitted) {
  PatientClient client(invocation, submitted);
  ProgressLine progress;
  for (std::uint64_t offset = 0;;) {
    const admin::ReadJobLogReply part = client.ask([&](AdminClient& mld) { return mld.log(job, offset); });
    if (!part.data().empty()) {
      progress.clear();
      write_log(part.data());
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
