// Graphs as ONNX models.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "engine/graph/graph.h"

namespace ml::onnx {

inline constexpr int kExportOpset = 20;
inline constexpr int kEarliestOpset = 7;

// Receives the file piece by piece.
using Sink = std::function<void(std::span<const std::byte>)>;

struct ExportOptions {
  int opset = kExportOpset;  // from kEarliestOpset on
};

// Writes `graph` as a ModelProto of the operator set that is asked for, or a later one where its ops or dtypes need
// that. Composites that ONNX has no operator for are written as their decomposition; constants of 1 KiB or more go to
// the sink straight from where they lie. An output that is called like an input gets an underscore behind its name.
// Throws unsupported, naming every op that has no counterpart, before anything is written.
void export_model(const Graph& graph, const Sink& sink, const ExportOptions& options = {});

}  // namespace ml::onnx
