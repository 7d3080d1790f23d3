#include "tests/system/support/models.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

#include "engine/graph/model_file.h"

namespace ml::test {

ModelMemory model_memory(const Graph& graph) {
  // Sealed last: what it holds has to be written first.
  ModelMemory made{transport::UniqueFd(memfd_create("model", MFD_CLOEXEC | MFD_ALLOW_SEALING)), 0};
  write_model(graph, [&](std::span<const std::byte> part) {
    if (write(made.file.get(), part.data(), part.size()) != static_cast<ssize_t>(part.size()))
      throw std::runtime_error("can't write a model");
    made.bytes += part.size();
  });
  if (fcntl(made.file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    throw std::runtime_error("can't seal a model");
  return made;
}

std::uint64_t register_model(RawSession& session, const std::string& name, bool shared, const Graph& graph) {
  const ModelMemory model = model_memory(graph);
  protocol::RegisterModel message{};
  message.header.kind = static_cast<std::uint32_t>(protocol::Kind::register_model);
  message.bytes = model.bytes;
  message.shared = shared ? 1 : 0;
  const transport::Packet answer = session.request(message, name, {model.file.get()});
  return answer.as<protocol::ModelRegistered>()->version;
}

}  // namespace ml::test
