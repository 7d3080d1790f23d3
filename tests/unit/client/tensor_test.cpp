// Recording, evaluating, promotion, broadcasting, errors.
#include "ml/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>
#include <type_traits>

#include "ml/grad.h"
#include "ml/ops.h"
#include "ml/random.h"
#include "ml/session.h"
#include "tests/unit/client/expected.h"

namespace ml {
namespace {

using Floats = std::vector<float>;

TEST(Tensor, ReadsBackWhatItWasGiven) {
  const Tensor x = from_data<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  EXPECT_EQ(x.shape(), (Shape{2, 3}));
  EXPECT_EQ(x.to_vector<float>(), (Floats{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(x.to_vector<std::int32_t>(), (std::vector<std::int32_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(tensor(2.5).item<double>(), 2.5);
  EXPECT_EQ(tensor(true).item<bool>(), true);
}

TEST(Tensor, ComputesWhenSomebodyLooks) {
  const Tensor x = from_data<float>({1, 2, 3}, {3});
  const Tensor y = x * 2 + 1;
  EXPECT_FALSE(y.evaluated());
  EXPECT_EQ(y.to_vector<float>(), (Floats{3, 5, 7}));
  EXPECT_TRUE(y.evaluated());
}

TEST(Tensor, BroadcastsLikeNumPy) {
  struct Case {
    Shape a, b, result;
  };
  const Case cases[] = {{{2, 3}, {3}, {2, 3}},          {{2, 1}, {1, 3}, {2, 3}}, {{}, {4}, {4}},
                        {{5, 1, 2}, {3, 1}, {5, 3, 2}}, {{0, 3}, {1, 3}, {0, 3}}, {{1}, {}, {1}}};
  for (const Case& c : cases) {
    const Tensor sum = ones(c.a) + ones(c.b);
    EXPECT_EQ(sum.shape(), c.result);
    EXPECT_EQ(sum.to_vector<float>(), Floats(static_cast<std::size_t>(c.result.elements()), 2.0F));
  }
}

TEST(Tensor, DtypesMeetInTheNarrowestThatHoldsBoth) {
  struct Case {
    DType a, b, result;
  };
  const Case cases[] = {
      {DType::f32, DType::f64, DType::f64},     {DType::f16, DType::bf16, DType::f32},
      {DType::f16, DType::i64, DType::f16},     {DType::u8, DType::i8, DType::i16},
      {DType::u16, DType::i8, DType::i32},      {DType::u32, DType::i32, DType::i64},
      {DType::u8, DType::i32, DType::i32},      {DType::boolean, DType::u8, DType::u8},
      {DType::i32, DType::i32, DType::i32},     {DType::u8, DType::u64, DType::u64},
      {DType::boolean, DType::f32, DType::f32},
  };
  for (const Case& c : cases) {
    EXPECT_EQ((ones({2}, c.a) + ones({2}, c.b)).dtype(), c.result) << dtype_name(c.a) << " " << dtype_name(c.b);
    EXPECT_EQ((ones({2}, c.b) * ones({2}, c.a)).dtype(), c.result) << dtype_name(c.b) << " " << dtype_name(c.a);
  }
  EXPECT_NE(message_of([] { ones({1}, DType::u64) + ones({1}, DType::i8); }).find("no dtype holds both"),
            std::string::npos);
}

TEST(Tensor, NarrowDtypesAreStoredAndConverted) {
  const Tensor x = from_data<float>({-1000, -1.5, 0.3F, 3, 500}, {5});
  EXPECT_EQ(x.to(DType::f8e4m3fn).to(DType::f32).to_vector<float>()[2], 0.3125F);
  EXPECT_EQ(x.to(DType::i4).to_vector<int>(), (std::vector<int>{-8, -1, 0, 3, 7}));
  EXPECT_EQ(x.to(DType::f4e2m1).to_vector<float>(), (Floats{-6, -1.5, 0.5, 3, 6}));
  EXPECT_EQ(from_data<float>({1, 2}, {2}).to(DType::f8e5m2).str(), "tensor([1., 2.], f8e5m2[2])");
  EXPECT_NE(message_of([&] { x.to(DType::u4) + x.to(DType::u4); }).find("wants a numeric dtype, got u4[5]"),
            std::string::npos);
  EXPECT_NE(message_of([&] { x.to(DType::u4) * x; }).find("u4 and f32 do not meet"), std::string::npos);
}

TEST(Tensor, ScalarsTakeTheTensorsDtypeUnlessTheirKindIsHigher) {
  EXPECT_EQ((ones({2}, DType::f16) * 2.5).dtype(), DType::f16);
  EXPECT_EQ((ones({2}, DType::i8) + 1).dtype(), DType::i8);
  EXPECT_EQ((ones({2}, DType::i8) * 0.5).dtype(), DType::f32);
  EXPECT_EQ((ones({2}, DType::boolean) + 1).dtype(), DType::i64);
  EXPECT_EQ((ones({2}, DType::i32) / 2).dtype(), DType::f32);
  EXPECT_EQ(exp(ones({2}, DType::i32)).dtype(), DType::f32);
  EXPECT_EQ((1 - tensor({1, 2, 3})).to_vector<int>(), (std::vector<int>{0, -1, -2}));
}

TEST(Tensor, ErrorsNameTheOperationAndTheShapes) {
  const Tensor a = ones({2, 3}), b = ones({4, 5});
  EXPECT_NE(message_of([&] { matmul(a, b); }).find("matmul: inner dimensions differ: [2, 3] x [4, 5]"),
            std::string::npos)
      << message_of([&] { matmul(a, b); });
  const std::string add_error = message_of([&] { a + b; });
  EXPECT_NE(add_error.find("add"), std::string::npos);
  EXPECT_NE(add_error.find("[2, 3]"), std::string::npos);
  EXPECT_NE(add_error.find("[4, 5]"), std::string::npos);
  EXPECT_NE(message_of([&] { a.item<float>(); }).find("[2, 3] is not one element"), std::string::npos);
  EXPECT_NE(message_of([] { Tensor().shape(); }).find("undefined"), std::string::npos);
  EXPECT_NE(message_of([&] { a.reshape({4, 2}); }).find("[4, 2]"), std::string::npos);
  EXPECT_NE(message_of([] {
              from_data<float>({1, 2}, {3});
            }).find("f32[3] has 3 elements, the data 2"),
            std::string::npos);
}

TEST(Tensor, SlicesAndIndexes) {
  const Tensor x = arange(12).reshape({3, 4});
  EXPECT_EQ(x[1].to_vector<int>(), (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(x[-1][2].item<int>(), 10);
  EXPECT_EQ(x.slice(1, 0, 4, 2).to_vector<int>(), (std::vector<int>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(x.slice(0, -1, 99).to_vector<int>(), (std::vector<int>{8, 9, 10, 11}));
  EXPECT_EQ(take(x, tensor({2, 0}), 0).to_vector<int>(), (std::vector<int>{8, 9, 10, 11, 0, 1, 2, 3}));
  EXPECT_EQ(x.t().to_vector<int>(), (std::vector<int>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  const auto [values, indices] = topk(tensor({3, 9, 4, 7}), 2);
  EXPECT_EQ(values.to_vector<int>(), (std::vector<int>{9, 7}));
  EXPECT_EQ(indices.to_vector<int>(), (std::vector<int>{1, 3}));
}

TEST(Tensor, AnIndexOutsideMakesEvaluationThrow) {
  const Tensor x = take(arange(3), tensor({0, 7}), 0);
  try {
    x.eval();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::out_of_range) << error.what();
  }
}

// What a program is made of when an expression reads a lot: every number is an input of it.
TEST(Tensor, AnExpressionOfTooManyInputsIsToldToBeSplit) {
  std::vector<Tensor> level;
  for (int i = 0; i < 20000; ++i) level.push_back(tensor(1.0F));
  while (level.size() > 1) {
    std::vector<Tensor> next;
    for (std::size_t i = 0; i < level.size(); i += 2)
      next.push_back(i + 1 < level.size() ? level[i] + level[i + 1] : level[i]);
    level = std::move(next);
  }
  EXPECT_NE(message_of([&] { level.front().eval(); }).find("20001 inputs and results"), std::string::npos)
      << message_of([&] { level.front().eval(); });
}

TEST(Tensor, UnsignedNumbersStayPositive) {
  const std::uint64_t large = std::uint64_t{1} << 63;
  EXPECT_EQ(tensor(large, DType::f64).item<double>(), 0x1p63);
  EXPECT_EQ(tensor(large, DType::u64).item<std::uint64_t>(), large);
}

TEST(Tensor, IsNoCondition) {
  static_assert(!std::is_constructible_v<bool, Tensor>, "if (loss < best) would always hold");
}

TEST(Tensor, LargerThanTheMachineIsRefusedAtOnce) {
  const Tensor x = ones({std::int64_t{1} << 45});
  EXPECT_EQ(code_of([&] { x.eval(); }), Code::out_of_memory);
}

TEST(Tensor, OperationsOnUndefinedOnesThrow) {
  const Tensor none, x = ones({2});
  const std::function<Tensor()> uses[] = {
      [&] { return max(none); },
      [&] { return permute(none, {0}); },
      [&] { return take(x, none); },
      [&] { return cumsum(none, 0); },
      [&] { return argmax(none); },
      [&] { return sort(none).first; },
      [&] { return pad(none, {1}, {1}); },
      [&] { return layer_norm(x, x, none); },
      [&] { return scatter_add(x, tensor({0}), none, 0); },
      [&] {
        return cross_entropy(ones({2, 3}), none);
      },
  };
  for (const std::function<Tensor()>& use : uses) EXPECT_EQ(code_of(use), Code::invalid_argument);
}

TEST(Tensor, RangesWithoutAnEndAreRefused) {
  EXPECT_EQ(arange(5, 0, -2).to_vector<int>(), (std::vector<int>{5, 3, 1}));
  for (const double end : {double{INFINITY}, double{NAN}, 1e300})
    EXPECT_EQ(code_of([&] { arange(0, end, 1); }), Code::invalid_argument) << end;
}

TEST(Tensor, Prints) {
  EXPECT_EQ(tensor({1, 2, 3}).str(), "tensor([1, 2, 3], i32[3])");
  EXPECT_EQ((ones({2, 2}) * 0.5).str(), "tensor([[0.5000, 0.5000],\n        [0.5000, 0.5000]], f32[2, 2])");
  EXPECT_EQ(zeros({0, 3}).str(), "tensor([], f32[0, 3])");
  EXPECT_EQ(tensor(true).str(), "tensor(true, bool[])");
  EXPECT_NE(arange(5000).str().find("..., "), std::string::npos);
}

TEST(Tensor, ANewNumberCompilesNothing) {
  const Tensor x = ones({7});
  x.eval();
  (x * 2 + 1).eval();
  const std::uint64_t compiled = default_session().statistics().programs_compiled;
  for (int i = 0; i < 20; ++i) {
    const Tensor y = x * i + (i - 1);
    EXPECT_EQ(y.to_vector<float>(), Floats(7, static_cast<float>(2 * i - 1)));
  }
  EXPECT_EQ(default_session().statistics().programs_compiled, compiled);
}

TEST(Tensor, EvaluatedTensorsDropTheirHistory) {
  Tensor x = ones({4});
  for (int i = 0; i < 1000; ++i) x = (x * 0.5 + 0.5).eval();
  EXPECT_EQ(x.to_vector<float>(), Floats(4, 1.0F));
}

TEST(Tensor, EndlessExpressionsAreEvaluatedOnTheWay) {
  Tensor x = zeros({2});
  for (int i = 0; i < 10000; ++i) x = x + 1;
  EXPECT_EQ(x.to_vector<float>(), Floats(2, 10000.0F));
}

TEST(Tensor, DroppingALongExpressionNeedsNoStack) {
  Tensor x = zeros({2});
  const Tensor kept = x;
  for (int i = 0; i < 4000; ++i) x = x + 1;
  x = Tensor{};
  EXPECT_EQ(kept.to_vector<float>(), Floats(2, 0.0F));
}

TEST(Tensor, EvaluatesInTheBackground) {
  const Tensor x = ones({64, 64});
  const Tensor y = matmul(x, x);
  const Future future = y.eval_async();
  const Tensor z = y + 1;  // may be used before it is ready
  EXPECT_EQ(z[0][0].item<float>(), 65.0F);
  future.wait();
  EXPECT_TRUE(future.ready());
  EXPECT_EQ(y[0][0].item<float>(), 64.0F);
}

TEST(Tensor, WhatAFailedOneLeadsToFailsAndNothingElse) {
  const Tensor x = tensor({1.0F, 2.0F});
  const Tensor bad = take(x, tensor({0, 9}));
  const Future first = bad.eval_async();
  const Future second = (bad + 1).eval_async();
  EXPECT_TRUE(second.wait_for(INFINITY));
  EXPECT_TRUE(second.wait_for(-1));
  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(code_of([&] { first.wait(); }), Code::out_of_range);
    EXPECT_EQ(code_of([&] { second.wait(); }), Code::out_of_range);
    EXPECT_EQ(code_of([&] { (bad * 2).eval(); }), Code::out_of_range);
  }
  EXPECT_EQ((x * 2).to_vector<float>(), (Floats{2, 4}));
}

TEST(Tensor, ThreadsMayUseDifferentTensors) {
  const Tensor shared = ones({16});
  shared.eval();
  std::vector<std::thread> threads;
  std::vector<float> results(4);
  for (std::size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      Tensor x = shared * static_cast<float>(i);
      for (int k = 0; k < 50; ++k) x = (x + shared).eval();
      results[i] = x.sum().item<float>();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < results.size(); ++i) EXPECT_EQ(results[i], 16.0F * (50.0F + static_cast<float>(i)));
}

TEST(Random, EqualSeedsGiveEqualNumbers) {
  Generator a(5), b(5), c(6);
  const Floats x = randn({1000}, a).to_vector<float>();
  EXPECT_EQ(x, randn({1000}, b).to_vector<float>());
  EXPECT_NE(x, randn({1000}, c).to_vector<float>());
  EXPECT_NE(x, randn({1000}, a).to_vector<float>());
  Generator d(5);
  d.set_state(a.state());
  EXPECT_EQ(rand({10}, a).to_vector<float>(), rand({10}, d).to_vector<float>());
}

TEST(Random, HasItsDistribution) {
  Generator generator(3);
  const Tensor u = uniform({20000}, -1, 3, generator);
  EXPECT_NEAR(mean(u).item<double>(), 1.0, 0.05);
  EXPECT_GE(min(u).item<double>(), -1.0);
  EXPECT_LT(max(u).item<double>(), 3.0);
  const Tensor n = randn({20000}, generator);
  EXPECT_NEAR(mean(n).item<double>(), 0.0, 0.05);
  EXPECT_NEAR(var(n).item<double>(), 1.0, 0.05);
  const Tensor d = dropout(ones({20000}), 0.25, generator);
  EXPECT_NEAR(mean(d).item<double>(), 1.0, 0.05);
  EXPECT_NEAR(mean((d == 0).to(DType::f32)).item<double>(), 0.25, 0.02);
}

}  // namespace
}  // namespace ml
