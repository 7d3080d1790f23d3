// ONNX models as nobody writes them, and what the importer is held to on them.
#pragma once

#include <cstddef>
#include <random>
#include <span>
#include <string>

namespace ml::onnx_test {

// One random change of a serialized model: of a node, an attribute, a tensor, an input, a version; or of its bytes,
// which is what happens where they are no model.
std::string mutated(const std::string& model, std::mt19937_64& random);

// One model of two: an input of the second becomes an output of the first. The first where one of them is no model.
std::string joined(const std::string& first, const std::string& second, std::mt19937_64& random);

// Imports the model, verifies its graph, gives its inputs shapes (2 wherever the model leaves an extent open) and plans
// it for the reference device; where that takes little memory and time it runs, too. Throws what refuses it.
void import_and_run(std::span<const std::byte> model);

}  // namespace ml::onnx_test
