// The models of a worker process: files that mld has registered, loaded once, shared by the sessions that open them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "engine/runtime/program.h"
#include "libmlclient/transport/unique_fd.h"
#include "ml/error.h"

namespace ml::daemon {

// One thread uses it; loading happens on threads of its own, of low priority, so that no load waits for another that
// takes its time, up to a few.
class Models {
 public:
  using Loaded = std::function<void(const Error* error)>;

  // `post` runs a function on the thread that uses this; from any thread.
  // Each thread notes in its place of `loading` for which session it works.
  Models(Device& device, std::shared_ptr<runtime::MemoryBudget> memory, std::span<std::uint64_t> loading,
         std::function<void(std::function<void()>)> post);
  ~Models();
  Models(const Models&) = delete;
  Models& operator=(const Models&) = delete;

  // Throws invalid_argument for a number that is in use. `loaded` is called through `post`.
  void load(std::uint64_t model, transport::UniqueFd file, std::uint64_t bytes, std::uint64_t session, Loaded loaded);
  // Throws not_found for one that isn't loaded.
  std::shared_ptr<runtime::Program> find(std::uint64_t model) const;
  // Its program goes when no session has it open any more. Loading one is answered with cancelled.
  void unload(std::uint64_t model);
  std::uint32_t count() const { return static_cast<std::uint32_t>(models_.size()); }
  std::uint64_t bytes() const;  // of the files

 private:
  struct Model {
    std::uint64_t bytes = 0;
    std::shared_ptr<runtime::Program> program;  // null while it is being loaded
  };
  struct Work {
    std::uint64_t session;
    std::function<void()> run;
  };
  std::shared_ptr<runtime::Program> load_program(const transport::UniqueFd& file, std::uint64_t bytes,
                                                 std::uint64_t model);
  void run(std::uint64_t& loading);
  void hand_over(Work work);

  Device& device_;
  std::shared_ptr<runtime::MemoryBudget> memory_;  // where packed weights are counted
  std::span<std::uint64_t> loading_;
  std::function<void(std::function<void()>)> post_;
  std::map<std::uint64_t, Model> models_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> work_;
  std::size_t idle_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ml::daemon
