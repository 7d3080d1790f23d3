// Building the larger operations of neural networks; build.h holds the rest.
#pragma once

#include "engine/graph/build.h"
#include "engine/graph/ops/windows.h"

namespace ml {

// ops/convolution.cpp. x [N, C, spatial...], weight [O, C / groups, window...], bias [O] or an empty Var; one to three
// spatial dimensions. Floating dtypes.
Var convolution(Var x, Var weight, Var bias, Windows windows, std::int64_t groups = 1);
// dy has the shape of the result; answers [N, C, extents...].
Var convolution_input_gradient(Var dy, Var weight, Windows windows, std::int64_t groups, Ints extents);
// Answers [O, C / groups, extents...].
Var convolution_weight_gradient(Var x, Var dy, Windows windows, std::int64_t groups, Ints extents);

// ops/pooling.cpp. x [N, C, spatial...], one to three spatial dimensions; `size` of the window in each of them. Padding
// is less than what the window covers. Pooling over everything is a reduction.
Var max_pool(Var x, Ints size, Windows windows);  // padding never wins; NaN does
// dx: each window's cotangent goes to its first maximum in row-major order.
Var max_pool_gradient(Var x, Var dy, Ints size, Windows windows);
// For every window the element of `values` (of x's shape) at the place of the first maximum of x.
Var max_pool_select(Var x, Var values, Ints size, Windows windows);
Var average_pool(Var x, Ints size, Windows windows, bool count_padding = false);
// dy [N, C, counts...] -> dx [N, C, extents...].
Var average_pool_gradient(Var dy, Ints size, Windows windows, bool count_padding, Ints extents);

}  // namespace ml
