// libmlengine.so, opened on first use and kept open: the functions of engine/runtime/embedded.h.
#pragma once

#include <string>

#include "engine/runtime/embedded.h"

namespace ml::transport {

class EngineLibrary {
 public:
  // Opens it (once per process). Looked for at $MLACCEL_ENGINE, beside libmlclient.so, where the two are installed, and
  // last by its bare name. Throws not_found, listing those places, or unsupported when its version is another one.
  static const EngineLibrary& instance();

  // The address of a function; throws unsupported when this libmlengine.so does not have it.
  void* symbol(const char* name) const;
  // Throws the error of the engine's last call on this thread when `code` is negative.
  void check(std::int32_t code) const;
  const std::string& path() const noexcept { return path_; }

  decltype(&mlengine_worker_create) worker_create;
  decltype(&mlengine_worker_fingerprint) worker_fingerprint;
  decltype(&mlengine_worker_destroy) worker_destroy;
  decltype(&mlengine_session_create) session_create;
  decltype(&mlengine_session_destroy) session_destroy;
  decltype(&mlengine_queue_create) queue_create;
  decltype(&mlengine_queue_destroy) queue_destroy;
  decltype(&mlengine_arena_add) arena_add;
  decltype(&mlengine_file_add) file_add;
  decltype(&mlengine_arena_remove) arena_remove;
  decltype(&mlengine_error) error;

 private:
  EngineLibrary();
  template <class F>
  void find(F& function, const char* name) const {
    function = reinterpret_cast<F>(symbol(name));
  }

  void* library_ = nullptr;
  std::string path_;
};

}  // namespace ml::transport
