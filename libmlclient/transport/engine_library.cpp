#include "libmlclient/transport/engine_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "libmlclient/session/message.h"
#include "ml/error.h"

namespace ml::transport {
namespace {

constexpr char kName[] = "libmlengine.so";

std::vector<std::string> places() {
  if (const char* chosen = std::getenv("MLACCEL_ENGINE"); chosen != nullptr && *chosen != '\0') return {chosen};
  std::vector<std::string> list;
  Dl_info self{};
  if (dladdr(reinterpret_cast<const void*>(&places), &self) != 0 && self.dli_fname != nullptr) {
    list.push_back((std::filesystem::path(self.dli_fname).parent_path() / kName).string());
  }
  list.push_back(std::string(ML_ENGINE_LIBDIR) + "/" + kName);
  list.emplace_back(kName);
  return list;
}

// The engine and what it brings find their own symbols first, so that an application may have another protobuf. The
// sanitizers' runtimes refuse that: under them the engine is opened the plain way.
int open_flags() {
  const bool sanitized = dlsym(RTLD_DEFAULT, "__asan_init") != nullptr || dlsym(RTLD_DEFAULT, "__tsan_init") != nullptr;
  return RTLD_NOW | RTLD_LOCAL | (sanitized ? 0 : RTLD_DEEPBIND);
}

}  // namespace

const EngineLibrary& EngineLibrary::instance() {
  // Never destroyed: sessions that static objects hold end after everything else.
  static const EngineLibrary& library = *new EngineLibrary;
  return library;
}

EngineLibrary::EngineLibrary() {
  std::string tried;
  for (const std::string& place : places()) {
    library_ = dlopen(place.c_str(), open_flags());
    if (library_ != nullptr) {
      path_ = place;
      break;
    }
    tried += std::string(tried.empty() ? "" : "; ") + dlerror();
  }
  if (library_ == nullptr) {
    throw Error(Code::not_found, "the engine cannot be opened: " + tried, {},
                "install libmlengine.so beside libmlclient.so, or set MLACCEL_ENGINE to its path");
  }
  decltype(&mlengine_version) version = nullptr;
  find(version, "mlengine_version");
  if (version() != MLENGINE_VERSION) {
    throw Error(Code::unsupported,
                path_ + " has version " + std::to_string(version()) + ", this libmlclient.so needs " +
                    std::to_string(MLENGINE_VERSION),
                {}, "install both libraries from one release");
  }
  find(worker_create, "mlengine_worker_create");
  find(worker_fingerprint, "mlengine_worker_fingerprint");
  find(worker_destroy, "mlengine_worker_destroy");
  find(session_create, "mlengine_session_create");
  find(session_destroy, "mlengine_session_destroy");
  find(queue_create, "mlengine_queue_create");
  find(queue_destroy, "mlengine_queue_destroy");
  find(arena_add, "mlengine_arena_add");
  find(file_add, "mlengine_file_add");
  find(arena_remove, "mlengine_arena_remove");
  find(error, "mlengine_error");
}

void* EngineLibrary::symbol(const char* name) const {
  void* const address = dlsym(library_, name);
  if (address == nullptr) {
    throw Error(Code::unsupported, path_ + " has no function " + name, {}, "install both libraries from one release");
  }
  return address;
}

void EngineLibrary::check(std::int32_t code) const {
  if (code < 0) throw client::error_from_message(code, error(), '\n');
}

}  // namespace ml::transport
