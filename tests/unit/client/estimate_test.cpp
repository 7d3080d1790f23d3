// How much memory training needs, known before it runs.
#include <gtest/gtest.h>

#include "ml/session.h"
#include "ml/train.h"
#include "tests/unit/client/expected.h"

namespace ml {
namespace {

std::shared_ptr<data::TensorDataset> pictures(std::int64_t count) {
  return std::make_shared<data::TensorDataset>(std::vector<Tensor>{ones({count, 1, 8, 8}), zeros({count}, DType::i64)});
}

train::MemoryEstimate estimate_of(const data::DataLoader& loader, const data::DataLoader* validation = nullptr) {
  nn::Sequential net(nn::Conv2d(1, 4, 3), nn::BatchNorm2d(4), nn::ReLU(), nn::Dropout(0.3), nn::Linear(144, 4));
  train::Trainer trainer(net, optim::Adam(net.parameters()));
  return trainer.estimate(loader, validation, "cpu", 2);
}

TEST(Estimate, CountsEveryKindOfState) {
  const data::DataLoader loader(pictures(64), {.batch_size = 16});
  const train::MemoryEstimate needed = estimate_of(loader);
  const std::uint64_t parameters = 4 * (4 * 9 + 4) + 4 * (4 + 4) + 4 * (144 * 4 + 4);
  EXPECT_EQ(needed.parameters, parameters);
  EXPECT_EQ(needed.optimizer, 2 * parameters);
  EXPECT_EQ(needed.buffers, 4 * (4 + 4) + 8 + 16) << "running statistics, batches tracked, random state";
  EXPECT_EQ(needed.batch, 2 * 16 * (64 * 4 + 8));
  EXPECT_GT(needed.scratch, 16 * 4 * 36 * sizeof(float)) << "at least what the convolution gives";
  EXPECT_EQ(needed.total,
            needed.parameters + needed.optimizer + needed.buffers + needed.scratch + needed.weights + needed.batch);
}

TEST(Estimate, GrowsWithTheBatch) {
  const data::DataLoader small(pictures(64), {.batch_size = 4}), large(pictures(64), {.batch_size = 64});
  const train::MemoryEstimate a = estimate_of(small), b = estimate_of(large);
  EXPECT_GT(b.scratch, a.scratch + 60 * 4 * 36 * sizeof(float)) << "at least what the convolution gives for 60 more";
  EXPECT_EQ(b.parameters, a.parameters);
}

TEST(Estimate, LooksAtValidationToo) {
  const data::DataLoader small(pictures(64), {.batch_size = 2}), large(pictures(64), {.batch_size = 64});
  EXPECT_GT(estimate_of(small, &large).scratch, estimate_of(small).scratch);
}

TEST(Estimate, ExecutesAndCompilesNothing) {
  const data::DataLoader loader(pictures(64), {.batch_size = 16});
  nn::Sequential net(nn::Linear(64, 4));
  train::Trainer trainer(net, optim::SGD(net.parameters()));
  const SessionStatistics before = default_session().statistics();
  trainer.estimate(loader, nullptr, "cpu");
  EXPECT_EQ(default_session().statistics().executions, before.executions);
  EXPECT_EQ(default_session().statistics().programs_compiled, before.programs_compiled);
}

TEST(Estimate, SaysWhenTheDataDoesNotFit) {
  nn::Sequential net(nn::Linear(10, 4));
  train::Trainer trainer(net, optim::SGD(net.parameters()));
  const data::DataLoader loader(pictures(8), {.batch_size = 2});
  const std::string message = message_of([&] { trainer.estimate(loader, nullptr, "cpu"); });
  EXPECT_NE(message.find("in_features is 10"), std::string::npos) << message;
}

TEST(Estimate, KnowsTheDevicesThereAre) {
  nn::Sequential net(nn::Linear(64, 4));
  train::Trainer trainer(net, optim::SGD(net.parameters()));
  const data::DataLoader loader(pictures(8), {.batch_size = 2});
  EXPECT_EQ(code_of([&] { trainer.estimate(loader, nullptr, "abacus"); }), Code::not_found);
  EXPECT_GT(trainer.estimate(loader, nullptr, "reference").scratch, 0u);
}

}  // namespace
}  // namespace ml
