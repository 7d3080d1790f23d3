// The device that tests lean on: that it does find what it is there to find.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "ml/error.h"
#include "tests/delayed/device.h"

namespace ml::test {
namespace {

using Bytes = std::vector<std::byte>;
Bytes filled(int value) { return Bytes(256, static_cast<std::byte>(value)); }

class Delayed : public testing::Test {
 protected:
  std::unique_ptr<Device> device_ = create_delayed_device(1, Delay::until_asked);
  std::unique_ptr<Stream> stream_ = device_->create_stream();
  std::unique_ptr<Buffer> buffer_ = device_->allocate(256);
  BufferSpan all() const { return {buffer_.get(), 0, 256}; }
  Bytes content() {
    Bytes bytes(256);
    stream_->download(bytes.data(), all());
    stream_->record()->wait();
    return bytes;
  }
};

TEST_F(Delayed, DownloadsHoldGarbageUntilTheFence) {
  const Bytes written = filled(1);
  Bytes read = filled(2);
  stream_->upload(all(), written.data());
  stream_->download(read.data(), all());
  EXPECT_EQ(read, filled(0xDB));
  stream_->record()->wait();
  EXPECT_EQ(read, written);
}

TEST_F(Delayed, UploadsReadWhenTheyRun) {
  Bytes written = filled(1);
  stream_->upload(all(), written.data());
  written = filled(2);
  EXPECT_EQ(content(), filled(2));
}

TEST_F(Delayed, MemoryStartsAsZero) { EXPECT_EQ(content(), filled(0)); }

TEST_F(Delayed, AskingWhetherAFenceIsDoneMakesItHappen) {
  stream_->fill_zero(all());
  const std::shared_ptr<Fence> fence = stream_->record();
  while (!fence->done()) {
  }
}

TEST_F(Delayed, StreamsAreOrderedOnlyByWaiting) {
  const Bytes one = filled(1);
  const std::unique_ptr<Stream> other = device_->create_stream();
  other->upload(all(), one.data());
  EXPECT_EQ(content(), filled(0));  // nobody asked for what the other does
  stream_->wait_for(other->record());
  EXPECT_EQ(content(), one);
}

TEST_F(Delayed, DestroyingAStreamFinishesItsWork) {
  const Bytes one = filled(1);
  std::unique_ptr<Stream> other = device_->create_stream();
  other->upload(all(), one.data());
  other.reset();
  EXPECT_EQ(content(), one);
}

TEST_F(Delayed, HostMemoryCannotBeWrapped) {
  Bytes memory = filled(0);
  EXPECT_FALSE(device_->traits().unified);
  EXPECT_THROW(device_->wrap(memory.data(), memory.size()), Error);
}

using DelayedDeathTest = Delayed;

TEST_F(DelayedDeathTest, FreeingABufferInUseIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        stream_->fill_zero(all());
        buffer_.reset();
      },
      "a buffer was freed while work that uses it had not run");
}

TEST_F(DelayedDeathTest, ASpanOutsideOfItsBufferIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(stream_->fill_zero({buffer_.get(), 250, 7}), "a span lies outside of its buffer");
}

}  // namespace
}  // namespace ml::test
