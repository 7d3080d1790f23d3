// Kernels of f16 and bf16 made of kernels of f32: operands are converted on the way in, results rounded once on the way
// out.
#pragma once

#include <memory>

#include "engine/backends/backend.h"

namespace ml::cpu {

using Compile = std::unique_ptr<Kernel> (*)(const KernelRequest& request, PackCache& packs);
using Refuse = const char* (*)(const KernelRequest& request);

// Null when every f16 or bf16 operand's f32 counterpart (dense, row-major) is taken by `refuse`.
const char* refuse_widened(const KernelRequest& request, Refuse refuse);
std::unique_ptr<Kernel> compile_widened(const KernelRequest& request, PackCache& packs, Compile compile);

template <Refuse refuse>
const char* widened_refusal(const KernelRequest& request) {
  return refuse_widened(request, refuse);
}
template <Compile compile>
std::unique_ptr<Kernel> widened(const KernelRequest& request, PackCache& packs) {
  return compile_widened(request, packs, compile);
}

}  // namespace ml::cpu
