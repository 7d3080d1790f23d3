#include "libmlclient/train/step_trace.h"

#include "libmlclient/tensor/random_source.h"
#include "libmlclient/tensor/trace.h"
#include "ml/ops.h"

namespace ml::train {
namespace {

using client::TracedPort;
using Entry = DeviceState::Entry;

// While it lives, the module's tensors are the placeholders of the state, and the module trains or not.
class Borrow {
 public:
  Borrow(nn::Module& module, const DeviceState& state, bool training)
      : module_(module), state_(state), trained_(module.is_training()) {
    for (const Entry& entry : state.entries()) {
      kept_.push_back(*entry.home);
      *entry.home = entry.placeholder;
    }
    module.train(training);
  }
  ~Borrow() {
    for (std::size_t i = 0; i < kept_.size(); ++i) *state_.entries()[i].home = kept_[i];
    module_.train(trained_);
  }
  Borrow(const Borrow&) = delete;
  Borrow& operator=(const Borrow&) = delete;

 private:
  nn::Module& module_;
  const DeviceState& state_;
  bool trained_;
  std::vector<Tensor> kept_;
};

// Correct answers among the targets, as f32.
Tensor count_hits(const Tensor& output, const Tensor& target) {
  return sum((argmax(output, output.rank() == 1 ? 0 : 1) == target.to(DType::i64)).to(DType::f32));
}

}  // namespace

StepTrace trace_step(const StepSource& source, const std::vector<TensorType>& batch, bool training) {
  StepTrace trace;
  const std::vector<Entry>& entries = source.state.entries();
  const Tensor x = client::make_placeholder(batch[0]), y = client::make_placeholder(batch[1]);
  const Tensor rate = client::make_placeholder({DType::f32, {}}), number = client::make_placeholder({DType::i64, {}});
  std::vector<TracedPort> outputs;
  std::vector<Tensor> results(entries.size());  // the new state, undefined where it stays
  {
    const client::TracingScope tracing;
    const Borrow borrow(source.module, source.state, training);
    client::TracedRandom random(entries.back().placeholder);
    const Tensor output = source.loss.wants_logits ? source.module.logits(x) : source.module.forward(x);
    const Tensor loss = source.loss.function(output, y);
    if (loss.elements() != 1) {
      throw Error(Code::invalid_argument, "the loss '" + source.loss.name + "' is " + loss.shape().str(), {},
                  "a loss is one number: reduce it with mean() or sum()");
    }
    outputs.push_back({"loss", loss.reshape({}).to(DType::f32)});
    trace.counts_hits = source.loss.counts_hits;
    if (trace.counts_hits) outputs.push_back({"hits", count_hits(output, y)});
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].kind == Entry::Kind::buffer && entries[i].home->value() != entries[i].placeholder.value())
        results[i] = *entries[i].home;
    }
    if (random.used) results.back() = random.state;
    if (training) {
      std::vector<Tensor> parameters;
      for (std::size_t i = 0; i < source.state.parameters(); ++i) parameters.push_back(entries[i].placeholder);
      const std::vector<Tensor> gradients = client::gradients_where_reached(loss, parameters);
      const std::size_t per_parameter = source.optimizer.state_names().size();
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (!gradients[i].defined()) continue;  // the loss does not depend on it
        const std::size_t first = parameters.size() + i * per_parameter;
        std::vector<Tensor> state;
        for (std::size_t k = 0; k < per_parameter; ++k) state.push_back(entries[first + k].placeholder);
        optim::Optimizer::Update update = source.optimizer.update(parameters[i], gradients[i], state, rate, number);
        results[i] = std::move(update.parameter);
        for (std::size_t k = 0; k < per_parameter; ++k) results[first + k] = std::move(update.state[k]);
      }
    }
  }

  std::vector<TracedPort> inputs{{"input", x}, {"target", y}};
  if (training) {
    inputs.push_back({"learning_rate", rate});
    inputs.push_back({"step", number});
  }
  const std::size_t first_input = inputs.size(), first_output = outputs.size();
  std::vector<Donation> donations;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const bool updated = training && results[i].defined();
    if (!updated && (entry.kind == Entry::Kind::optimizer || entry.kind == Entry::Kind::random)) continue;
    trace.state_inputs.push_back(i);
    inputs.push_back({entry.name, entry.placeholder});
    if (!updated) continue;
    donations.push_back({static_cast<std::uint32_t>(first_input + trace.state_inputs.size() - 1),
                         static_cast<std::uint32_t>(first_output + trace.state_outputs.size())});
    trace.state_outputs.push_back(i);
    outputs.push_back({entry.name, results[i]});
  }
  trace.graph = client::trace_to_graph(inputs, outputs);
  trace.graph.name = training ? "training_step" : "evaluation_step";
  for (const Donation& donation : donations) trace.graph.donate(donation.input, donation.output);
  return trace;
}

}  // namespace ml::train
