#include "libmlclient/model/model_file.h"

#include <cstring>

#include "engine/graph/binary.h"
#include "libmlclient/files/atomic_file.h"
#include "ml/error.h"

namespace ml::client {
namespace {

constexpr char kMagic[8] = {'m', 'l', 'm', 'o', 'd', 'e', 'l', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kAlignment = 64;

struct Range {
  std::uint64_t offset, bytes;
};
struct Header {
  char magic[8];
  std::uint32_t version, blobs;
  Range graph;
  std::uint64_t file_bytes;
};
static_assert(sizeof(Header) == 40 && sizeof(Range) == 16);

std::uint64_t aligned(std::uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw Error(Code::corrupt, "'" + path + "' is not a whole model file: " + what, {},
              "the file is damaged, cut off or of another format");
}

// The part at `range`, which must begin at the next multiple of 64 behind `end`, the end of the part before it.
std::span<const std::byte> part(const std::string& path, std::span<const std::byte> bytes, Range range,
                                std::uint64_t& end, const std::string& what) {
  if (range.offset != aligned(end) || range.offset > bytes.size() || range.bytes > bytes.size() - range.offset) {
    damaged(path, what + " at [" + std::to_string(range.offset) + ", +" + std::to_string(range.bytes) +
                      ") is not what follows byte " + std::to_string(end) + " of " + std::to_string(bytes.size()));
  }
  end = range.offset + range.bytes;
  return bytes.subspan(range.offset, range.bytes);
}

}  // namespace

LoadedModel read_model_file(const std::string& path) {
  const auto file = std::make_shared<files::MappedFile>(path);
  const std::span<const std::byte> bytes = file->bytes();
  Header header{};
  if (bytes.size() < sizeof header) damaged(path, "it has " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) damaged(path, "it does not begin with 'mlmodel'");
  if (header.version != kVersion) {
    throw Error(Code::unsupported, "'" + path + "' has model format " + std::to_string(header.version) +
                                       ", this version reads " + std::to_string(kVersion));
  }
  if (header.file_bytes != bytes.size()) {
    damaged(path,
            "its header says " + std::to_string(header.file_bytes) + " bytes, it has " + std::to_string(bytes.size()));
  }
  if (header.blobs > (bytes.size() - sizeof header) / sizeof(Range))
    damaged(path, "it cannot hold " + std::to_string(header.blobs) + " blobs");
  std::uint64_t end = sizeof header + std::uint64_t{header.blobs} * sizeof(Range);
  const std::span<const std::byte> graph = part(path, bytes, header.graph, end, "the graph");
  std::vector<std::shared_ptr<const Blob>> blobs;
  for (std::uint32_t i = 0; i < header.blobs; ++i) {
    Range range{};
    std::memcpy(&range, bytes.data() + sizeof header + i * sizeof range, sizeof range);
    blobs.push_back(std::make_shared<const Blob>(part(path, bytes, range, end, "blob " + std::to_string(i)), file,
                                                 path + "@" + std::to_string(range.offset)));
  }
  if (end != bytes.size()) damaged(path, std::to_string(bytes.size() - end) + " bytes belong to nothing");
  try {
    return {deserialize(graph, blobs), file};
  } catch (const Error& error) {
    throw error.within("'" + path + "'");
  }
}

void write_model_file(const std::string& path, const Graph& graph) {
  const BinaryGraph binary = serialize(graph);
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.blobs = static_cast<std::uint32_t>(binary.blobs.size());
  std::vector<Range> ranges;
  std::uint64_t at = aligned(sizeof header + binary.blobs.size() * sizeof(Range));
  header.graph = {at, binary.bytes.size()};
  at += binary.bytes.size();
  for (const auto& blob : binary.blobs) {
    ranges.push_back({aligned(at), blob->bytes().size()});
    at = ranges.back().offset + ranges.back().bytes;
  }
  header.file_bytes = at;

  files::AtomicFile file(path);
  file.write(std::as_bytes(std::span(&header, 1)));
  file.write(std::as_bytes(std::span(ranges)));
  file.align(kAlignment);
  file.write(binary.bytes);
  for (const auto& blob : binary.blobs) {
    file.align(kAlignment);
    file.write(blob->bytes());
  }
  file.commit();
}

}  // namespace ml::client
