#include "libmlclient/transport/transport.h"

#include <charconv>

namespace ml::transport {
namespace {

constexpr std::string_view kUnix = "unix:", kFd = "fd:", kKernel = "kernel:";

[[noreturn]] void no_daemon(const std::string& transport, const std::string& what) {
  throw Error(Code::unsupported, what + " needs a daemon; this session's transport is '" + transport + "'", {},
              "start mld (mld --user needs no privileges), or set MLACCEL=unix:PATH to the socket of one that runs");
}

// The number behind the prefix of a transport's name.
template <class T>
bool number_behind(std::string_view name, std::string_view prefix, T& number) {
  if (!name.starts_with(prefix)) return false;
  const auto [at, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
  return error == std::errc{} && at == name.data() + name.size();
}

}  // namespace

std::optional<std::uint32_t> Transport::add_file(std::span<const std::byte>, std::shared_ptr<const void>) { return {}; }

OpenedModel Transport::open_model(const std::string& reference) {
  no_daemon(name(), "opening the model '" + reference + "'");
}

std::uint64_t Transport::register_model(const std::string& model, int, std::uint64_t, bool) {
  no_daemon(name(), "registering the model '" + model + "'");
}

std::unique_ptr<Transport> Transport::open_again(const SessionOptions& options, std::uint64_t patience) {
  return open_transport(options, patience);
}

std::unique_ptr<Transport> open_transport(const SessionOptions& options, std::uint64_t patience) {
  const std::string& name = options.transport;
  if (name.empty()) {
    std::unique_ptr<Transport> daemon = open_daemon(options);
    return daemon ? std::move(daemon) : open_embedded(options);
  }
  if (name == "embedded") return open_embedded(options);
  if (name.starts_with(kUnix)) return open_unix(name.substr(kUnix.size()), options, patience);
  int fd = -1;
  if (number_behind(name, kFd, fd) && fd >= 0) return open_fd(fd, options);
  std::uint32_t minor = 0;
  if (number_behind(name, kKernel, minor)) return open_kernel(minor, options);
  throw Error(Code::invalid_argument, "there is no transport '" + name + "'", {},
              "MLACCEL is one of: embedded, unix:PATH, fd:N, kernel:N");
}

}  // namespace ml::transport
