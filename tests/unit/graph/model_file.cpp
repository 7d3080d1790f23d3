// The file of a model reads back, and what is none is refused, wherever it is cut or changed.
#include "engine/graph/model_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "ml/error.h"
#include "tests/unit/graph/form_samples.h"

namespace ml::test {
namespace {

using Bytes = std::vector<std::byte>;

// Two constants large enough to be blobs of their own, the second of a length that needs padding behind the first.
Graph model() {
  Graph graph;
  for (const std::int64_t size : {5001, 4099}) {
    const Bytes bytes(static_cast<std::size_t>(size), std::byte{7});
    graph.add_output("y" + std::to_string(size), graph.add_constant(std::make_shared<const ConstantData>(
                                                     ConstantData{DType::u8, {size}, Blob::copy_of(bytes), 0})));
  }
  return graph;
}

Bytes written(const Graph& graph) {
  Bytes file;
  write_model(graph, [&file](std::span<const std::byte> part) { file.insert(file.end(), part.begin(), part.end()); });
  return file;
}

Code code_of(const Bytes& file) {
  try {
    parse_model(file, nullptr, "the file");
    return Code{};
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the file"), std::string::npos) << error.what();
    return error.code();
  }
}

void put(Bytes& file, std::size_t at, std::uint64_t value) { std::memcpy(file.data() + at, &value, sizeof value); }

TEST(ModelFile, ReadsBack) {
  const Graph before = model();
  const Bytes file = written(before);
  const Graph after = parse_model(file, nullptr, "the file");
  ASSERT_EQ(after.outputs().size(), before.outputs().size());
  for (std::size_t i = 0; i < after.outputs().size(); ++i) {
    EXPECT_EQ(after.outputs()[i].name, before.outputs()[i].name);
    const ConstantData* const constant = after.constant(after.outputs()[i].value);
    ASSERT_NE(constant, nullptr);
    EXPECT_TRUE(std::ranges::equal(constant->bytes(), before.constant(before.outputs()[i].value)->bytes()));
  }
  for (const FormSample& sample : form_samples()) {
    const Bytes bytes = written(sample.graph);
    EXPECT_TRUE(equal(parse_model(bytes, nullptr, sample.name), sample.graph)) << sample.name;
  }
}

TEST(ModelFile, BlobsStayInTheFileAndKeepItMapped) {
  auto file = std::make_shared<const Bytes>(written(model()));
  const std::weak_ptr<const Bytes> mapped = file;
  const std::byte* const begin = file->data();
  const std::byte* const end = begin + file->size();
  {
    const Graph graph = parse_model(*file, file, "the file");
    file.reset();
    EXPECT_FALSE(mapped.expired());
    ASSERT_EQ(graph.outputs().size(), 2U);
    for (const GraphOutput& output : graph.outputs()) {
      const std::byte* const at = graph.constant(output.value)->bytes().data();
      EXPECT_TRUE(at >= begin && at < end);
    }
  }
  EXPECT_TRUE(mapped.expired());
}

TEST(ModelFile, CutOffAnywhereIsRefused) {
  const Bytes whole = written(model());
  for (std::size_t size = 0; size < whole.size(); size += size < 300 ? 1 : 97)
    EXPECT_EQ(code_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}), Code::corrupt) << size;
  Bytes longer = whole;
  longer.push_back({});
  EXPECT_EQ(code_of(longer), Code::corrupt);
}

TEST(ModelFile, EveryNumberOfTheHeaderIsChecked) {
  const Bytes whole = written(model());
  constexpr std::size_t kHeader = 40, kRange = 16;
  for (std::size_t at = 0; at < kHeader + 2 * kRange; ++at) {
    // The lowest byte of a length: the part may still end before the next one begins.
    if (at == 24 || at == kHeader + 8 || at == kHeader + kRange + 8) continue;
    for (const unsigned flip : {0x01u, 0x80u, 0xffu}) {
      Bytes file = whole;
      file[at] ^= static_cast<std::byte>(flip);
      const Code code = code_of(file);
      EXPECT_TRUE(code == Code::corrupt || (code == Code::unsupported && at >= 8 && at < 12)) << at << " " << flip;
    }
  }
  // Sums that overflow.
  for (const std::size_t at : {std::size_t{16}, std::size_t{24}, kHeader, kHeader + 8, kHeader + kRange + 8}) {
    for (const std::uint64_t value : {~0ull, ~0ull - 63, 1ull << 63}) {
      Bytes file = whole;
      put(file, at, value);
      EXPECT_EQ(code_of(file), Code::corrupt) << at << " " << value;
    }
  }
}

}  // namespace
}  // namespace ml::test
