#include "engine/backends/cpu/dnnl_support.h"

#include <cstdlib>
#include <string_view>
#include <unordered_map>

// From libgomp, which oneDNN brings; declared here because <omp.h> belongs to the compiler's OpenMP support.
extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int threads);
}

namespace ml::cpu {
namespace {

dnnl::memory::dims dims_of(std::span<const std::int64_t> values) { return {values.begin(), values.end()}; }

}  // namespace

SingleThread::SingleThread() : before_(omp_get_max_threads()) {
  if (before_ != 1) omp_set_num_threads(1);
}
SingleThread::~SingleThread() {
  if (before_ != 1) omp_set_num_threads(before_);
}

const dnnl::engine& dnnl_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& dnnl_stream() {
  static thread_local dnnl::stream stream(dnnl_engine());
  return stream;
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

dnnl::memory::desc dense_desc(std::span<const std::int64_t> dims, std::span<const std::int64_t> strides) {
  return {dims_of(dims), dnnl::memory::data_type::f32, dims_of(strides)};
}

dnnl::memory::desc any_desc(std::span<const std::int64_t> dims) {
  return {dims_of(dims), dnnl::memory::data_type::f32, dnnl::memory::format_tag::any};
}

void execute(const dnnl::primitive& primitive, std::span<const DnnlArgument> arguments) {
  const SingleThread single;
  std::unordered_map<int, dnnl::memory> map;
  for (const DnnlArgument& argument : arguments) {
    map.emplace(argument.index, dnnl::memory(argument.desc, dnnl_engine(), argument.data));
  }
  primitive.execute(dnnl_stream(), map);
}

void reorder(const dnnl::memory::desc& from_desc, const void* from, const dnnl::memory::desc& to_desc, void* to) {
  const SingleThread single;
  dnnl::memory source(from_desc, dnnl_engine(), const_cast<void*>(from));
  dnnl::memory target(to_desc, dnnl_engine(), to);
  dnnl::reorder(source, target).execute(dnnl_stream(), source, target);
}

std::string dnnl_fingerprint() {
  const dnnl::version_t* const version = dnnl::version();
  std::string text = "dnnl=" + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                     std::to_string(version->patch) + "@" + version->hash +
                     " dnnl_isa=" + std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa()));
  for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "DNNL_CPU_ISA_HINTS",
                           "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"}) {
    if (const char* const value = std::getenv(name)) text += std::string(" ") + name + "=" + value;
  }
  return text;
}

}  // namespace ml::cpu
