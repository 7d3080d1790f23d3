// How expressions are recorded: a TensorValue is what a Tensor points to, a Call is one op applied to values.
//
// A value is recorded (its call says how to compute it), stored (its elements lie in a session's memory), a scalar (a
// rank-0 number known here) or a placeholder (an input of a program that is being traced). A recorded value becomes a
// stored one when it is evaluated, and then lets go of its call; nothing else ever changes, so only that step and the
// marks below need recording_mutex().
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "engine/graph/build.h"
#include "ml/tensor.h"

namespace ml::client {

class Storage;

struct Call;
// Takes long chains of calls apart one by one, so that dropping a history of any length needs no stack.
struct BuryCall {
  void operator()(Call* call) const noexcept;
};

enum class ValueKind : std::uint8_t { recorded, stored, scalar, placeholder };

struct TensorValue {
  TensorType type;
  std::atomic<ValueKind> kind{ValueKind::recorded};
  std::atomic<bool> cut{false};  // evaluated only because its expression grew too long
  std::uint32_t output = 0;
  std::uint32_t depth = 0;            // calls on the longest path to here
  std::shared_ptr<Call> call;         // recorded
  std::shared_ptr<Storage> storage;   // stored
  std::uint64_t version = 0;          // of the storage, when this value was put there
  std::array<std::byte, 8> scalar{};  // scalar: the element's bytes

  // Where a walk over expressions has put this value; valid while epoch is the walk's.
  std::uint64_t epoch = 0;
  std::uint32_t mark = 0;
};

struct Call {
  const Op* op = nullptr;  // null: detach, which is its input but for gradients
  AttributesPtr attributes;
  std::uint64_t attributes_hash = 0;
  std::vector<TensorValuePtr> inputs;
  std::vector<TensorType> outputs;

  std::uint64_t epoch = 0;
  std::uint32_t mark = 0;
  Call* next_to_bury = nullptr;
};

// Held while expressions are walked and while evaluated values let go of their calls.
std::mutex& recording_mutex();
// A number that no walk has used. Hold the mutex.
std::uint64_t next_epoch();

// Expressions deeper than this are evaluated on the way.
inline constexpr std::uint32_t kDepthLimit = 4096;
// While one of these lives, this thread evaluates nothing by itself: placeholders have no value.
class TracingScope {
 public:
  TracingScope();
  ~TracingScope();
  TracingScope(const TracingScope&) = delete;
  TracingScope& operator=(const TracingScope&) = delete;
};

// The value behind a handle; throws invalid_argument, naming `what`, when there is none.
const TensorValuePtr& need(const Tensor& tensor, std::string_view what);

// Records one call with outputs of known types; answers one tensor per output.
std::vector<Tensor> record_call(const Op* op, AttributesPtr attributes, std::vector<TensorValuePtr> inputs,
                                std::vector<TensorType> outputs);
// The same after asking the op's shape rule; the usual case of one output.
Tensor record(const Op& op, std::initializer_list<Tensor> inputs);

// Records what `build` appends to a scratch graph whose inputs are `inputs`: how operations with attributes are
// recorded in the words of engine/graph/build.h.
using Builder = std::vector<Var> (*)(void* context, Graph& graph, std::span<const Var> inputs);
std::vector<Tensor> record_built(std::span<const Tensor> inputs, Builder build, void* context);
template <class F>
Tensor record_with(std::span<const Tensor> inputs, F build) {
  return record_built(
             inputs,
             [](void* context, Graph& graph, std::span<const Var> vars) -> std::vector<Var> {
               if constexpr (std::is_invocable_v<F&, Graph&>)
                 return {(*static_cast<F*>(context))(graph)};
               else
                 return {(*static_cast<F*>(context))(vars)};
             },
             &build)
      .front();
}
template <class F>
Tensor record_with(std::initializer_list<Tensor> inputs, F build) {
  return record_with(std::span(inputs.begin(), inputs.size()), std::move(build));
}

// Records the nodes of `graph` from `first_node` on. `known` has an entry per value of the graph; what stands in it is
// used, and the outputs of the recorded nodes are added.
void record_nodes(const Graph& graph, std::size_t first_node, std::vector<Tensor>& known);

Tensor make_placeholder(TensorType type);
Tensor make_scalar(DType dtype, Scalar value);
Tensor make_scalar_u64(std::uint64_t value);
Tensor make_stored(TensorType type, std::shared_ptr<Storage> storage);
// Throws when a training step has overwritten the memory of a stored value, or when it is a placeholder.
void check_readable(const TensorValue& value);
// What is behind detach() calls.
const TensorValuePtr& resolve(const TensorValuePtr& value);

}  // namespace ml::client
