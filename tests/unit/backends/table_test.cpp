// Choosing from a device's table.
#include <gtest/gtest.h>

#include <array>

#include "engine/backends/backend.h"
#include "engine/backends/pack_cache.h"
#include "ml/error.h"

namespace ml {
namespace {

const char* takes_f32(const KernelRequest& request) {
  return request.inputs[0].type.dtype == DType::f32 ? nullptr : refusal::kDType;
}
const char* takes_vectors(const KernelRequest& request) {
  return request.inputs[0].type.shape.rank() == 1 ? nullptr : refusal::kRank;
}
std::unique_ptr<Kernel> no_kernel(const KernelRequest&, PackCache&) { return nullptr; }

class TableDevice final : public Device {
 public:
  std::string_view name() const override { return "table"; }
  const DeviceTraits& traits() const override { return traits_; }
  std::string fingerprint() const override { return "table"; }
  std::unique_ptr<Buffer> allocate(std::size_t) override { return nullptr; }
  std::unique_ptr<Buffer> wrap(void*, std::size_t) override { return nullptr; }
  std::unique_ptr<Stream> create_stream() override { return nullptr; }
  std::span<const Implementation> implementations() const override { return rows_; }

 private:
  DeviceTraits traits_;
  std::array<Implementation, 3> rows_{{{"mul", "other_op", nullptr, no_kernel},
                                       {"add", "fast", takes_f32, no_kernel},
                                       {"add", "wide", takes_vectors, no_kernel}}};
};

const AttributesPtr kNone = std::make_shared<NoAttributes>();

KernelRequest request(const char* op, DType dtype, const Shape& shape) {
  const Operand operand{{dtype, shape}, row_major(shape)};
  return {find_op(op), kNone, {operand, operand}, {operand}};
}

TEST(Choose, TakesTheFirstRowThatAccepts) {
  const TableDevice device;
  EXPECT_EQ(choose(device, request("add", DType::f32, {3})).kernel, "fast");
  EXPECT_EQ(choose(device, request("add", DType::f64, {3})).kernel, "wide");
  EXPECT_EQ(choose(device, request("mul", DType::f64, {3})).kernel, "other_op");
}

TEST(Choose, NamesOpTypesAndEveryReason) {
  const TableDevice device;
  const KernelRequest wanted = request("add", DType::f64, {2, 3});
  EXPECT_FALSE(implements(device, wanted));
  try {
    choose(device, wanted);
    FAIL() << "chose a row";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unsupported);
    EXPECT_EQ(error.message(),
              "add: table has no kernel for (f64[2, 3], f64[2, 3]) -> (f64[2, 3]): fast: dtype not implemented; wide: "
              "rank not implemented");
  }
}

TEST(Choose, SaysWhenThereIsNoRowAtAll) {
  const TableDevice device;
  try {
    choose(device, request("sub", DType::f32, {}));
    FAIL() << "chose a row";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("it has no row for this op"), std::string::npos) << error.message();
  }
}

TEST(Choose, MarksOperandsThatAreNotRowMajor) {
  const TableDevice device;
  KernelRequest wanted = request("sub", DType::f32, {2, 3});
  const int order[] = {1, 0};
  wanted.inputs[1].layout = permuted({2, 3}, order);
  try {
    choose(device, wanted);
    FAIL() << "chose a row";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("(f32[2, 3], f32[2, 3] strided)"), std::string::npos) << error.message();
  }
}

TEST(Layout, RowMajorCountsFromTheInnermost) {
  EXPECT_EQ(row_major({2, 3, 4}).strides, (std::vector<std::int64_t>{12, 4, 1}));
  EXPECT_EQ(row_major({}).strides, std::vector<std::int64_t>{});
}

TEST(Layout, PermutedPutsTheLastOfTheOrderInnermost) {
  const int channels_last[] = {0, 2, 3, 1};
  EXPECT_EQ(permuted({2, 3, 4, 5}, channels_last).strides, (std::vector<std::int64_t>{60, 1, 15, 3}));
}

TEST(Layout, RefusesAnOrderThatIsNoPermutation) {
  const int twice[] = {0, 0}, outside[] = {0, 2}, short_one[] = {0};
  EXPECT_THROW(permuted({2, 3}, twice), Error);
  EXPECT_THROW(permuted({2, 3}, outside), Error);
  EXPECT_THROW(permuted({2, 3}, short_one), Error);
}

}  // namespace
}  // namespace ml
