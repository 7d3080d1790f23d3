// What is done to each element of a convolution's or product's result before it goes to memory: a request for it, and
// how it runs.
//
// Bias, residual, clamp (relu is one) and the functions of few instructions happen before sums leave the first-level
// cache. Others (GELU, tanh, ...) stay loop programs behind the kernel.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/panel.h"

namespace ml::cpu {

// A request for a convolution or product, by itself or with an epilogue.
class ContractionRequest {
 public:
  explicit ContractionRequest(const KernelRequest& request);

  // The contraction alone, on its own operands.
  const KernelRequest& contraction() const { return contraction_; }
  // Null when `op` is what it is and its epilogue, if there is one, can be run; otherwise a phrase.
  const char* refuse(std::string_view op) const;

  static constexpr std::size_t kNone = ~std::size_t{0};
  // Inputs of the whole request.
  std::size_t bias = kNone;      // one float for each column
  std::size_t residual = kNone;  // of the result's shape and layout, added to the sums
  bool residual_last = false;
  bool clamps = false;
  float low = 0, high = 0;
  Function function = Function::none;
  // Whether the result may take the residual's place, when every element is read just before it is written once.
  bool may_overwrite(std::size_t input) const { return input == residual && !is_operand(input); }

 private:
  static KernelRequest contraction_of(const KernelRequest& request);
  void read_body(const Graph& body);
  bool read_node(const Graph& body, const Node& node, ValueId value);
  bool read_function(std::string_view op);
  bool read_clamp(const Graph& body, const Node& node, ValueId other);
  // Which input of the body `value` is, kNone when it is none.
  static std::size_t input_of(const Graph& body, ValueId value);
  bool is_operand(std::size_t input) const { return input < contraction_.inputs.size(); }
  bool is_column(std::size_t input) const;
  bool is_whole(std::size_t input) const;

  const KernelRequest& request_;
  KernelRequest contraction_;
  const char* refused_ = nullptr;
};

// The part of a request that a kernel keeps, and what it is on the operands of one launch.
struct KeptEpilogue {
  std::size_t bias, residual;
  bool residual_last, clamps;
  float low, high;
  Function function;

  explicit KeptEpilogue(const ContractionRequest& request)
      : bias(request.bias),
        residual(request.residual),
        residual_last(request.residual_last),
        clamps(request.clamps),
        low(request.low),
        high(request.high),
        function(request.function) {}

  struct Launch {
    const float* bias = nullptr;
    const float* residual = nullptr;
    const float* y = nullptr;
    Epilogue epilogue;
  };
  Launch launch(Spans inputs, Spans outputs) const;
};

// The epilogue of some rows of a result, `out`, null where there is none.
class RowsEpilogue {
 public:
  static constexpr std::int64_t kMost = 16;
  RowsEpilogue(const KeptEpilogue::Launch& launch, float* const* out, std::int64_t count, std::int64_t column)
      : epilogue_(launch.epilogue) {
    if (launch.bias != nullptr) epilogue_.bias = launch.bias + column;
    if (launch.residual != nullptr) epilogue_.residual = beside(launch.residual, launch.y, out, count, residual_);
  }
  RowsEpilogue(const RowsEpilogue&) = delete;
  RowsEpilogue& operator=(const RowsEpilogue&) = delete;

  const Epilogue& get() const { return epilogue_; }

 private:
  static const float* const* beside(const float* base, const float* y, float* const* out, std::int64_t count,
                                    const float** rows) {
    for (std::int64_t i = 0; i < count; ++i) rows[i] = out[i] == nullptr ? nullptr : base + (out[i] - y);
    return rows;
  }
  const float* residual_[kMost];
  Epilogue epilogue_;
};

// For a convolution with or without epilogue: activations channels-last, everything else as it comes.
void prefer_contraction(const KernelRequest& request, std::vector<Layout>& inputs, std::vector<Layout>& outputs);

}  // namespace ml::cpu
