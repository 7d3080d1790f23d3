// The reference against what others say: expected/cases.txt, written by expected/make_expected.py with NumPy. Integers,
// booleans and every dtype but f64 must be equal, f64 within its rounding. Every op needs a case.
#include "tests/matrix/register.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "engine/graph/scalar.h"
#include "ml/error.h"
#include "tests/matrix/run.h"
#include "tests/matrix/tolerance.h"

namespace ml::test {
namespace {

struct Case {
  int line = 0;
  std::string op;
  std::map<std::string, std::string> attributes;
  std::vector<HostTensor> inputs, outputs;
  std::vector<bool> known;
};

// "[1,2,3]"
Ints parse_list(const std::string& text) {
  Ints values;
  std::istringstream in(text.substr(1, text.size() - 2));
  for (std::string entry; std::getline(in, entry, ',');) values.push_back(std::stoll(entry));
  return values;
}

// "f64[2,3] 1 2 3 4 5 6"
HostTensor parse_tensor(std::istringstream& in) {
  std::string type, value;
  in >> type;
  const std::size_t bracket = type.find('[');
  HostTensor tensor{parse_dtype(type.substr(0, bracket)), Shape(parse_list(type.substr(bracket))), {}};
  const std::size_t size = dtype_size(tensor.dtype);
  tensor.bytes.resize(static_cast<std::size_t>(tensor.shape.elements()) * size);
  for (std::size_t at = 0; at < tensor.bytes.size(); at += size) {
    if (!(in >> value)) throw Error(Code::corrupt, "fewer values than " + tensor.shape.str() + " has");
    if (is_floating(tensor.dtype))
      store_double(tensor.dtype, &tensor.bytes[at], std::stod(value));
    else if (value[0] == '-')
      store_int(tensor.dtype, &tensor.bytes[at], std::stoll(value));
    else
      store_int(tensor.dtype, &tensor.bytes[at], static_cast<std::int64_t>(std::stoull(value)));
  }
  if (in >> value) throw Error(Code::corrupt, "more values than " + tensor.shape.str() + " has");
  return tensor;
}

std::vector<Case> read_cases() {
  std::ifstream file("tests/matrix/expected/cases.txt");
  if (!file) throw Error(Code::not_found, "tests/matrix/expected/cases.txt", {}, "run in the root of the repository");
  std::vector<Case> cases;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::istringstream in(line);
    if (line[0] != ' ') {
      cases.push_back({.line = number});
      in >> cases.back().op;
      for (std::string field; in >> field;) {
        const std::size_t equals = field.find('=');
        cases.back().attributes[field.substr(0, equals)] = field.substr(equals + 1);
      }
      continue;
    }
    Case& last = cases.back();
    std::string word;
    const auto start = in.tellg();
    in >> word;
    if (word == "->") {
      last.outputs.push_back(parse_tensor(in));
      continue;
    }
    last.known.push_back(word == "known");
    if (word != "known") in.seekg(start);
    last.inputs.push_back(parse_tensor(in));
  }
  return cases;
}

// Fills attributes from a case; every field must be there, and nothing else.
class Reader final : public AttributeVisitor {
 public:
  explicit Reader(std::map<std::string, std::string> fields) : fields_(std::move(fields)) {}
  void field(const char* name, bool& value) override { value = take(name) == "true"; }
  void field(const char* name, std::int64_t& value) override { value = std::stoll(take(name)); }
  void field(const char* name, double& value) override { value = std::stod(take(name)); }
  void field(const char* name, DType& value) override { value = parse_dtype(take(name)); }
  void field(const char* name, Shape& value) override { value = Shape(parse_list(take(name))); }
  void field(const char* name, Ints& value) override { value = parse_list(take(name)); }
  void field(const char* name, GraphPtr&) override { take(name); }
  void field(const char* name, ConstantPtr&) override { take(name); }
  void finish() const {
    if (!fields_.empty()) throw Error(Code::corrupt, "there is no attribute " + fields_.begin()->first);
  }

 private:
  std::string take(const char* name) {
    const auto found = fields_.find(name);
    if (found == fields_.end()) throw Error(Code::corrupt, std::string("attribute ") + name + " is missing");
    std::string value = found->second;
    fields_.erase(found);
    return value;
  }
  std::map<std::string, std::string> fields_;
};

AttributesPtr attributes_of(const Op& op, const Case& test) {
  std::unique_ptr<Attributes> attributes = op.make_attributes ? op.make_attributes() : std::make_unique<NoAttributes>();
  Reader reader(test.attributes);
  attributes->visit(reader);
  reader.finish();
  return attributes;
}

class ExpectedTest : public testing::Test {
 public:
  explicit ExpectedTest(const Op& op) : op_(op) {}
  void TestBody() override {
    static const std::vector<Case> cases = read_cases();
    Target reference(create_reference_device());
    int found = 0;
    for (const Case& test : cases) {
      if (test.op != op_.name) continue;
      ++found;
      SCOPED_TRACE("cases.txt:" + std::to_string(test.line));
      check(test, reference);
    }
    EXPECT_GT(found, 0) << op_.name << " has no case: add one to tests/matrix/expected/make_expected.py";
  }

 private:
  void check(const Case& test, Target& reference) {
    const Graph graph = graph_of(op_, attributes_of(op_, test), test.inputs, test.known);
    std::vector<HostTensor> feed;
    double largest = 0;
    for (std::size_t i = 0; i < test.inputs.size(); ++i) {
      if (!test.known[i]) feed.push_back(test.inputs[i]);
      largest = std::max(largest, largest_magnitude(test.inputs[i]));
    }
    const Result result = run_graph(reference, graph, feed);
    ASSERT_EQ(result.outputs.size(), test.outputs.size());
    for (std::size_t i = 0; i < test.outputs.size(); ++i) {
      const HostTensor& expected = test.outputs[i];
      const Tolerance rounding = {.relative = 16, .of_largest = 8};
      EXPECT_EQ(difference(result.outputs[i], expected, expected.dtype == DType::f64 ? rounding : Tolerance{},
                           std::max(largest, largest_magnitude(expected)), nullptr),
                "")
          << op_.name << " output " << i;
    }
  }

  const Op& op_;
};

}  // namespace

void register_expected() {
  for (const Op* op : all_ops()) {
    // Constants are their attributes; rows that carry graphs mean what those mean (control.cpp).
    if (op->kind == OpKind::constant || op->kind == OpKind::control || op->name == "fused" ||
        op->name == "fused_contraction" || op->name == "fused_convolutions")
      continue;
    testing::RegisterTest("expected", std::string(op->name).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [op]() -> ExpectedTest* { return new ExpectedTest(*op); });
  }
}

}  // namespace ml::test
