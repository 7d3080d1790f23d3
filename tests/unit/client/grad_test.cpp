#include "ml/grad.h"

#include <gtest/gtest.h>

#include "ml/ops.h"
#include "tests/unit/client/expected.h"

namespace ml {
namespace {

using Doubles = std::vector<double>;

TEST(Grad, IsTheDerivative) {
  const Tensor x = from_data<double>({-1, 0.5, 2}, {3});
  const Tensor loss = sum(x * x * x);
  EXPECT_EQ(grad(loss, x).to_vector<double>(), (Doubles{3, 0.75, 12}));
}

TEST(Grad, OfAGradientIsTheSecondDerivative) {
  const Tensor x = from_data<double>({-1, 0.5, 2}, {3});
  const Tensor first = grad(sum(x * x * x), x);
  const Tensor second = grad(sum(first), x);
  const Tensor third = grad(sum(second), x);
  EXPECT_EQ(second.to_vector<double>(), (Doubles{-6, 3, 12}));
  EXPECT_EQ(third.to_vector<double>(), (Doubles{6, 6, 6}));
}

TEST(Grad, SumsOverWhatWasBroadcast) {
  const Tensor x = ones({2, 3}, DType::f64), b = ones({3}, DType::f64);
  const std::vector<Tensor> both = grad(sum(x * b * 2), {x, b});
  EXPECT_EQ(both[0].to_vector<double>(), Doubles(6, 2));
  EXPECT_EQ(both[1].to_vector<double>(), Doubles(3, 4));
}

TEST(Grad, ReachesValuesInTheMiddle) {
  const Tensor x = tensor(3.0, DType::f64);
  const Tensor y = x * x;
  EXPECT_EQ(grad(y * y, y).item<double>(), 18);
}

TEST(Grad, StopsAtDetach) {
  const Tensor x = tensor(3.0, DType::f64);
  EXPECT_EQ(grad(x * x.detach(), x).item<double>(), 3);
  EXPECT_EQ(x.detach().item<double>(), 3);
}

TEST(Grad, WithItsValue) {
  const Tensor at[] = {tensor(2.0, DType::f64), tensor(5.0, DType::f64)};
  const ValueAndGradients result = value_and_grad([](std::span<const Tensor> t) { return t[0] * t[0] * t[1]; }, at);
  EXPECT_EQ(result.value.item<double>(), 20);
  EXPECT_EQ(result.gradients[0].item<double>(), 20);
  EXPECT_EQ(result.gradients[1].item<double>(), 4);
}

TEST(Grad, SaysWhatItCannotDo) {
  const Tensor x = ones({2, 3}), unused = ones({4});
  EXPECT_NE(message_of([&] { grad(x * 2, x); }).find("the loss must be one floating element, it is f32[2, 3]"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              grad(sum(x), {x, unused});
            }).find("the loss does not depend on tensor 1 ([4])"),
            std::string::npos);
  const Tensor loss = sum(x);
  loss.eval();
  EXPECT_NE(message_of([&] { grad(loss, x); }).find("take gradients before eval()"), std::string::npos);
  EXPECT_NE(message_of([&] {
              grad(sum(x), tensor({1, 2}));
            }).find("a tensor of i32 has no gradient"),
            std::string::npos);
}

TEST(Grad, OfASecondEvaluationCompilesNothing) {
  const auto step = [](double at) {
    const Tensor x = tensor(at, DType::f64);
    return grad(exp(x) * x, x).item<double>();
  };
  EXPECT_NEAR(step(0), 1, 1e-12);
  EXPECT_NEAR(step(1), 2 * std::exp(1), 1e-12);
}

}  // namespace
}  // namespace ml
