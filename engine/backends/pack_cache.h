// The packed constants of one loaded program: each is made once, by the first kernel that wants it, and shared by all
// plans.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "engine/backends/backend.h"
#include "engine/backends/thread_pool.h"

namespace ml {

class PackCache {
 public:
  // `threads`: of the pool of the device that the kernels are for. They pack with it, and have scratch memory for so
  // many.
  explicit PackCache(int threads) : pool_(ThreadPool::of_process(threads)) {}

  ThreadPool& pool() const { return *pool_; }
  // How many pieces of scratch memory a call of the pool with so many parts uses: its slots are below that.
  std::int64_t slots(std::int64_t parts) const { return std::min<std::int64_t>(parts, pool_->threads()); }

  // What the device's kernels share beside the packs: a T, made by the first that asks. One T per cache.
  template <class T>
  T& shared() {
    std::call_once(shared_once_, [this] { shared_ = std::make_shared<T>(); });
    return *static_cast<T*>(shared_.get());
  }

  // Makes the packed bytes. Runs once for a key; again only when it threw.
  using Make = std::function<std::shared_ptr<const Buffer>()>;

  // The constant in the form that `format` names. The name must tell apart everything that changes the bytes: blocked
  // layout, padding, compute type. Once made, the constant's own bytes are set aside. Any thread may call; different
  // keys are made in parallel.
  std::shared_ptr<const Buffer> get(const ConstantData& constant, std::string_view format, const Make& make);

  // Device bytes held, of what has been made.
  std::size_t bytes() const;

 private:
  struct Entry {
    std::mutex making;
    std::shared_ptr<const Buffer> packed;
  };

  std::shared_ptr<ThreadPool> pool_;
  std::once_flag shared_once_;
  std::shared_ptr<void> shared_;
  mutable std::mutex mutex_;  // guards the map and the total, not the making
  std::map<std::string, std::shared_ptr<Entry>, std::less<>> entries_;
  std::size_t bytes_ = 0;
};

}  // namespace ml
