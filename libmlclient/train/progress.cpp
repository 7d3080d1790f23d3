#include "libmlclient/train/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace ml::train {
namespace {

constexpr int kWidth = 30;
constexpr std::chrono::milliseconds kRedraw{100};

std::string describe(const Metrics& metrics, bool accuracy) {
  char text[64];
  if (accuracy)
    std::snprintf(text, sizeof text, "loss %.4f  accuracy %.4f", metrics.loss, metrics.accuracy);
  else
    std::snprintf(text, sizeof text, "loss %.6g", metrics.loss);
  return text;
}

}  // namespace

ProgressReport::ProgressReport(Progress progress, std::int64_t epochs) : epochs_(epochs) {
  bar_ = progress == Progress::automatic && isatty(STDERR_FILENO) != 0;
  lines_ = progress != Progress::none;
}

void ProgressReport::step(std::int64_t epoch, std::int64_t batch, std::int64_t batches, const Metrics& so_far,
                          bool accuracy) {
  if (!bar_) return;
  const Clock::time_point now = Clock::now();
  if (now - drawn_ < kRedraw && batch < batches) return;
  drawn_ = now;
  const auto filled = static_cast<int>(kWidth * batch / std::max<std::int64_t>(batches, 1));
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < filled ? "█" : "░";
  std::fprintf(stderr, "\repoch %lld/%lld %s %lld/%lld  %s\033[K", static_cast<long long>(epoch),
               static_cast<long long>(epochs_), bar.c_str(), static_cast<long long>(batch),
               static_cast<long long>(batches), describe(so_far, accuracy).c_str());
  std::fflush(stderr);
}

void ProgressReport::epoch(const EpochReport& report, bool accuracy) {
  if (!lines_) return;
  std::string text = describe(report.training, accuracy);
  if (report.validation.samples > 0) text += "  validation " + describe(report.validation, accuracy);
  std::fprintf(stderr, "%sepoch %lld/%lld  %s  %.1f s%s\n", bar_ ? "\r" : "", static_cast<long long>(report.epoch),
               static_cast<long long>(epochs_), text.c_str(), report.seconds, bar_ ? "\033[K" : "");
  std::fflush(stderr);
}

}  // namespace ml::train
