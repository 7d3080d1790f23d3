// Convolutions and their gradients in f32 by oneDNN, of f16 and bf16 through f32.
//
// The batch is cut into parts. Activations that lie channels-last are used where they are; row-major ones are brought
// into oneDNN's own blocked form part by part, which stays in the second-level cache. Weights are brought into it once
// a launch, or once a program when they are constant. Weight gradients are summed over the parts in order.
#include <map>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "engine/backends/cpu/channels_last.h"
#include "engine/backends/cpu/convolution_geometry.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/dnnl_support.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/widened.h"

namespace ml::cpu {
namespace {

using Desc = dnnl::memory::desc;

constexpr double kFlopsPerPart = 2e6;
constexpr std::int64_t kMaxParts = 32;
constexpr std::int64_t kMaxSums = 8;  // parts of a weight gradient: each has weights of its own

// Activations of `batch` images, with their strides written the way oneDNN recognizes them.
Desc activation_desc(const Operand& operand, std::int64_t batch, bool last) {
  std::vector<std::int64_t> dims(operand.type.shape.begin(), operand.type.shape.end());
  dims[0] = batch;
  const Layout layout = last ? channels_last(operand.type.shape) : row_major(operand.type.shape);
  return dense_desc(dims, layout.strides);
}

std::vector<std::int64_t> weight_dims(const Shape& shape, std::int64_t groups) {
  std::vector<std::int64_t> dims(shape.begin(), shape.end());
  if (groups > 1) {
    dims[0] /= groups;
    dims.insert(dims.begin(), groups);
  }
  return dims;
}
Desc weight_desc(const Operand& operand, std::int64_t groups) {
  const std::vector<std::int64_t> dims = weight_dims(operand.type.shape, groups);
  std::vector<std::int64_t> strides(dims.size());
  std::int64_t stride = 1;
  for (std::size_t d = dims.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= dims[d];
  }
  return dense_desc(dims, strides);
}

// A primitive for one size of part, and the forms that it wants its operands in.
struct Primitive {
  dnnl::primitive primitive;
  Desc x, w, y, bias, pad;                              // as the primitive wants them
  Desc x_given, w_given, y_given;                       // as they lie
  std::size_t x_bytes = 0, y_bytes = 0, pad_bytes = 0;  // of scratch, 0 where nothing is reordered
};

class Builder {
 public:
  explicit Builder(const ConvolutionRequest& request) : r_(request) {
    const auto dims = [](const Ints& values) { return dnnl::memory::dims(values.begin(), values.end()); };
    strides_ = dims(r_.windows.strides);
    low_ = dims(r_.windows.pad_low);
    high_ = dims(r_.windows.pad_high);
    for (const std::int64_t dilation : r_.windows.dilations) dilations_.push_back(dilation - 1);
    // With one channel both forms are the same bytes; then the other operand decides.
    const bool x_last = lies_as(*r_.x, channels_last(r_.x->type.shape));
    const bool y_last = lies_as(*r_.y, channels_last(r_.y->type.shape));
    last_ = x_last && y_last;
  }

  Primitive make(std::int64_t batch, const std::optional<Desc>& weights) const {
    Primitive p;
    p.x_given = activation_desc(*r_.x, batch, last_);
    p.y_given = activation_desc(*r_.y, batch, last_);
    p.w_given = weight_desc(*r_.w, r_.groups);
    const Desc x = last_ ? p.x_given : any_of(p.x_given);
    const Desc y = last_ ? p.y_given : any_of(p.y_given);
    const Desc w = weights ? *weights : any_of(p.w_given);
    switch (r_.direction) {
      case Direction::forward: make_forward(p, x, w, y); break;
      case Direction::input_gradient: make_input_gradient(p, x, w, y); break;
      case Direction::weight_gradient: make_weight_gradient(p, x, w, y); break;
    }
    if (p.x != p.x_given) p.x_bytes = aligned_size(p.x.get_size());
    if (p.y != p.y_given) p.y_bytes = aligned_size(p.y.get_size());
    p.pad_bytes = aligned_size(p.pad.get_size());
    return p;
  }

 private:
  static Desc any_of(const Desc& desc) { return any_desc(desc.dims()); }

  dnnl::convolution_forward::primitive_desc forward(const Desc& x, const Desc& w, const Desc& y, const Desc& bias,
                                                    bool scratchpad) const {
    const auto kind = dnnl::prop_kind::forward_training;
    const auto algorithm = dnnl::algorithm::convolution_direct;
    const dnnl::primitive_attr attributes = scratchpad ? user_scratchpad() : dnnl::primitive_attr();
    if (bias.dims().empty()) {
      return {{kind, algorithm, x, w, y, strides_, dilations_, low_, high_}, attributes, dnnl_engine()};
    }
    return {{kind, algorithm, x, w, bias, y, strides_, dilations_, low_, high_}, attributes, dnnl_engine()};
  }

  void make_forward(Primitive& p, const Desc& x, const Desc& w, const Desc& y) const {
    if (r_.bias != nullptr) p.bias = dense_desc(std::array{r_.bias->type.shape[0]}, std::array{std::int64_t{1}});
    const auto pd = forward(x, w, y, p.bias, true);
    p.primitive = dnnl::convolution_forward(pd);
    p.x = pd.src_desc();
    p.w = pd.weights_desc();
    p.y = pd.dst_desc();
    p.pad = pd.scratchpad_desc();
  }

  void make_input_gradient(Primitive& p, const Desc& x, const Desc& w, const Desc& y) const {
    const auto hint = forward(x, w, y, {}, false);
    const dnnl::convolution_backward_data::primitive_desc pd(
        {dnnl::algorithm::convolution_direct, x, w, y, strides_, dilations_, low_, high_}, user_scratchpad(),
        dnnl_engine(), hint);
    p.primitive = dnnl::convolution_backward_data(pd);
    p.x = pd.diff_src_desc();
    p.w = pd.weights_desc();
    p.y = pd.diff_dst_desc();
    p.pad = pd.scratchpad_desc();
  }

  void make_weight_gradient(Primitive& p, const Desc& x, const Desc& w, const Desc& y) const {
    const auto hint = forward(x, w, y, {}, false);
    const dnnl::convolution_backward_weights::primitive_desc pd(
        {dnnl::algorithm::convolution_direct, x, w, y, strides_, dilations_, low_, high_}, user_scratchpad(),
        dnnl_engine(), hint);
    p.primitive = dnnl::convolution_backward_weights(pd);
    p.x = pd.src_desc();
    p.w = pd.diff_weights_desc();
    p.y = pd.diff_dst_desc();
    p.pad = pd.scratchpad_desc();
  }

  const ConvolutionRequest& r_;
  dnnl::memory::dims strides_, dilations_, low_, high_;
  bool last_ = false;
};

class Convolution final : public Kernel {
 public:
  Convolution(const KernelRequest& node, PackCache& packs) {
    const ConvolutionRequest request(node);
    direction_ = request.direction;
    batch_ = request.x->type.shape[0];
    x_image_ = image_bytes(*request.x);
    y_image_ = image_bytes(*request.y);
    weight_elements_ = request.w->type.shape.elements();
    const bool sums = direction_ == Direction::weight_gradient;
    parts_ = part_count(request.flops(), kFlopsPerPart, std::min(batch_, sums ? kMaxSums : kMaxParts));

    const SingleThread single;
    const Builder builder(request);
    std::optional<Desc> weights;
    for (std::int64_t part = 0; part < parts_; ++part) {
      const std::int64_t size = range_of(batch_, parts_, part).size();
      if (primitives_.contains(size)) continue;
      const Primitive primitive = builder.make(size, weights);
      weights = primitive.w;  // one form for all parts
      x_bytes_ = std::max(x_bytes_, primitive.x_bytes);
      y_bytes_ = std::max(y_bytes_, primitive.y_bytes);
      pad_bytes_ = std::max(pad_bytes_, primitive.pad_bytes);
      primitives_.emplace(size, primitive);
    }
    w_given_ = primitives_.begin()->second.w_given;
    w_ = *weights;
    w_bytes_ = w_ == w_given_ && !sums ? 0 : aligned_size(w_.get_size());
    if (!sums && w_bytes_ > 0 && request.w->constant != nullptr) {
      packed_ = pack(*request.w->constant, packs);
      w_bytes_ = 0;
    }
  }

  ConstantUse constant_use(std::size_t input) const override {
    return input == 1 && packed_ ? ConstantUse::packed : ConstantUse::aligned;
  }
  std::size_t scratch_bytes() const override {
    const auto parts = static_cast<std::size_t>(parts_);
    const std::size_t weights = direction_ == Direction::weight_gradient ? w_bytes_ * parts : w_bytes_;
    return weights + parts * (x_bytes_ + y_bytes_ + pad_bytes_);
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    ThreadPool& pool = cpu_stream(stream).pool();
    std::byte* const memory = data_of(scratch);
    switch (direction_) {
      case Direction::forward: {
        const Launch launch{data_of(inputs[0]), ready_weights(inputs[1], memory), data_of(outputs[0]),
                            inputs.size() == 3 ? data_of(inputs[2]) : nullptr, memory + w_bytes_};
        pool.parallel_for(parts_, [&](std::int64_t part) { forward(launch, part); });
        return;
      }
      case Direction::input_gradient: {
        const Launch launch{data_of(outputs[0]), ready_weights(inputs[1], memory), data_of(inputs[0]), nullptr,
                            memory + w_bytes_};
        pool.parallel_for(parts_, [&](std::int64_t part) { input_gradient(launch, part); });
        return;
      }
      case Direction::weight_gradient: break;
    }
    const Launch launch{data_of(inputs[0]), memory, data_of(inputs[1]), nullptr,
                        memory + w_bytes_ * static_cast<std::size_t>(parts_)};
    pool.parallel_for(parts_, [&](std::int64_t part) { weight_gradient(launch, part); });
    sum_weights(memory, outputs[0]);
  }

 private:
  struct Launch {
    std::byte* x;
    std::byte* w;
    std::byte* y;
    std::byte* bias;
    std::byte* scratch;  // of the parts
  };

  static std::size_t image_bytes(const Operand& operand) {
    const Shape& shape = operand.type.shape;
    return static_cast<std::size_t>(shape.elements() / shape[0]) * sizeof(float);
  }

  std::shared_ptr<const Buffer> pack(const ConstantData& constant, PackCache& packs) const {
    // The blocked form has no name of its own; the size of the batch is the only thing that may change it here.
    const std::string format =
        "dnnl_convolution " + dnnl_fingerprint() + " direction=" + std::to_string(static_cast<int>(direction_)) +
        " part=" + std::to_string(primitives_.begin()->first) + " x=" + std::to_string(x_image_) +
        " y=" + std::to_string(y_image_) + " reordered=" + std::to_string(x_bytes_);
    return packs.get(constant, format, [&] {
      auto buffer = std::make_shared<CpuBuffer>(w_.get_size());
      const auto bytes = constant.bytes();
      CpuBuffer aligned(bytes.size());
      std::copy(bytes.begin(), bytes.end(), aligned.data());
      reorder(w_given_, aligned.data(), w_, buffer->data());
      return buffer;
    });
  }

  std::byte* ready_weights(const BufferSpan& given, std::byte* scratch) const {
    if (packed_) return static_cast<const CpuBuffer&>(*packed_).data();
    if (w_bytes_ == 0) return data_of(given);
    reorder(w_given_, data_of(given), w_, scratch);
    return scratch;
  }

  // A part's images and its share of the scratch.
  struct Part {
    const Primitive* primitive;
    std::byte* x;
    std::byte* y;
    std::byte* x_scratch;
    std::byte* y_scratch;
    std::byte* pad;
  };
  Part part_of(const Launch& launch, std::int64_t index) const {
    const Range range = range_of(batch_, parts_, index);
    std::byte* const scratch = launch.scratch + static_cast<std::size_t>(index) * (x_bytes_ + y_bytes_ + pad_bytes_);
    return {&primitives_.at(range.size()),
            launch.x + static_cast<std::size_t>(range.begin) * x_image_,
            launch.y + static_cast<std::size_t>(range.begin) * y_image_,
            scratch,
            scratch + x_bytes_,
            scratch + x_bytes_ + y_bytes_};
  }
  static std::byte* brought_in(const Desc& given, const Desc& wanted, std::byte* at, std::byte* scratch) {
    if (given == wanted) return at;
    reorder(given, at, wanted, scratch);
    return scratch;
  }

  void forward(const Launch& launch, std::int64_t index) const {
    const Part part = part_of(launch, index);
    const Primitive& p = *part.primitive;
    std::byte* const x = brought_in(p.x_given, p.x, part.x, part.x_scratch);
    std::byte* const y = p.y == p.y_given ? part.y : part.y_scratch;
    std::vector<DnnlArgument> arguments = {{DNNL_ARG_SRC, p.x, x},
                                           {DNNL_ARG_WEIGHTS, p.w, launch.w},
                                           {DNNL_ARG_DST, p.y, y},
                                           {DNNL_ARG_SCRATCHPAD, p.pad, part.pad}};
    if (launch.bias != nullptr) arguments.push_back({DNNL_ARG_BIAS, p.bias, launch.bias});
    execute(p.primitive, arguments);
    if (y != part.y) reorder(p.y, y, p.y_given, part.y);
  }

  void input_gradient(const Launch& launch, std::int64_t index) const {
    const Part part = part_of(launch, index);
    const Primitive& p = *part.primitive;
    std::byte* const y = brought_in(p.y_given, p.y, part.y, part.y_scratch);
    std::byte* const x = p.x == p.x_given ? part.x : part.x_scratch;
    const DnnlArgument arguments[] = {{DNNL_ARG_DIFF_SRC, p.x, x},
                                      {DNNL_ARG_WEIGHTS, p.w, launch.w},
                                      {DNNL_ARG_DIFF_DST, p.y, y},
                                      {DNNL_ARG_SCRATCHPAD, p.pad, part.pad}};
    execute(p.primitive, arguments);
    if (x != part.x) reorder(p.x, x, p.x_given, part.x);
  }

  void weight_gradient(const Launch& launch, std::int64_t index) const {
    const Part part = part_of(launch, index);
    const Primitive& p = *part.primitive;
    const DnnlArgument arguments[] = {
        {DNNL_ARG_SRC, p.x, brought_in(p.x_given, p.x, part.x, part.x_scratch)},
        {DNNL_ARG_DIFF_WEIGHTS, p.w, launch.w + static_cast<std::size_t>(index) * w_bytes_},
        {DNNL_ARG_DIFF_DST, p.y, brought_in(p.y_given, p.y, part.y, part.y_scratch)},
        {DNNL_ARG_SCRATCHPAD, p.pad, part.pad}};
    execute(p.primitive, arguments);
  }

  // Adds the parts' weights in order and brings them into their own form.
  void sum_weights(std::byte* parts, const BufferSpan& output) const {
    auto* const sum = reinterpret_cast<float*>(parts);
    const std::size_t count = w_.get_size() / sizeof(float);
    for (std::int64_t part = 1; part < parts_; ++part) {
      const auto* const add = reinterpret_cast<const float*>(parts + static_cast<std::size_t>(part) * w_bytes_);
      for (std::size_t i = 0; i < count; ++i) sum[i] += add[i];
    }
    reorder(w_, sum, w_given_, data_of(output));
  }

  Direction direction_;
  std::int64_t batch_ = 0, parts_ = 1, weight_elements_ = 0;
  std::size_t x_image_ = 0, y_image_ = 0;         // bytes of one image
  std::map<std::int64_t, Primitive> primitives_;  // by images in a part
  Desc w_given_, w_;
  std::size_t w_bytes_ = 0, x_bytes_ = 0, y_bytes_ = 0, pad_bytes_ = 0;
  std::shared_ptr<const Buffer> packed_;
};

const char* refuse(const KernelRequest& node) {
  if (node.outputs[0].type.dtype != DType::f32) return refusal::kDType;
  const ConvolutionRequest request(node);
  if (request.empty()) return refusal::kSize;
  if (!lies_as(*request.w, row_major(request.w->type.shape))) return refusal::kLayout;
  const bool last = lies_as(*request.x, channels_last(request.x->type.shape)) &&
                    lies_as(*request.y, channels_last(request.y->type.shape));
  const bool first =
      lies_as(*request.x, row_major(request.x->type.shape)) && lies_as(*request.y, row_major(request.y->type.shape));
  return last || first ? nullptr : refusal::kLayout;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache& packs) {
  return std::make_unique<Convolution>(request, packs);
}

constexpr Implementation row(const char* op) {
  return {.op = op, .kernel = "dnnl_convolution", .refuse = refuse, .compile = compile, .prefer = prefer_channels_last};
}
constexpr Implementation widened_row(const char* op) {
  return {
      .op = op, .kernel = "dnnl_convolution_widened", .refuse = widened_refusal<refuse>, .compile = widened<compile>};
}

constexpr Implementation kTable[] = {
    row("convolution"),         row("convolution_input_gradient"),         row("convolution_weight_gradient"),
    widened_row("convolution"), widened_row("convolution_input_gradient"), widened_row("convolution_weight_gradient"),
};

}  // namespace

std::span<const Implementation> dnnl_convolution_implementations() { return kTable; }

}  // namespace ml::cpu
