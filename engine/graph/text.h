// The text form of a graph: stable, readable, and read back to an equal graph. docs/graph-text.md gives the grammar.
#pragma once

#include <string>
#include <string_view>

#include "engine/graph/graph.h"

namespace ml {

std::string print(const Graph& graph);

// Reads one graph; the result has been verified. Throws ml::Error with line and column for anything that is not the
// text form. Constants up to 4 KiB stand in the text; larger ones print as a reference (blob identity, offset, length)
// and parse only when `blobs` holds that identity.
Graph parse(std::string_view text, std::span<const std::shared_ptr<const Blob>> blobs = {});

}  // namespace ml
