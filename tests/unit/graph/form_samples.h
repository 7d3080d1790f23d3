// Graphs that the text form and the binary form must carry: together they hold every row.
#pragma once

#include <string>
#include <vector>

#include "engine/graph/graph.h"

namespace ml::test {

struct FormSample {
  std::string name;
  Graph graph;
};
std::vector<FormSample> form_samples();
// One graph with everything a graph can have: symbols, odd names, constants of all dtypes, subgraphs, donations.
Graph full_sample();

}  // namespace ml::test
