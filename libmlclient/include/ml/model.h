// Models in files: a graph with its weights, ready to run without the code that made it.
//
//   ml::Model model = ml::Model::trace(net, {{"image", ml::DType::f32, {-1, 1, 28, 28}}});
//   model.save("fashion.mlmodel");
//   ...
//   ml::Tensor probabilities = ml::Model::load("fashion.mlmodel").run({images})[0];
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ml/nn.h"
#include "ml/tensor.h"

namespace ml {

// An extent of -1 is only known when the model runs; `symbols` may name it (equal names: equal extents). Unnamed ones
// at axis 0 are all called "batch".
struct ModelPort {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<std::string> symbols = {};
};

// A model made ready for inputs of fixed shapes: write to input(i), run(), read from output(i). For serving: run()
// neither allocates nor calls the system while the worker is awake. One thread at a time.
class ML_API PreparedRun {
 public:
  ~PreparedRun();
  PreparedRun(PreparedRun&&) noexcept;
  PreparedRun& operator=(PreparedRun&&) noexcept;

  // Dense row-major elements; the memory stays where it is.
  std::span<std::byte> input(std::size_t i) const;
  std::span<const std::byte> output(std::size_t i) const;
  const Shape& output_shape(std::size_t i) const;
  // Computes the outputs from the inputs and waits. When the device is lost meanwhile it throws device_lost, and the
  // next run() is on the device that has come back.
  void run();
  // The same in two parts: start(), then wait(). done() looks, without waiting, whether wait() would come back at once.
  void start();
  bool done() const;
  void wait();

 private:
  friend class Model;
  struct State;
  explicit PreparedRun(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A handle; copies are the same model. May be run from several threads at once.
class ML_API Model {
 public:
  // Records module.forward() in eval mode; parameters become the model's weights.
  static Model trace(nn::Module& module, std::vector<ModelPort> inputs, std::vector<std::string> output_names = {});
  // The same for a function of several tensors.
  static Model trace(const std::function<std::vector<Tensor>(std::span<const Tensor>)>& function,
                     std::vector<ModelPort> inputs, std::vector<std::string> output_names = {});

  // Maps the file; weights are read when they are needed, so it must stay as it is while the model lives (save() and
  // save_onnx() put another in its place, which is safe). Throws not_found, corrupt (naming the offset) or unsupported.
  static Model load(const std::string& path);
  // Written beside `path`, synced and renamed.
  void save(const std::string& path) const;

  // A model of the daemon's registry: "name" (its newest version), "name:version", "name@alias", and "owner/name..."
  // for what others share. Loaded once, however many use it; this one stays the version that it was opened as. Throws
  // not_found, and unsupported in a session without a daemon.
  static Model open(const std::string& reference);
  // Registers it there as the next version of `name`, for its owner or (`shared`) for everybody. Answers the version
  // once it is on disk and known to run.
  std::uint64_t publish(const std::string& name, bool shared = false) const;

  const std::vector<ModelPort>& inputs() const;
  const std::vector<ModelPort>& outputs() const;

  // Runs it; inputs in the order of inputs(). Throws invalid_argument naming the input whose dtype or shape does not
  // fit. Compiled once, and planned once per combination of shapes.
  std::vector<Tensor> run(std::span<const Tensor> inputs) const;
  std::vector<Tensor> run(std::initializer_list<Tensor> inputs) const;
  // By name.
  std::vector<Tensor> run(std::span<const nn::NamedTensor> inputs) const;
  // Plans it for inputs of these shapes and runs it once on zeros.
  PreparedRun prepare(std::span<const Shape> input_shapes) const;

  struct Data;
  explicit Model(std::shared_ptr<Data> data) : data_(std::move(data)) {}
  const std::shared_ptr<Data>& data() const { return data_; }

 private:
  std::shared_ptr<Data> data_;
};

// What the caller knows of an ONNX model's input that the file leaves open, or a value that makes it a constant, which
// the loaded model has no input for.
struct OnnxInput {
  bool present = true;        // whether an optional holds something
  std::vector<Shape> shapes;  // of a tensor without a rank: one; of a sequence: that of each element; -1: any extent
  Tensor value;               // of the input's dtype and shape; then neither of the above is said
};
struct OnnxOptions {
  // By the input's name in the file. An element of the sequence `s` is the loaded model's input `s.0`, `s.1`, ...
  std::map<std::string, OnnxInput> inputs;
  // Paths of ONNX files, mapped too, whose functions (FunctionProto) say what nodes of domains other than ONNX's mean.
  // A function of the model's own goes first; two files may not have the same one.
  std::vector<std::string> functions;
};

// ONNX files, mapped as by Model::load(). Throws unsupported naming every operator that is not, or an input of which
// something has to be said; corrupt for a damaged file; not_found where there is none; invalid_argument for options
// that do not fit, naming the input (and those there are) or the function. docs/onnx.md says what is read.
ML_API Model load_onnx(const std::string& path, const OnnxOptions& options = {});
ML_API void save_onnx(const Model& model, const std::string& path);

}  // namespace ml
