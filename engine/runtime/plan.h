// A graph made ready for a device: kernels chosen and compiled, every value in its place, in an order.
//
// A plan is a list of segments. What stands in one segment is enqueued without the host looking at anything; a control
// step at its end (if, while, scan) runs plans of its own, and one that must look at a value does so behind a fence.
// Plans are immutable and may run on many streams at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/graph/graph.h"
#include "engine/runtime/resources.h"
#include "engine/runtime/stream_context.h"

namespace ml::runtime {

// Where a value is while a plan runs.
struct Place {
  enum class In : std::uint8_t { nowhere, input, output, scratch, constant };
  In in = In::nowhere;
  std::uint32_t index = 0;  // of the input, output or constant
  std::size_t offset = 0;   // in scratch
  std::size_t size = 0;
};

// How an execution is stopped between two steps. Once it is committed (it is about to write donated memory, which
// nobody could restore) only aborting stops it.
class Progress {
 public:
  enum State : std::uint32_t { running, committed, cancelled, expired, aborted };

  State state() const { return static_cast<State>(state_.load(std::memory_order_acquire)); }
  void reset() { state_.store(running, std::memory_order_release); }
  // Each answers whether it took effect.
  bool commit() { return move(running, committed) || state() == committed; }
  bool cancel() { return move(running, cancelled); }
  bool expire() { return move(running, expired); }
  void abort() { state_.store(aborted, std::memory_order_release); }
  bool stopped() const { return state() > committed; }

 private:
  bool move(std::uint32_t from, std::uint32_t to) {
    return state_.compare_exchange_strong(from, to, std::memory_order_acq_rel);
  }
  std::atomic<std::uint32_t> state_{running};
};

class ControlStep;

// Copies when `kernel` is null: one input, one output of equal size.
struct Step {
  const Implementation* implementation = nullptr;
  std::unique_ptr<Kernel> kernel;
  std::uint32_t first_place = 0;  // in the plan's places: inputs, then outputs
  std::uint32_t inputs = 0;
  std::uint32_t outputs = 0;
  Place scratch;
  bool commits = false;  // the first step that writes donated memory
};

struct Segment {
  std::vector<Step> steps;
  std::unique_ptr<ControlStep> control;  // may be null
};

class Plan {
 public:
  ~Plan();

  std::span<const TensorType> inputs() const { return inputs_; }
  std::span<const TensorType> outputs() const { return outputs_; }
  std::span<const Donation> donations() const { return donations_; }
  std::size_t scratch_bytes() const { return scratch_bytes_; }
  // What the temporaries need at the least, without what sub-plans save among themselves.
  std::size_t scratch_lower_bound() const { return scratch_lower_bound_; }
  const Cost& cost() const { return cost_; }
  std::size_t step_count() const;
  // Kernel choices in order, device, library versions, threads: same fingerprint, same inputs, same bits. The same in
  // every process.
  const std::string& fingerprint() const { return fingerprint_; }
  // One line a step, for people: "matmul f32[2, 3], f32[3, 4] -> f32[2, 4]: dnnl_matmul".
  std::string describe() const;

  // Enqueues everything on the context's stream, waiting only where a control step has to look at a value. The output
  // of a donation is not looked at: it becomes the input's memory. False: `progress` (may be null) was stopped first.
  // Outputs overlap no input and no other output; donated inputs overlap nothing.
  bool run(StreamContext& context, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
           Progress* progress = nullptr) const;

 private:
  friend class PlanBuilder;
  friend class ControlStep;

  Plan() = default;
  bool run_in(StreamContext& context, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
              BufferSpan scratch, Progress* progress) const;
  BufferSpan resolve(const Place& place, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
                     BufferSpan scratch) const;

  std::vector<TensorType> inputs_, outputs_;
  std::vector<Donation> donations_;
  std::vector<Segment> segments_;
  std::vector<Place> places_;
  std::vector<std::shared_ptr<Buffer>> constants_;
  std::vector<std::string> lines_;
  std::size_t scratch_bytes_ = 0;
  std::size_t scratch_lower_bound_ = 0;
  Cost cost_;
  std::string fingerprint_;
};

// Called now and then by what may take long, to throw when it takes too long.
using Checkpoint = std::function<void()>;

// Sees every kernel of a plan and of its bodies once it is compiled, and answers what runs in its place: itself, or one
// that times it.
using Instrument = std::function<std::unique_ptr<Kernel>(const Graph& lowered, const Node& node,
                                                         const Implementation& row, std::unique_ptr<Kernel> kernel)>;

struct PlanOptions {
  passes::Evaluate evaluate;      // none: nothing is folded
  Checkpoint checkpoint = [] {};  // between two steps of making the plan
  Instrument instrument = {};     // none: kernels run as they are
};

// The plan of `graph` (bound already, donations included) on the device of `resources`, which must outlive it. Throws
// unsupported when the device has no kernel for a node or a shape depends on data.
std::unique_ptr<const Plan> make_plan(const Graph& graph, ProgramResources& resources, const PlanOptions& options = {});

}  // namespace ml::runtime
