#include "tests/delayed/device.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "engine/backends/reference/kernel.h"
#include "ml/error.h"
#include "tests/delayed/memory.h"

namespace ml::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kGarbage = 0xDB;

// A thread that runs tasks in order, each as late as its delay says unless somebody asks for it.
class Worker {
 public:
  Worker(std::uint64_t seed, Delay delay) : random_(seed), delay_(delay), thread_([this] { run(); }) {}
  ~Worker() {
    hurry(last_ticket());
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void enqueue(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back({std::move(task), not_before()});
      ++enqueued_;
    }
    changed_.notify_all();
  }
  std::uint64_t last_ticket() {
    const std::lock_guard lock(mutex_);
    return enqueued_;
  }
  // Somebody wants everything up to `ticket`.
  void hurry(std::uint64_t ticket) {
    {
      const std::lock_guard lock(mutex_);
      wanted_ = std::max(wanted_, ticket);
    }
    changed_.notify_all();
  }
  bool done(std::uint64_t ticket) {
    hurry(ticket);
    const std::lock_guard lock(mutex_);
    return finished_ >= ticket;
  }
  void wait(std::uint64_t ticket) {
    hurry(ticket);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished_ >= ticket; });
  }

 private:
  struct Task {
    std::function<void()> run;
    Clock::time_point not_before;
  };

  Clock::time_point not_before() {
    if (delay_ == Delay::until_asked) return Clock::time_point::max();
    switch (random_() % 3) {
      case 0: return Clock::now();
      case 1: return Clock::now() + std::chrono::microseconds(random_() % 1000);
      default: return Clock::time_point::max();
    }
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      const Clock::time_point begin = tasks_.front().not_before;
      const auto asked = [this] { return wanted_ > finished_; };
      if (begin == Clock::time_point::max())
        changed_.wait(lock, asked);
      else
        changed_.wait_until(lock, begin, asked);
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task.run();
      task.run = nullptr;  // lets go of its buffers before anybody learns that it has run
      lock.lock();
      ++finished_;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  std::uint64_t enqueued_ = 0, finished_ = 0, wanted_ = 0;
  bool closing_ = false;
  std::mt19937_64 random_;
  Delay delay_;
  std::thread thread_;  // last: it uses all of the above
};

class DelayedFence final : public Fence {
 public:
  DelayedFence(std::shared_ptr<Worker> worker, std::uint64_t ticket) : worker_(std::move(worker)), ticket_(ticket) {}
  bool done() const override { return worker_->done(ticket_); }
  void wait() const override { worker_->wait(ticket_); }

 private:
  std::shared_ptr<Worker> worker_;
  std::uint64_t ticket_;
};

class DelayedStream final : public Stream {
 public:
  DelayedStream(std::uint64_t seed, Delay delay) : worker_(std::make_shared<Worker>(seed, delay)) {}
  ~DelayedStream() override { worker_->wait(worker_->last_ticket()); }
  DelayedStream(const DelayedStream&) = delete;
  DelayedStream& operator=(const DelayedStream&) = delete;

  void upload(BufferSpan to, const void* from) override {
    enqueue({to}, [from, size = to.size](std::span<std::byte* const> at) {
      if (size > 0) std::memcpy(at[0], from, size);
    });
  }
  void download(void* to, BufferSpan from) override {
    if (from.size > 0) std::memset(to, kGarbage, from.size);
    enqueue({from}, [to, size = from.size](std::span<std::byte* const> at) {
      if (size > 0) std::memcpy(to, at[0], size);
    });
  }
  void copy(BufferSpan to, BufferSpan from) override {
    enqueue({to, from}, [size = to.size](std::span<std::byte* const> at) {
      if (size > 0) std::memcpy(at[0], at[1], size);
    });
  }
  void fill_zero(BufferSpan to) override {
    enqueue({to}, [size = to.size](std::span<std::byte* const> at) {
      if (size > 0) std::memset(at[0], 0, size);
    });
  }
  std::shared_ptr<Fence> record() override { return std::make_shared<DelayedFence>(worker_, worker_->last_ticket()); }
  void wait_for(const std::shared_ptr<Fence>& fence) override {
    worker_->enqueue([fence] { fence->wait(); });
  }
  bool take_index_error() override { return index_error_->exchange(false); }

  void run(const std::shared_ptr<const reference::Program>& program, std::span<const BufferSpan> inputs,
           std::span<const BufferSpan> outputs, BufferSpan scratch) {
    std::vector<BufferSpan> spans(inputs.begin(), inputs.end());
    spans.insert(spans.end(), outputs.begin(), outputs.end());
    spans.push_back(scratch);
    enqueue(std::move(spans), [=, error = index_error_, in = inputs.size(), out = outputs.size(),
                               size = scratch.size](std::span<std::byte* const> at) {
      if (at.back()) std::memset(at.back(), kGarbage, size);
      if (program->run(at.first(in), at.subspan(in, out))) *error = true;
    });
  }

 private:
  template <class F>
  void enqueue(std::vector<BufferSpan> spans, F f) {
    worker_->enqueue([f, use = std::make_shared<Use>(std::move(spans))] { f(use->open()); });
  }

  std::shared_ptr<std::atomic<bool>> index_error_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<Worker> worker_;
};

class DelayedKernel final : public Kernel {
 public:
  explicit DelayedKernel(const KernelRequest& request)
      : program_(std::make_shared<const reference::Program>(request)) {}
  std::size_t scratch_bytes() const override { return 192; }
  bool in_place(std::size_t input, std::size_t output) const override { return program_->in_place(input, output); }
  void launch(Stream& stream, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
              BufferSpan scratch) const override {
    if (scratch.size < scratch_bytes()) throw Error(Code::internal, "delayed: launched with too little scratch");
    static_cast<DelayedStream&>(stream).run(program_, inputs, outputs, scratch);
  }

 private:
  std::shared_ptr<const reference::Program> program_;  // shared with the tasks: a kernel may be gone when they run
};

std::vector<Implementation> make_table() {
  std::vector<Implementation> table;
  for (const reference::Row& row : reference::rows()) {
    table.push_back({.op = row.op,
                     .kernel = "delayed_reference",
                     .refuse = nullptr,
                     .compile = [](const KernelRequest& request, PackCache&) -> std::unique_ptr<Kernel> {
                       return std::make_unique<DelayedKernel>(request);
                     }});
  }
  return table;
}

class DelayedDevice final : public Device {
 public:
  DelayedDevice(std::uint64_t seed, Delay delay) : seeds_(seed), delay_(delay) {}
  std::string_view name() const override { return "delayed"; }
  const DeviceTraits& traits() const override { return traits_; }
  std::string fingerprint() const override { return "delayed 1"; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override { return std::make_unique<DelayedBuffer>(bytes); }
  std::unique_ptr<Buffer> wrap(void*, std::size_t) override {
    throw Error(Code::unsupported, "delayed: host memory cannot be wrapped", {}, "copy it on a stream");
  }
  std::unique_ptr<Stream> create_stream() override {
    const std::lock_guard lock(mutex_);
    return std::make_unique<DelayedStream>(seeds_(), delay_);
  }
  std::span<const Implementation> implementations() const override {
    static const std::vector<Implementation> table = make_table();
    return table;
  }

 private:
  std::mutex mutex_;
  std::mt19937_64 seeds_;
  Delay delay_;
  DeviceTraits traits_{.unified = false, .threads = 1};
};

}  // namespace

std::unique_ptr<Device> create_delayed_device(std::uint64_t seed, Delay delay) {
  return std::make_unique<DelayedDevice>(seed, delay);
}

}  // namespace ml::test
