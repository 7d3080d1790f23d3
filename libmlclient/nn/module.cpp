#include "libmlclient/nn/module.h"

#include <algorithm>
#include <unordered_map>

#include "libmlclient/files/safetensors.h"
#include "ml/grad.h"

namespace ml::nn {

Parameter::Parameter(std::string name, std::shared_ptr<Slot> slot, std::shared_ptr<const Slots> buffers)
    : name_(std::move(name)), slot_(std::move(slot)), buffers_(std::move(buffers)) {}
const std::string& Parameter::name() const { return name_; }
Tensor& Parameter::value() const { return slot_->tensor; }
bool Parameter::trained() const { return slot_->trained; }

Module::Module() : state_(std::make_unique<State>()) {}
Module::~Module() = default;
Module::Module(Module&&) noexcept = default;

Tensor& Module::register_parameter(std::string name, Tensor initial) {
  if (initial.defined()) initial.eval();
  state_->slots.push_back(std::make_shared<Slot>(Slot{std::move(name), std::move(initial), true}));
  return state_->slots.back()->tensor;
}
Tensor& Module::register_buffer(std::string name, Tensor initial) {
  if (initial.defined()) initial.eval();
  state_->slots.push_back(std::make_shared<Slot>(Slot{std::move(name), std::move(initial), false}));
  return state_->slots.back()->tensor;
}
void Module::add_module(std::string name, std::shared_ptr<Module> module) {
  if (!module) throw Error(Code::invalid_argument, "register_module: module '" + name + "' is null");
  state_->modules.emplace_back(std::move(name), std::move(module));
}
const std::vector<std::pair<std::string, std::shared_ptr<Module>>>& Module::modules() const { return state_->modules; }

void Module::State::collect_slots(bool trained, Parameter::Slots& into) const {
  for (const auto& slot : slots) {
    if (slot->trained == trained && slot->tensor.defined()) into.push_back(slot);
  }
  for (const auto& [name, module] : modules) module->state_->collect_slots(trained, into);
}

void Module::State::collect(const std::string& prefix, bool trained,
                            const std::shared_ptr<const Parameter::Slots>& buffers,
                            std::vector<Parameter>& into) const {
  for (const auto& slot : slots) {
    if (slot->trained == trained && slot->tensor.defined()) into.emplace_back(prefix + slot->name, slot, buffers);
  }
  for (const auto& [name, module] : modules) module->state_->collect(prefix + name + ".", trained, buffers, into);
}

std::vector<Parameter> Module::State::all(bool trained) const {
  const auto buffers = std::make_shared<Parameter::Slots>();
  collect_slots(false, *buffers);
  std::vector<Parameter> found;
  collect("", trained, buffers, found);
  return found;
}

std::vector<Parameter> Module::parameters() const { return state_->all(true); }
std::vector<Parameter> Module::buffers() const { return state_->all(false); }

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters()) count += parameter.value().elements();
  return count;
}

void Module::train(bool on) {
  state_->training = on;
  for (const auto& [name, module] : state_->modules) module->train(on);
}
bool Module::is_training() const { return state_->training; }

namespace {

std::vector<Parameter> everything(const Module& module) {
  std::vector<Parameter> slots = module.parameters();
  for (Parameter& buffer : module.buffers()) slots.push_back(std::move(buffer));
  return slots;
}

std::string text(const Tensor& tensor) { return std::string(dtype_name(tensor.dtype())) + tensor.shape().str(); }

}  // namespace

std::vector<NamedTensor> Module::state_dict() const {
  std::vector<NamedTensor> state;
  for (const Parameter& slot : everything(*this)) state.push_back({slot.name(), slot.value()});
  return state;
}

void load_tensors(std::span<const Parameter> slots, std::span<const NamedTensor> state, const std::string& what) {
  std::unordered_map<std::string, const Tensor*> by_name;
  for (const NamedTensor& entry : state) by_name.emplace(entry.name, &entry.tensor);
  std::string wrong;
  const auto complain = [&](const std::string& text) { wrong += (wrong.empty() ? "" : "; ") + text; };
  std::vector<const Tensor*> found;
  for (const Parameter& slot : slots) {
    const auto at = by_name.find(slot.name());
    if (at == by_name.end()) {
      complain("'" + slot.name() + "' is missing");
      continue;
    }
    found.push_back(at->second);
    by_name.erase(at);
    if (found.back()->shape() != slot.value().shape() || found.back()->dtype() != slot.value().dtype())
      complain("'" + slot.name() + "' is " + text(*found.back()) + ", wanted " + text(slot.value()));
  }
  for (const NamedTensor& entry : state) {
    if (by_name.contains(entry.name)) complain("'" + entry.name + "' is unknown");
  }
  if (!wrong.empty()) {
    throw Error(Code::invalid_argument, what + ": " + wrong, {}, "it must come from a module of the same structure");
  }
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i].value() = *found[i];
}

void Module::load_state_dict(std::span<const NamedTensor> state) {
  load_tensors(everything(*this), state, "load_state_dict");
}

void Module::save(const std::string& path) const { files::save_safetensors(path, state_dict()); }

void Module::load(const std::string& path) {
  const files::Safetensors file = files::load_safetensors(path);
  load_tensors(everything(*this), file.tensors, "load '" + path + "'");
}

Sequential::Sequential(std::vector<std::shared_ptr<Module>> modules) {
  for (std::shared_ptr<Module>& module : modules) append(std::move(module));
}

void Sequential::append(std::shared_ptr<Module> module) {
  add_module(std::to_string(modules().size()), std::move(module));
}

Tensor Sequential::run(Tensor x, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    try {
      x = modules()[i].second->forward(x);
    } catch (const Error& error) {
      throw error.within("module " + modules()[i].first);
    }
  }
  return x;
}

Tensor Sequential::forward(const Tensor& x) { return run(x, size()); }

Tensor Sequential::logits(const Tensor& x) {
  if (size() == 0) return x;
  return modules().back().second->logits(run(x, size() - 1));
}

std::vector<NamedTensor> load_safetensors(const std::string& path) { return files::load_safetensors(path).tensors; }
void save_safetensors(const std::string& path, std::span<const NamedTensor> tensors) {
  files::save_safetensors(path, tensors);
}

std::vector<Tensor> grad(const Tensor& loss, std::span<const Parameter> parameters) {
  std::vector<Tensor> tensors;
  for (const Parameter& parameter : parameters) tensors.push_back(parameter.value());
  return ml::grad(loss, tensors);
}

}  // namespace ml::nn
