#include "libmlclient/transport/daemon_session.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace ml::transport {
namespace {

using protocol::Kind;

constexpr int kAsLongAsItTakes = -1;

template <std::size_t N>
void put_name(char (&field)[N], std::string_view name, const char* what) {
  if (name.size() >= N) {
    throw Error(Code::invalid_argument,
                std::string(what) + " '" + std::string(name) + "' has more than " + std::to_string(N - 1) + " bytes");
  }
  std::memcpy(field, name.data(), name.size());
}

}  // namespace

DaemonSession::DaemonSession(UniqueFd connected, std::string name, const SessionOptions& options, std::uint64_t offers)
    : socket_(std::move(connected), std::move(name)) {
  protocol::Hello hello{};
  hello.magic = protocol::kMagic;
  hello.oldest_version = protocol::kOldestVersion;
  hello.newest_version = protocol::kVersion;
  hello.features = offers;
  put_name(hello.device, options.device, "the device's name");
  const std::string_view program = program_invocation_short_name;
  put_name(hello.client, program.substr(0, protocol::kMaxName - 1), "the program's name");
  const Packet answer = socket_.ask<protocol::Welcome>(hello, Kind::hello, Kind::welcome);
  const auto& welcome = *answer.as<protocol::Welcome>();
  if (welcome.version < protocol::kOldestVersion || welcome.version > protocol::kVersion)
    socket_.broken("it chose version " + std::to_string(welcome.version) + " of " +
                   std::to_string(protocol::kOldestVersion) + " to " + std::to_string(protocol::kVersion));
  if ((welcome.features & ~offers) != 0) socket_.broken("it chose features that were not offered");
  const std::size_t length = strnlen(welcome.device, sizeof welcome.device);
  if (length == 0 || length == sizeof welcome.device) socket_.broken("its device has no name");
  device_.assign(welcome.device, length);
  fingerprint_ = answer.text();
  generation_ = welcome.generation;
  if ((welcome.features & protocol::kFeatureKernel) != 0) minor_ = welcome.minor;
  if (options.threads != 0 && static_cast<std::uint32_t>(options.threads) != welcome.threads) {
    throw Error(Code::invalid_argument,
                std::to_string(options.threads) + " threads were asked for; the daemon's device '" + device_ +
                    "' has " + std::to_string(welcome.threads),
                {}, "leave SessionOptions::threads and MLACCEL_THREADS at 0: the daemon's settings decide");
  }
}

std::uint32_t DaemonSession::add_arena(Kind kind, std::uint64_t bytes, int fd) {
  protocol::AddArena request{};
  request.bytes = bytes;
  const Packet answer = socket_.ask<protocol::ArenaAdded>(request, kind, Kind::arena, 0, {}, {&fd, 1});
  const std::uint32_t arena = answer.as<protocol::ArenaAdded>()->arena;
  if (arena == 0) socket_.broken("an arena has number 0");
  return arena;
}

void DaemonSession::remove_arena(std::uint32_t arena) noexcept {
  protocol::RemoveArena request{};
  request.arena = arena;
  socket_.tell(request, Kind::remove_arena);
}

// It may have to be loaded first.
OpenedModel DaemonSession::open_model(const std::string& reference) {
  Packet answer = socket_.ask<protocol::ModelOpened>(protocol::OpenModel{}, Kind::open_model, Kind::model, 1, reference,
                                                     {}, kAsLongAsItTakes);
  const auto& opened = *answer.as<protocol::ModelOpened>();
  OpenedModel model{opened.program, opened.version, std::move(answer.fds[0])};
  struct stat status {};
  if (opened.program.generation == 0) socket_.broken("a model has no program");
  if (fstat(model.file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != opened.bytes)
    socket_.broken("the file of a model is not the " + std::to_string(opened.bytes) + " bytes that it was said to be");
  return model;
}

// It is copied to disk and loaded once.
std::uint64_t DaemonSession::register_model(const std::string& name, int file, std::uint64_t bytes, bool shared) {
  protocol::RegisterModel request{};
  request.bytes = bytes;
  request.shared = shared ? 1 : 0;
  const Packet answer = socket_.ask<protocol::ModelRegistered>(request, Kind::register_model, Kind::registered, 0, name,
                                                               {&file, 1}, kAsLongAsItTakes);
  return answer.as<protocol::ModelRegistered>()->version;
}

}  // namespace ml::transport
