// The matrix: every row of the graph x every device x every dtype that the row's shape rule takes x awkward operands,
// against the reference. One test an op; a row without samples, or that a device neither has a kernel for nor can take
// apart, fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "ml/error.h"
#include "tests/matrix/cell.h"
#include "tests/matrix/register.h"
#include "tests/matrix/targets.h"

namespace ml::test {
namespace {

// What a device may refuse although the row takes it, with the phrase that it must give.
struct Refusal {
  std::string_view device, op;
  DType dtype;
  std::string_view phrase;
};
constexpr std::array<Refusal, 0> kRefusals{};

// Tested elsewhere: control rows carry graphs (control_test.cpp).
bool has_own_tests(const Op& op) { return op.kind == OpKind::control; }

// Compares one way of running a cell with what is expected of it.
class Judge {
 public:
  Judge(const Cell& cell, const Target& target, std::string how)
      : cell_(cell), where_(cell.name + " on " + std::string(target.device->name()) + ", " + std::move(how)) {}

  // Answers whether it was right.
  bool check(const std::function<Result()>& run) const {
    Result got;
    try {
      got = run();
    } catch (const std::exception& error) {
      ADD_FAILURE() << where_ << ": " << error.what();
      return false;
    }
    bool right = true;
    if (got.index_error != cell_.expected.index_error) {
      ADD_FAILURE() << where_ << ": index error is " << got.index_error;
      right = false;
    }
    for (std::size_t i = 0; i < got.outputs.size(); ++i) {
      const HostTensor& expected = cell_.expected.outputs[i];
      if (got.outputs[i].bytes.empty() && !expected.bytes.empty()) continue;  // an output that nobody reads
      const std::string wrong = difference(got.outputs[i], expected, cell_.tolerances[i], cell_.largest,
                                           cell_.sums ? &cell_.sums->outputs[i] : nullptr);
      if (wrong.empty()) continue;
      ADD_FAILURE() << where_ << ": output " << i << ": " << wrong;
      right = false;
    }
    return right;
  }

 private:
  const Cell& cell_;
  std::string where_;
};

KernelRequest request_of(const Cell& cell) {
  KernelRequest request{cell.op, cell.attributes, {}, {}};
  const std::vector<TensorType> types = cell.input_types();
  request.inputs.reserve(types.size());
  for (const TensorType& type : types) request.inputs.push_back({type, row_major(type.shape)});
  for (const HostTensor& tensor : cell.expected.outputs)
    request.outputs.push_back({{tensor.dtype, tensor.shape}, row_major(tensor.shape)});
  return request;
}

// A constant at an odd address, as in a file.
ConstantData misplaced(const HostTensor& tensor) {
  std::vector<std::byte> bytes(1);
  bytes.insert(bytes.end(), tensor.bytes.begin(), tensor.bytes.end());
  return {tensor.dtype, tensor.shape, Blob::owning(std::move(bytes)), 1};
}

Layout shuffled(const Shape& shape, std::mt19937_64& random) {
  std::vector<int> order(static_cast<std::size_t>(shape.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::shuffle(order, random);
  return permuted(shape, order);
}

// Every variation of a request that a kernel may meet.
bool check_row(const Cell& cell, Target& target, const Implementation& row) {
  const auto accepts = [&row](const KernelRequest& request) { return !row.refuse || row.refuse(request) == nullptr; };
  const auto check = [&](const KernelRequest& request, const char* how, InPlace shared = {}) {
    const Judge judge(cell, target, std::string(row.kernel) + ", " + how);
    return judge.check([&] { return run_kernel(target, row, request, cell.inputs, shared); });
  };
  const KernelRequest plain = request_of(cell);
  bool right = true;
  const char* const why = row.refuse == nullptr ? nullptr : row.refuse(plain);
  if (row.prefer && (why == nullptr || why == refusal::kLayout)) {
    KernelRequest request = plain;
    std::vector<Layout> inputs, outputs;
    for (const Operand& operand : request.inputs) inputs.push_back(operand.layout);
    for (const Operand& operand : request.outputs) outputs.push_back(operand.layout);
    row.prefer(request, inputs, outputs);
    for (std::size_t i = 0; i < inputs.size(); ++i) request.inputs[i].layout = inputs[i];
    for (std::size_t i = 0; i < outputs.size(); ++i) request.outputs[i].layout = outputs[i];
    if (accepts(request)) right &= check(request, "preferred layouts");
  }
  if (!cell.large) {
    std::mt19937_64 random = random_for(cell.name);
    KernelRequest request = plain;
    for (Operand& operand : request.inputs) operand.layout = shuffled(operand.type.shape, random);
    if (accepts(request)) right &= check(request, "shuffled inputs");
    for (Operand& operand : request.outputs) operand.layout = shuffled(operand.type.shape, random);
    if (accepts(request)) right &= check(request, "shuffled inputs and outputs");
    request.inputs = plain.inputs;
    if (accepts(request)) right &= check(request, "shuffled outputs");
  }
  if (!accepts(plain)) return right;
  right &= check(plain, "row-major");
  if (cell.large) return right;
  for (std::size_t i = 0; i < plain.inputs.size(); ++i) {
    KernelRequest request = plain;
    const ConstantData value = misplaced(cell.inputs[i]);
    request.inputs[i].constant = &value;
    if (accepts(request)) right &= check(request, ("constant input " + std::to_string(i)).c_str());
  }
  PackCache packs(target.device->traits().threads);
  const std::unique_ptr<Kernel> kernel = row.compile(plain, packs);
  for (std::size_t i = 0; i < plain.inputs.size(); ++i) {
    for (std::size_t o = 0; o < plain.outputs.size(); ++o) {
      if (cell.inputs[i].bytes.size() == cell.expected.outputs[o].bytes.size() && kernel->in_place(i, o))
        right &= check(plain, ("in place of input " + std::to_string(i)).c_str(), {i, o});
    }
  }
  for (std::size_t o = 0; plain.outputs.size() > 1 && o < plain.outputs.size(); ++o) {
    KernelRequest request = plain;
    request.outputs[o].used = false;
    if (accepts(request)) right &= check(request, ("without output " + std::to_string(o)).c_str());
  }
  return right;
}

// A device that has no kernel must say why, in a way that this file knows.
bool check_refusal(const Cell& cell, const Target& target, DType dtype) {
  const auto listed = std::ranges::find_if(kRefusals, [&](const Refusal& refusal) {
    return refusal.device == target.device->name() && refusal.op == cell.op.name && refusal.dtype == dtype;
  });
  try {
    choose(*target.device, request_of(cell));
  } catch (const Error& error) {
    if (listed != kRefusals.end() && error.message().find(listed->phrase) != std::string::npos) return true;
    ADD_FAILURE() << cell.name << ": " << error.what();
  }
  return false;
}

bool check_device(const Cell& cell, Target& target, DType dtype) {
  bool right = true;
  if (cell.op.kind != OpKind::dynamic) {
    for (const Implementation& row : target.device->implementations()) {
      if (row.op == cell.op.name) right &= check_row(cell, target, row);
    }
    // Plans bring constants to a device themselves, so it needs no kernel for them.
    const bool falls_apart = cell.op.decompose || cell.op.kind == OpKind::constant;
    if (!falls_apart && !implements(*target.device, request_of(cell))) return check_refusal(cell, target, dtype);
  }
  const Judge judge(cell, target, "as a graph");
  return judge.check([&] {
    try {
      return Result{evaluate(cell.graph, *target.device, cell.feed), false};
    } catch (const Error& error) {
      if (error.code() == Code::out_of_range && cell.expected.index_error) return Result{{}, true};
      throw;
    }
  }) && right;
}

class MatrixTest : public testing::Test {
 public:
  explicit MatrixTest(const Op& op) : op_(op) {}
  void TestBody() override {
    const OpSamples* samples = samples_of(op_.name);
    ASSERT_NE(samples, nullptr) << op_.name << " has no samples: add some to tests/matrix";
    bool empty = false, large = false;
    for (const Sample& sample : samples->samples) {
      int accepted = 0;
      for (int number = 1; number <= kDTypeCount; ++number) {
        const auto dtype = static_cast<DType>(number);
        const std::optional<Cell> cell = make_cell(op_, sample, dtype);
        if (!cell) continue;
        ++accepted;
        large |= cell->large;
        for (const HostTensor& tensor : cell->inputs) empty |= tensor.bytes.empty();
        for (const HostTensor& tensor : cell->expected.outputs) empty |= tensor.bytes.empty();
        for (Target& target : targets()) check_device(*cell, target, dtype);
        // One failure in ten says as much as a thousand.
        if (testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count() > 10) return;
      }
      EXPECT_GT(accepted, 0) << op_.name << " '" << sample.label << "': the shape rule takes it in no dtype";
    }
    EXPECT_TRUE(empty) << op_.name << " has no sample without elements";
    EXPECT_TRUE(large) << op_.name << " has no large sample";
  }

 private:
  const Op& op_;
};

const char* suite_of(OpKind kind) {
  switch (kind) {
    case OpKind::elementwise: return "elementwise";
    case OpKind::reduction: return "reduction";
    case OpKind::movement: return "movement";
    case OpKind::indexed: return "indexed";
    case OpKind::contraction: return "contraction";
    case OpKind::composite: return "composite";
    case OpKind::random: return "random";
    case OpKind::control: return "control";
    case OpKind::constant: return "constant";
    case OpKind::dynamic: return "dynamic";
  }
  return "other";
}

}  // namespace

void register_matrix() {
  for (const Op* op : all_ops()) {
    if (has_own_tests(*op)) continue;
    testing::RegisterTest(suite_of(op->kind), std::string(op->name).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [op]() -> MatrixTest* { return new MatrixTest(*op); });
  }
}

}  // namespace ml::test
