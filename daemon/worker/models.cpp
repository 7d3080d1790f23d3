#include "daemon/worker/models.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "daemon/worker/mapped_files.h"
#include "engine/graph/model_file.h"
#include "engine/runtime/clock.h"
#include "libmlclient/transport/failure.h"

namespace ml::daemon {
namespace {

constexpr int kNiceness = 10;
constexpr std::uint64_t kLongestLoad = 60'000'000'000;  // ns
// For each combination of shapes that the clients of a model use.
constexpr std::size_t kPlans = 64;

std::string name_of(std::uint64_t model) { return "model " + std::to_string(model); }

}  // namespace

Models::Models(Device& device, std::shared_ptr<runtime::MemoryBudget> memory, std::span<std::uint64_t> loading,
               std::function<void(std::function<void()>)> post)
    : device_(device), memory_(std::move(memory)), loading_(loading), post_(std::move(post)) {}

Models::~Models() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<runtime::Program> Models::load_program(const transport::UniqueFd& file, std::uint64_t bytes,
                                                       std::uint64_t model) {
  const auto mapped = std::make_shared<const MappedModel>(file.get(), bytes);
  const std::uint64_t end = runtime::monotonic_now() + kLongestLoad;
  const runtime::Checkpoint in_time = [end, model] {
    if (runtime::monotonic_now() < end) return;
    throw Error(Code::timeout,
                name_of(model) + " takes longer to load than " + std::to_string(kLongestLoad / 1'000'000'000) + " s");
  };
  const runtime::ProgramOptions options{.plans = kPlans, .memory = memory_};
  return std::make_shared<runtime::Program>(parse_model(mapped->bytes(), mapped, name_of(model)), device_, options,
                                            in_time);
}

void Models::load(std::uint64_t model, transport::UniqueFd file, std::uint64_t bytes, std::uint64_t session,
                  Loaded loaded) {
  if (!models_.try_emplace(model, Model{bytes, nullptr}).second)
    throw Error(Code::invalid_argument, name_of(model) + " is loaded already");
  auto shared = std::make_shared<transport::UniqueFd>(std::move(file));
  hand_over({session, [this, model, shared, bytes, loaded = std::move(loaded)] {
               std::shared_ptr<runtime::Program> program;
               std::shared_ptr<const Error> error;
               try {
                 program = load_program(*shared, bytes, model);
               } catch (...) {
                 error = std::make_shared<const Error>(transport::failure_from(std::current_exception()));
               }
               post_([this, model, program, error, loaded] {
                 const auto found = models_.find(model);
                 if (found == models_.end()) {
                   const Error unloaded(Code::cancelled, name_of(model) + " was unloaded while it was being loaded");
                   return loaded(&unloaded);
                 }
                 if (error != nullptr)
                   models_.erase(found);
                 else
                   found->second.program = program;
                 loaded(error.get());
               });
             }});
}

std::shared_ptr<runtime::Program> Models::find(std::uint64_t model) const {
  const auto found = models_.find(model);
  if (found == models_.end() || found->second.program == nullptr)
    throw Error(Code::not_found, name_of(model) + " is not loaded", {}, "open it again");
  return found->second.program;
}

void Models::unload(std::uint64_t model) {
  auto node = models_.extract(model);
  if (!node) throw Error(Code::not_found, name_of(model) + " is not loaded");
  // Giving back gigabytes takes its time too.
  if (node.mapped().program != nullptr) hand_over({0, [program = std::move(node.mapped().program)] {}});
}

std::uint64_t Models::bytes() const {
  std::uint64_t sum = 0;
  for (const auto& [number, model] : models_) sum += model.bytes;
  return sum;
}

void Models::hand_over(Work work) {
  {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    if (work_.size() > idle_ && threads_.size() < loading_.size())
      threads_.emplace_back([this, &loading = loading_[threads_.size()]] { run(loading); });
  }
  changed_.notify_one();
}

void Models::run(std::uint64_t& loading) {
  pthread_setname_np(pthread_self(), "ml-load");
  // Where lowering it is refused it loads at the usual priority.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNiceness);
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [this] { return stop_ || !work_.empty(); });
    --idle_;
    if (stop_) return;
    {
      const Work work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      __atomic_store_n(&loading, work.session, __ATOMIC_RELAXED);
      work.run();
      __atomic_store_n(&loading, 0, __ATOMIC_RELAXED);
    }
    lock.lock();
  }
}

}  // namespace ml::daemon
