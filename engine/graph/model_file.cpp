#include "engine/graph/model_file.h"

#include <array>
#include <cstring>

#include "engine/graph/binary.h"
#include "ml/error.h"

namespace ml {
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

[[noreturn]] void damaged(const std::string& name, const std::string& what) {
  throw Error(Code::corrupt, "'" + name + "' is not a whole model file: " + what, {},
              "the file is damaged, cut off or of another format");
}

// The part at `range`, which must begin at the next multiple of 64 behind `end`, the end of the part before it.
std::span<const std::byte> part(const std::string& name, std::span<const std::byte> bytes, Range range,
                                std::uint64_t& end, const std::string& what) {
  if (range.offset != aligned(end) || range.offset > bytes.size() || range.bytes > bytes.size() - range.offset) {
    damaged(name, what + " at [" + std::to_string(range.offset) + ", +" + std::to_string(range.bytes) +
                      ") is not what follows byte " + std::to_string(end) + " of " + std::to_string(bytes.size()));
  }
  end = range.offset + range.bytes;
  return bytes.subspan(range.offset, range.bytes);
}

}  // namespace

Graph parse_model(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner, const std::string& name) {
  Header header{};
  if (bytes.size() < sizeof header) damaged(name, "it has " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) damaged(name, "it does not begin with 'mlmodel'");
  if (header.version != kVersion) {
    throw Error(Code::unsupported, "'" + name + "' has model format " + std::to_string(header.version) +
                                       ", this version reads " + std::to_string(kVersion));
  }
  if (header.file_bytes != bytes.size()) {
    damaged(name,
            "its header says " + std::to_string(header.file_bytes) + " bytes, it has " + std::to_string(bytes.size()));
  }
  if (header.blobs > (bytes.size() - sizeof header) / sizeof(Range))
    damaged(name, "it cannot hold " + std::to_string(header.blobs) + " blobs");
  std::uint64_t end = sizeof header + std::uint64_t{header.blobs} * sizeof(Range);
  const std::span<const std::byte> graph = part(name, bytes, header.graph, end, "the graph");
  std::vector<std::shared_ptr<const Blob>> blobs;
  for (std::uint32_t i = 0; i < header.blobs; ++i) {
    Range range{};
    std::memcpy(&range, bytes.data() + sizeof header + i * sizeof range, sizeof range);
    blobs.push_back(std::make_shared<const Blob>(part(name, bytes, range, end, "blob " + std::to_string(i)), owner,
                                                 name + "@" + std::to_string(range.offset)));
  }
  if (end != bytes.size()) damaged(name, std::to_string(bytes.size() - end) + " bytes belong to nothing");
  try {
    return deserialize(graph, blobs);
  } catch (const Error& error) {
    throw error.within("'" + name + "'");
  }
}

void write_model(const Graph& graph, const std::function<void(std::span<const std::byte>)>& write) {
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

  std::uint64_t written = 0;
  const auto put = [&](std::span<const std::byte> bytes) {
    write(bytes);
    written += bytes.size();
  };
  const auto align = [&] {
    constexpr std::array<std::byte, kAlignment> kZeros{};
    put(std::span(kZeros).first(aligned(written) - written));
  };
  put(std::as_bytes(std::span(&header, 1)));
  put(std::as_bytes(std::span(ranges)));
  align();
  put(binary.bytes);
  for (const auto& blob : binary.blobs) {
    align();
    put(blob->bytes());
  }
}

}  // namespace ml
