// How a plan is made: lower the graph for the device, choose and compile kernels, give every value its place.
//
// A value is where its storage is: an input's or output's memory, a constant's, or the arena. An output that a node
// makes is written where it belongs at once; only what no node makes (an input handed through, a constant, one value
// under two names) is copied, inputs first, because donated ones may be overwritten later.
#include <algorithm>
#include <cstdio>
#include <optional>

#include "engine/graph/hashing.h"
#include "engine/runtime/control.h"
#include "engine/runtime/kernel_request.h"
#include "engine/runtime/memory_planner.h"
#include "engine/runtime/plan.h"
#include "engine/runtime/schedule.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

constexpr std::string_view kReshape = "reshape";

std::size_t bytes_of(const TensorType& type) {
  return static_cast<std::size_t>(type.shape.elements()) * dtype_size(type.dtype);
}

std::string text(const TensorType& type) { return std::string(dtype_name(type.dtype)) + type.shape.str(); }

std::string signature(const Graph& graph, const Node& node) {
  std::string line(node.op->name);
  for (std::size_t i = 0; i < node.inputs.size(); ++i) line += (i == 0 ? " " : ", ") + text(graph.type(node.inputs[i]));
  for (std::uint32_t i = 0; i < node.output_count; ++i)
    line += (i == 0 ? " -> " : ", ") + text(graph.type(node.output(i)));
  return line;
}

}  // namespace

class PlanBuilder {
 public:
  PlanBuilder(const Graph& graph, ProgramResources& resources, const PlanOptions& options)
      : resources_(resources), device_(resources.device()), options_(options), laid_out_(lowered(graph)) {}

  std::unique_ptr<const Plan> build() {
    options_.checkpoint();
    refuse_what_cannot_be_donated();
    uses_ = use_counts(graph_);
    storages_ = storages_of(graph_);
    order_ = schedule(graph_, storages_);
    compile_nodes();
    place_storages();
    copy_inputs_first();
    for (const std::uint32_t node : order_.order) {
      options_.checkpoint();
      append(node);
    }
    copy_outputs_last();
    place_scratch();
    mark_commit();
    describe();
    return std::unique_ptr<const Plan>(plan_.release());
  }

 private:
  // A node on its way into the plan.
  struct Compiled {
    const Implementation* implementation = nullptr;
    std::unique_ptr<Kernel> kernel;
    std::unique_ptr<ControlStep> control;
    bool runs = false;  // false: constants, reshapes and nodes without a single element to compute
  };
  // A copy that an output needs because no node writes it where it belongs.
  struct Copy {
    Place from, to;
  };

  passes::LaidOut lowered(const Graph& graph) const {
    if (!graph.bound()) {
      for (const Node& node : graph.nodes()) {
        if (node.op->kind == OpKind::dynamic) {
          throw Error(Code::unsupported, std::string(node.op->name) + ": the shape of its result depends on data", {},
                      "shapes must follow from the shapes of the inputs");
        }
      }
      throw Error(Code::invalid_argument, "graph '" + graph.name + "' has unknown shapes: bind it first");
    }
    const passes::Target target{keep_what_runs_on(device_), has_rows_for(device_, "fused")};
    return passes::assign_layouts(passes::lower(graph, target, options_.evaluate), preferred_orders(device_));
  }

  void refuse_what_cannot_be_donated() const {
    std::vector<bool> donated(graph_.inputs().size(), false), taken(graph_.outputs().size(), false);
    for (const Donation& donation : graph_.donations()) {
      const GraphInput& input = graph_.inputs()[donation.input];
      const GraphOutput& output = graph_.outputs()[donation.output];
      if (donated[donation.input] || taken[donation.output]) {
        throw Error(Code::invalid_argument,
                    "input '" + input.name + "' and output '" + output.name + "' are donated more than once");
      }
      donated[donation.input] = taken[donation.output] = true;
      if (graph_.type(input.value) != graph_.type(output.value)) {
        throw Error(Code::invalid_argument, "input '" + input.name + "' (" + text(graph_.type(input.value)) +
                                                ") can't become output '" + output.name + "' (" +
                                                text(graph_.type(output.value)) + "): their types differ");
      }
    }
  }

  void compile_nodes() {
    compiled_.resize(graph_.nodes().size());
    for (std::uint32_t index = 0; index < compiled_.size(); ++index) {
      options_.checkpoint();
      const Node& node = graph_.nodes()[index];
      Compiled& compiled = compiled_[index];
      if (node.op->kind == OpKind::constant || node.op->name == kReshape) continue;
      bool any = false;
      for (std::uint32_t i = 0; i < node.output_count; ++i) any = any || bytes_of(graph_.type(node.output(i))) != 0;
      if (!any) continue;
      compiled.runs = true;
      if (node.op->kind == OpKind::control) {
        compiled.control = make_control_step(graph_, node, resources_, options_);
        continue;
      }
      const KernelRequest request = request_for(graph_, node, uses_, laid_out_.orders);
      compiled.implementation = &resources_.choose(request);
      compiled.kernel = compiled.implementation->compile(request, resources_.packs());
      if (options_.instrument)
        compiled.kernel = options_.instrument(graph_, node, *compiled.implementation, std::move(compiled.kernel));
    }
  }

  ValueId storage_of(ValueId value) const { return storages_[value]; }
  std::uint32_t producer_of(ValueId storage) const { return graph_.values()[storage].producer; }
  bool made_by_node(ValueId storage) const {
    const std::uint32_t producer = producer_of(storage);
    return producer != kNoNode && graph_.nodes()[producer].op->kind != OpKind::constant;
  }

  bool is_constant(ValueId storage) const { return producer_of(storage) != kNoNode && !made_by_node(storage); }

  // Whether the node that makes `storage` may write it over the input: it doesn't read that input, or works in place.
  bool may_overwrite(ValueId input, ValueId storage) const {
    const std::uint32_t index = producer_of(storage);
    const Node& node = graph_.nodes()[index];
    const Kernel* kernel = compiled_[index].kernel.get();
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (storage_of(node.inputs[i]) != input) continue;
      if (kernel == nullptr || !kernel->in_place(i, graph_.values()[storage].output)) return false;
    }
    return true;
  }

  void place_storages() {
    places_.assign(graph_.values().size(), Place{});
    for (std::uint32_t i = 0; i < graph_.inputs().size(); ++i) {
      const ValueId value = graph_.inputs()[i].value;
      places_[value] = {Place::In::input, i, 0, bytes_of(graph_.type(value))};
    }
    std::vector<std::optional<std::size_t>> donation_of(graph_.outputs().size());
    for (std::size_t d = 0; d < graph_.donations().size(); ++d) donation_of[graph_.donations()[d].output] = d;
    // Donated outputs first: they have only one place to be.
    for (std::size_t d = 0; d < graph_.donations().size(); ++d) {
      const Donation& donation = graph_.donations()[d];
      const ValueId input = graph_.inputs()[donation.input].value;
      const ValueId storage = storage_of(graph_.outputs()[donation.output].value);
      if (made_by_node(storage) && places_[storage].in == Place::In::nowhere && order_.direct[d] &&
          may_overwrite(input, storage)) {
        places_[storage] = places_[input];
      }
    }
    for (std::uint32_t i = 0; i < graph_.outputs().size(); ++i) {
      const ValueId value = graph_.outputs()[i].value;
      const ValueId storage = storage_of(value);
      const Place own = output_place(i, donation_of[i]);
      if (made_by_node(storage) && places_[storage].in == Place::In::nowhere && !donation_of[i])
        places_[storage] = own;
      else if (made_by_node(storage) && places_[storage].in == Place::In::nowhere)
        places_[storage] = scratch_place(bytes_of(graph_.type(value)));
      else if (is_constant(storage))
        places_[storage] = constant_place(storage);
      if (own.size == 0 || same(places_[storage], own)) continue;
      add_output_copy(storage, own, donation_of[i].has_value());
    }
  }

  // An input handed through leaves its memory before anything there is overwritten. When it becomes another donated
  // output, it enters that memory after everything was read.
  void add_output_copy(ValueId storage, const Place& to, bool donated) {
    const Place& from = places_[storage];
    const bool handed_through = producer_of(storage) == kNoNode;
    if (!handed_through) {
      last_copies_.push_back({from, to});
    } else if (!donated) {
      first_copies_.push_back({from, to});
    } else {
      const Place between = scratch_place(from.size);
      first_copies_.push_back({from, between});
      last_copies_.push_back({between, to});
    }
  }

  Place output_place(std::uint32_t index, const std::optional<std::size_t>& donation) const {
    const std::size_t size = bytes_of(graph_.type(graph_.outputs()[index].value));
    if (donation) return {Place::In::input, graph_.donations()[*donation].input, 0, size};
    return {Place::In::output, index, 0, size};
  }
  static bool same(const Place& a, const Place& b) { return a.in == b.in && a.index == b.index; }

  Place constant_place(ValueId storage, ConstantUse use = ConstantUse::aligned) {
    if (use == ConstantUse::packed) return {};
    const ConstantPtr& value = graph_.producer(storage)->as<ConstantAttributes>().value;
    plan_->constants_.push_back(resources_.constant(value, use));
    return {Place::In::constant, static_cast<std::uint32_t>(plan_->constants_.size() - 1), 0, value->length()};
  }

  // A block of the arena, known by its number until place_scratch() gives it an offset.
  Place scratch_place(std::size_t bytes) {
    blocks_.push_back({bytes, ~std::uint32_t{0}, 0});
    return {Place::In::scratch, static_cast<std::uint32_t>(blocks_.size() - 1), 0, bytes};
  }
  void touch(const Place& place) {
    if (place.in != Place::In::scratch) return;
    Lifetime& block = blocks_[place.index];
    block.first = std::min(block.first, now_);
    block.last = std::max(block.last, now_);
  }

  Segment& segment() {
    if (plan_->segments_.empty() || plan_->segments_.back().control) plan_->segments_.emplace_back();
    return plan_->segments_.back();
  }
  void add_place(const Place& place) {
    touch(place);
    plan_->places_.push_back(place);
  }

  void add_copy(const Copy& copy) {
    Step step;
    step.first_place = static_cast<std::uint32_t>(plan_->places_.size());
    step.inputs = step.outputs = 1;
    add_place(copy.from);
    add_place(copy.to);
    segment().steps.push_back(std::move(step));
    plan_->lines_.push_back("copy " + std::to_string(copy.from.size) + " bytes");
    ++now_;
  }
  void copy_inputs_first() {
    for (const Copy& copy : first_copies_) add_copy(copy);
  }
  void copy_outputs_last() {
    for (const Copy& copy : last_copies_) add_copy(copy);
  }

  // How many steps of the plan still read a storage; at 0 its block may become an output's.
  void count_reads() {
    reads_.assign(graph_.values().size(), 0);
    for (std::size_t index = 0; index < compiled_.size(); ++index) {
      if (!compiled_[index].runs) continue;
      for (const ValueId input : graph_.nodes()[index].inputs) ++reads_[storage_of(input)];
    }
    for (const GraphOutput& output : graph_.outputs()) ++reads_[storage_of(output.value)];
  }

  // The block of an operand that is read here for the last time and that the kernel may overwrite.
  std::optional<Place> reusable(const Node& node, const Kernel* kernel, std::uint32_t output) const {
    if (kernel == nullptr) return std::nullopt;
    const std::size_t bytes = bytes_of(graph_.type(node.output(output)));
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId storage = storage_of(node.inputs[i]);
      const Place& place = places_[storage];
      if (place.in != Place::In::scratch || place.size != bytes || reads_[storage] != 0) continue;
      bool allowed = true, taken = false;
      for (std::size_t k = 0; k < node.inputs.size(); ++k) {
        if (same(places_[storage_of(node.inputs[k])], place)) allowed = allowed && kernel->in_place(k, output);
      }
      for (std::uint32_t o = 0; o < output; ++o) taken = taken || same(places_[node.output(o)], place);
      if (allowed && !taken) return place;
    }
    return std::nullopt;
  }

  void append(std::uint32_t index) {
    if (reads_.empty()) count_reads();
    const Node& node = graph_.nodes()[index];
    Compiled& compiled = compiled_[index];
    if (!compiled.runs) return;
    const auto first_place = static_cast<std::uint32_t>(plan_->places_.size());
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId storage = storage_of(node.inputs[i]);
      --reads_[storage];
      // Each reader says how it wants a constant.
      if (is_constant(storage)) {
        const bool told = compiled.kernel && graph_.constant(node.inputs[i]) != nullptr;
        add_place(constant_place(storage, told ? compiled.kernel->constant_use(i) : ConstantUse::aligned));
        continue;
      }
      if (places_[storage].in == Place::In::nowhere)
        places_[storage] = scratch_place(bytes_of(graph_.type(node.inputs[i])));
      add_place(places_[storage]);
    }
    for (std::uint32_t i = 0; i < node.output_count; ++i) {
      const ValueId output = node.output(i);
      Place& place = places_[output];
      const bool wanted = uses_[output] != 0 || compiled.control != nullptr;
      if (place.in == Place::In::nowhere && wanted) {
        const std::optional<Place> reused = reusable(node, compiled.kernel.get(), i);
        place = reused ? *reused : scratch_place(bytes_of(graph_.type(output)));
      }
      add_place(place);
    }
    const std::size_t bytes = compiled.control ? compiled.control->scratch_bytes() : compiled.kernel->scratch_bytes();
    const Place scratch = scratch_place(bytes);
    touch(scratch);
    const Cost cost = node_cost(node);
    plan_->cost_.flops += cost.flops;
    plan_->cost_.bytes += cost.bytes;
    std::string line = signature(graph_, node);
    if (compiled.control) {
      ControlStep& control = *compiled.control;
      control.first_place = first_place;
      control.inputs = static_cast<std::uint32_t>(node.inputs.size());
      control.outputs = node.output_count;
      control.scratch = scratch;
      plan_->lines_.push_back(std::move(line));
      for (const auto& [name, body] : control.bodies()) {
        plan_->lines_.push_back("  " + name + ":");
        for (const std::string& inner : body->lines_) plan_->lines_.push_back("  " + inner);
      }
      segment().control = std::move(compiled.control);
    } else {
      Step step;
      step.implementation = compiled.implementation;
      step.kernel = std::move(compiled.kernel);
      step.first_place = first_place;
      step.inputs = static_cast<std::uint32_t>(node.inputs.size());
      step.outputs = node.output_count;
      step.scratch = scratch;
      plan_->lines_.push_back(line + ": " + std::string(step.implementation->kernel));
      segment().steps.push_back(std::move(step));
    }
    ++now_;
  }

  Cost node_cost(const Node& node) const {
    std::vector<TensorType> outputs;
    for (std::uint32_t i = 0; i < node.output_count; ++i) outputs.push_back(graph_.type(node.output(i)));
    return cost(*node.op, types_of(graph_, node.inputs), outputs, *node.attributes);
  }

  void place_scratch() {
    for (Lifetime& block : blocks_) {
      if (block.first == ~std::uint32_t{0}) block = {0, 0, 0};
    }
    const MemoryPlan memory = plan_memory(blocks_);
    const auto settle = [&memory](Place& place) {
      if (place.in == Place::In::scratch) place.offset = memory.offsets[place.index];
    };
    for (Place& place : plan_->places_) settle(place);
    for (Segment& segment : plan_->segments_) {
      for (Step& step : segment.steps) settle(step.scratch);
      if (segment.control) settle(segment.control->scratch);
    }
    plan_->scratch_bytes_ = memory.size;
    plan_->scratch_lower_bound_ = memory.lower_bound;
  }

  void mark_commit() {
    const auto writes_input = [this](std::uint32_t first_place, std::uint32_t inputs, std::uint32_t outputs) {
      for (std::uint32_t i = 0; i < outputs; ++i) {
        if (plan_->places_[first_place + inputs + i].in == Place::In::input) return true;
      }
      return false;
    };
    for (Segment& segment : plan_->segments_) {
      for (Step& step : segment.steps) {
        step.commits = writes_input(step.first_place, step.inputs, step.outputs);
        if (step.commits) return;
      }
      if (segment.control) {
        ControlStep& control = *segment.control;
        control.commits = writes_input(control.first_place, control.inputs, control.outputs);
        if (control.commits) return;
      }
    }
  }

  void describe() {
    for (const GraphInput& input : graph_.inputs()) plan_->inputs_.push_back(graph_.type(input.value));
    for (const GraphOutput& output : graph_.outputs()) plan_->outputs_.push_back(graph_.type(output.value));
    plan_->donations_.assign(graph_.donations().begin(), graph_.donations().end());
    std::string all = std::string(device_.name()) + "\n" + device_.fingerprint() + "\n" +
                      std::to_string(device_.traits().threads) + "\n" + plan_->describe();
    const std::uint64_t hash = hash_bytes(std::as_bytes(std::span(all)));
    char digits[17];
    std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(hash));
    plan_->fingerprint_ = digits;
  }

  ProgramResources& resources_;
  Device& device_;
  const PlanOptions& options_;
  const passes::LaidOut laid_out_;
  const Graph& graph_ = laid_out_.graph;  // lowered
  std::vector<std::uint32_t> uses_;
  std::vector<ValueId> storages_;
  Schedule order_;
  std::vector<Compiled> compiled_;
  std::vector<Place> places_;  // by storage
  std::vector<Copy> first_copies_, last_copies_;
  std::vector<Lifetime> blocks_;  // of the arena
  std::vector<std::uint32_t> reads_;
  std::uint32_t now_ = 0;  // the step that is being added
  std::unique_ptr<Plan> plan_{new Plan};
};

std::unique_ptr<const Plan> make_plan(const Graph& graph, ProgramResources& resources, const PlanOptions& options) {
  return PlanBuilder(graph, resources, options).build();
}

}  // namespace ml::runtime
