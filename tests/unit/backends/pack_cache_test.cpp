#include "engine/backends/pack_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace ml {
namespace {

ConstantData constant(const Shape& shape = {4}) {
  const auto bytes = std::vector<std::byte>(static_cast<std::size_t>(shape.elements()) * 4 + 64);
  return {DType::f32, shape, Blob::copy_of(bytes), 0};
}

class Packing {
 public:
  PackCache::Make make() {
    return [this]() -> std::shared_ptr<const Buffer> {
      ++made_;
      return device_->allocate(100);
    };
  }
  int made() const { return made_; }

 private:
  std::unique_ptr<Device> device_ = create_reference_device();
  std::atomic<int> made_ = 0;
};

TEST(PackCache, MakesOnceForAConstantAndFormat) {
  PackCache cache(1);
  Packing packing;
  const ConstantData weights = constant();
  const auto first = cache.get(weights, "blocked", packing.make());
  EXPECT_EQ(cache.get(weights, "blocked", packing.make()), first);
  EXPECT_EQ(packing.made(), 1);
  EXPECT_EQ(cache.bytes(), 100u);
}

TEST(PackCache, TellsFormatsTypesAndPlacesApart) {
  PackCache cache(1);
  Packing packing;
  const ConstantData weights = constant();
  ConstantData other_type = weights, other_shape = weights, other_place = weights;
  other_type.dtype = DType::i32;
  other_shape.shape = {2, 2};
  other_place.offset = 16;
  cache.get(weights, "blocked", packing.make());
  cache.get(weights, "plain", packing.make());
  cache.get(other_type, "blocked", packing.make());
  cache.get(other_shape, "blocked", packing.make());
  cache.get(other_place, "blocked", packing.make());
  cache.get(constant(), "blocked", packing.make());
  EXPECT_EQ(packing.made(), 6);
  EXPECT_EQ(cache.bytes(), 600u);
}

TEST(PackCache, TriesAgainAfterAFailure) {
  PackCache cache(1);
  Packing packing;
  const ConstantData weights = constant();
  const auto fail = []() -> std::shared_ptr<const Buffer> { throw std::runtime_error("no memory"); };
  EXPECT_THROW(cache.get(weights, "blocked", fail), std::runtime_error);
  EXPECT_NE(cache.get(weights, "blocked", packing.make()), nullptr);
}

TEST(PackCache, SetsAsideWhatItHasPacked) {
  static std::vector<std::span<const std::byte>> dropped;
  dropped.clear();
  const std::vector<std::byte> bytes(64);
  const auto blob =
      std::make_shared<const Blob>(bytes, nullptr, "file", [](std::span<const std::byte> b) { dropped.push_back(b); });
  const ConstantData weights{DType::f32, {4}, blob, 16};
  PackCache cache(1);
  Packing packing;
  cache.get(weights, "blocked", [&] {
    EXPECT_TRUE(dropped.empty()) << "before they are read";
    return packing.make()();
  });
  ASSERT_EQ(dropped.size(), 1u);
  EXPECT_EQ(dropped[0].data(), bytes.data() + 16);
  EXPECT_EQ(dropped[0].size(), 16u);
}

TEST(PackCache, ThreadsShareWhatOneOfThemMakes) {
  PackCache cache(1);
  Packing packing;
  const std::vector<ConstantData> all{constant(), constant(), constant()};
  {
    std::vector<std::jthread> threads;
    threads.reserve(8);
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int turn = 0; turn < 100; ++turn) {
          for (const ConstantData& weights : all) cache.get(weights, "blocked", packing.make());
        }
      });
    }
  }
  EXPECT_EQ(packing.made(), 3);
}

}  // namespace
}  // namespace ml
