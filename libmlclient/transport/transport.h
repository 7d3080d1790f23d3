// What a session needs of a way to reach a worker: a queue, and memory that the worker can name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libmlclient/transport/client_ring.h"
#include "ml/session.h"

namespace ml::transport {

class Transport {
 public:
  virtual ~Transport() = default;
  virtual const std::string& name() const = 0;
  virtual const std::string& device() const = 0;
  // See Session::fingerprint().
  virtual std::string fingerprint() const = 0;
  virtual ClientRing& ring() = 0;
  // Lets descriptors name [base, base + bytes), base a multiple of 64. Throws no_space when there are too many.
  virtual std::uint32_t add_arena(void* base, std::uint64_t bytes) = 0;
  // Comes back when nothing uses it any more.
  virtual void remove_arena(std::uint32_t arena) noexcept = 0;
};

// Opens the transport that `options.transport` names: "embedded", "unix:PATH" or "kernel:N". Throws unsupported for the
// ones that this version does not have and invalid_argument for any other name.
std::unique_ptr<Transport> open_transport(const SessionOptions& options);
std::unique_ptr<Transport> open_embedded(const SessionOptions& options);

}  // namespace ml::transport
