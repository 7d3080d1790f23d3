// What graphs that come from outside may not exceed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ml {

struct TensorType;

// A constant of at most this many bytes stands inside the graph, a larger one is a reference to a blob.
inline constexpr std::uint64_t kInlineConstantBytes = 4096;
// Of one tensor; leaves room for arithmetic on offsets.
inline constexpr std::int64_t kMaxTensorBytes = std::int64_t{1} << 48;
// Levels of subgraphs below the outermost graph.
inline constexpr int kMaxGraphDepth = 16;
// With every subgraph counted wherever it is used.
inline constexpr std::uint64_t kMaxGraphNodes = std::uint64_t{1} << 24;
// Of one graph in either form.
inline constexpr std::size_t kMaxGraphBytes = std::size_t{64} << 20;
// Of a name: a graph's, an input's, an output's, a symbol's.
inline constexpr std::size_t kMaxNameBytes = 4096;

// Throws invalid_argument, saying `where`, when no tensor can be of the type: there is no such dtype, a dimension is
// negative (and not kUnknown), or it is larger than kMaxTensorBytes, dimensions without elements not counted.
void check_type(const TensorType& type, std::string_view where = {});

}  // namespace ml
