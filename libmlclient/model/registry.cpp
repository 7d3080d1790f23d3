// Models of the daemon's registry.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/graph/model_file.h"
#include "libmlclient/model/model_data.h"
#include "libmlclient/transport/memfd.h"

namespace ml {
namespace {

// The same model with its version written out: aliases move, and the newest version does not stay that.
std::string pinned(const std::string& reference, std::uint64_t version) {
  const std::size_t owner = reference.find('/');
  const std::size_t name_end = reference.find_first_of(":@", owner == std::string::npos ? 0 : owner);
  return reference.substr(0, name_end) + ":" + std::to_string(version);
}

void write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const bool full = errno == ENOSPC || errno == ENOMEM || errno == EFBIG;
      throw Error(full ? Code::no_space : Code::io,
                  std::string("publish: the model cannot be written to shared memory: ") + std::strerror(errno));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

Model Model::open(const std::string& reference) {
  const auto session = client::SessionCore::current();
  const std::shared_ptr<client::Connection> connection = session->connection();
  const transport::OpenedModel opened = connection->transport().open_model(reference);
  auto program = std::make_shared<client::Program>(connection, opened.program);
  // The graph says the inputs and outputs; the weights in it are not looked at.
  const std::string name = pinned(reference, opened.version);
  auto file = std::make_shared<files::MappedFile>(opened.file.get(), name);
  Graph graph = parse_model(file->bytes(), file, name);
  auto data =
      std::make_shared<Data>(std::move(graph), std::vector<std::shared_ptr<files::MappedFile>>{std::move(file)});
  data->registered_as(name, std::move(program));
  return Model(std::move(data));
}

std::uint64_t Model::publish(const std::string& name, bool shared) const {
  const auto connection = client::SessionCore::current()->connection();
  constexpr int kNoFile = -1;
  if (!connection->transport().shares_memory())  // there is no daemon: say so before anything is copied
    return connection->transport().register_model(name, kNoFile, 0, shared);
  transport::UniqueFd file = transport::make_memfd("mlaccel-model", 0);
  std::uint64_t bytes = 0;
  write_model(data_->graph, [&](std::span<const std::byte> part) {  // from where it lies, a mapped file too
    write_all(file.get(), part);
    bytes += part.size();
  });
  transport::seal(file.get(), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return connection->transport().register_model(name, file.get(), bytes, shared);
}

}  // namespace ml
