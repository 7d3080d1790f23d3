#include "engine/runtime/status.h"

#include <new>

#include "kernel/uapi/mlaccel_ring.h"

namespace ml::runtime {

Failure describe_failure(const Error& error) {
  std::string text = error.message();
  if (!error.context().empty() || !error.hint().empty()) text += MLRING_MESSAGE_PART + error.context();
  if (!error.hint().empty()) text += MLRING_MESSAGE_PART + error.hint();
  return {-static_cast<std::int32_t>(error.code()), std::move(text)};
}

Failure describe_failure(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return describe_failure(e);
  } catch (const std::bad_alloc&) {
    return {MLRING_OUT_OF_MEMORY, "out of memory"};
  } catch (const std::exception& e) {
    return {MLRING_INTERNAL, e.what()};
  }
}

}  // namespace ml::runtime
