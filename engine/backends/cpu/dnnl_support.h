// oneDNN as this backend uses it: one thread, f32, memory that we own, scratchpads given by the caller.
//
// Debian builds oneDNN for OpenMP, whose threads spin; it must never start any. Every call into it happens inside a
// SingleThread, and parallelism comes from running a primitive on several parts at once.
#pragma once

#include <dnnl.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/backends/backend.h"

namespace ml::cpu {

// Makes OpenMP regions entered by this thread run on it alone, until the end of the scope.
class SingleThread {
 public:
  SingleThread();
  ~SingleThread();
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  int before_;
};

const dnnl::engine& dnnl_engine();
// Of the calling thread.
dnnl::stream& dnnl_stream();
dnnl::primitive_attr user_scratchpad();

// f32 with these extents and strides.
dnnl::memory::desc dense_desc(std::span<const std::int64_t> dims, std::span<const std::int64_t> strides);
dnnl::memory::desc any_desc(std::span<const std::int64_t> dims);

// One argument of a primitive: which, and where it is.
struct DnnlArgument {
  int index;
  dnnl::memory::desc desc;
  void* data;
};
// Runs a primitive to its end on the calling thread.
void execute(const dnnl::primitive& primitive, std::span<const DnnlArgument> arguments);
void reorder(const dnnl::memory::desc& from_desc, const void* from, const dnnl::memory::desc& to_desc, void* to);

// Version, the instruction set that it chose, and the environment variables that change its choices.
std::string dnnl_fingerprint();

}  // namespace ml::cpu
