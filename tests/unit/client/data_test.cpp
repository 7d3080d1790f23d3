// Data sets, loaders and the files they read.
#include "ml/data.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "ml/ops.h"
#include "tests/unit/client/expected.h"

namespace ml {
namespace {

namespace fs = std::filesystem;

std::string temporary(const std::string& name) { return testing::TempDir() + "mlclient_" + name; }
void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::shared_ptr<data::TensorDataset> numbers(std::int64_t count) {
  return std::make_shared<data::TensorDataset>(std::vector<Tensor>{arange(count), arange(count) * 10});
}

std::vector<std::int64_t> epoch(data::DataLoader& loader) {
  std::vector<std::int64_t> seen;
  data::Batch batch;
  while (loader.next(batch)) {
    const auto x = batch[0].to_vector<std::int64_t>(), y = batch[1].to_vector<std::int64_t>();
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], 10 * x[i]);
    seen.insert(seen.end(), x.begin(), x.end());
  }
  return seen;
}

TEST(DataLoader, GoesThroughTheDataInOrder) {
  data::DataLoader loader(numbers(10), {.batch_size = 4});
  EXPECT_EQ(loader.batches(), 3);
  EXPECT_EQ(epoch(loader), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(loader.position(), (data::Position{1, 0}));
}

TEST(DataLoader, DropsALastBatchThatIsNotFull) {
  data::DataLoader loader(numbers(10), {.batch_size = 4, .drop_last = true});
  EXPECT_EQ(loader.batches(), 2);
  EXPECT_EQ(epoch(loader).size(), 8U);
}

TEST(DataLoader, ShufflesByItsSeedDifferentlyEachEpoch) {
  for (const int prefetch : {0, 2}) {
    const data::LoaderOptions options{.batch_size = 7, .shuffle = true, .seed = 3, .prefetch = prefetch};
    data::DataLoader a(numbers(50), options), b(numbers(50), options);
    const auto first = epoch(a);
    EXPECT_EQ(std::set(first.begin(), first.end()).size(), 50U);
    EXPECT_EQ(first, epoch(b));
    EXPECT_NE(first, epoch(a));
    data::LoaderOptions other = options;
    other.seed = 4;
    data::DataLoader c(numbers(50), other);
    EXPECT_NE(first, epoch(c));
  }
}

TEST(DataLoader, GoesOnFromAPosition) {
  const data::LoaderOptions options{.batch_size = 8, .shuffle = true, .seed = 5};
  data::DataLoader whole(numbers(40), options), part(numbers(40), options);
  epoch(whole);
  std::vector<std::int64_t> second = epoch(whole);
  part.seek({1, 2});
  EXPECT_EQ(epoch(part), std::vector<std::int64_t>(second.begin() + 16, second.end()));
  EXPECT_EQ(code_of([&] { part.seek({0, 9}); }), Code::out_of_range);
}

// Fails at one sample.
class Broken : public data::Dataset {
 public:
  std::int64_t size() const override { return 10; }
  const std::vector<data::Field>& fields() const override { return fields_; }
  void read(std::span<const std::int64_t> indices, std::span<std::byte* const>) const override {
    if (std::ranges::find(indices, 5) != indices.end()) throw Error(Code::io, "sample 5 cannot be read");
  }

 private:
  std::vector<data::Field> fields_{{"x", DType::f32, {}}};
};

TEST(DataLoader, HandsOnWhatReadingThrew) {
  data::DataLoader loader(std::make_shared<Broken>(), {.batch_size = 2});
  data::Batch batch;
  EXPECT_TRUE(loader.next(batch));
  EXPECT_TRUE(loader.next(batch));
  EXPECT_EQ(message_of([&] { loader.next(batch); }), "sample 5 cannot be read");
  EXPECT_EQ(message_of([&] { loader.next(batch); }), "sample 5 cannot be read");
}

TEST(DataLoader, RefusesWhatMakesNoBatch) {
  EXPECT_NE(message_of([] {
              data::DataLoader(numbers(3), {.batch_size = 4, .drop_last = true});
            }).find("3 samples make no batch of 4"),
            std::string::npos);
}

// An IDX file of 2 images of 2 x 3 pixels, and one of its labels.
class Idx : public testing::Test {
 protected:
  void SetUp() override {
    images_ = temporary("images");
    labels_ = temporary("labels");
    write_file(images_, std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03", 16) +
                            std::string("\0\x33\x66\x99\xcc\xff\x01\x02\x03\x04\x05\x06", 12));
    write_file(labels_, std::string("\0\0\x08\x01\0\0\0\x02\x09\x04", 10));
  }
  void TearDown() override {
    fs::remove(images_);
    fs::remove(labels_);
  }
  std::string images_, labels_;
};

TEST_F(Idx, ReadsImagesAndLabels) {
  data::DataLoader loader(
      std::make_shared<data::IdxDataset>(images_, labels_, data::IdxOptions{.mean = 0.5, .deviation = 0.5}),
      {.batch_size = 2});
  data::Batch batch;
  ASSERT_TRUE(loader.next(batch));
  EXPECT_EQ(batch[0].shape(), (Shape{2, 1, 2, 3}));
  const auto pixels = batch[0].to_vector<double>();
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(pixels[static_cast<std::size_t>(i)], (i * 0.2 - 0.5) / 0.5, 1e-6);
  EXPECT_EQ(batch[1].to_vector<int>(), (std::vector<int>{9, 4}));
}

TEST_F(Idx, SaysWhatIsWrongWithAFile) {
  const auto open = [&] { data::IdxDataset(images_, labels_); };
  struct Case {
    std::string bytes, message;
  };
  const Case cases[] = {
      {"", "no complete header"},
      {std::string("\x1f\x8b\x08\0", 4) + std::string(20, 'x'), "compressed with gzip"},
      {std::string("\0\x01\x08\x03", 4) + std::string(12, '\0'), "two zero bytes"},
      {std::string("\0\0\x0d\x03", 4) + std::string(12, '\0'), "not unsigned bytes"},
      {std::string("\0\0\x08\x01", 4) + std::string(12, '\0'), "it has 1 dimensions, wanted 3"},
      {std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03", 16) + "short", "says 12 elements, 5 follow"},
      {std::string("\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16), "overflow"},
  };
  for (const Case& c : cases) {
    write_file(images_, c.bytes);
    EXPECT_EQ(code_of(open), Code::corrupt);
    EXPECT_NE(message_of(open).find(c.message), std::string::npos) << message_of(open);
  }
  fs::remove(images_);
  EXPECT_EQ(code_of(open), Code::not_found);
  write_file(images_ + ".gz", "x");
  EXPECT_NE(message_of(open).find("only '" + images_ + ".gz'"), std::string::npos);
  fs::remove(images_ + ".gz");
  fs::create_symlink(images_, images_);  // a link to itself
  EXPECT_EQ(code_of(open), Code::io);
}

TEST_F(Idx, WantsAsManyLabelsAsImages) {
  write_file(labels_, std::string("\0\0\x08\x01\0\0\0\x01\x09", 9));
  EXPECT_NE(message_of([&] { data::IdxDataset(images_, labels_); }).find("has 2 images"), std::string::npos);
}

TEST(Npy, ComesBackAsItWasSaved) {
  const std::string path = temporary("round_trip.npy");
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::i8, DType::i16, DType::i32, DType::i64,
                            DType::u8, DType::u16, DType::u32, DType::u64, DType::boolean}) {
    for (const Shape& shape : {Shape{}, Shape{5}, Shape{2, 3}, Shape{0, 4}}) {
      const Tensor x = (reshape(arange(shape.elements()), shape) % 2).to(dtype);
      data::save_npy(path, x);
      const Tensor y = data::load_npy(path);
      EXPECT_EQ(y.dtype(), dtype);
      EXPECT_EQ(y.shape(), shape);
      EXPECT_EQ(x.to_vector<double>(), y.to_vector<double>());
    }
  }
  fs::remove(path);
}

TEST(Files, NarrowDtypesAreSavedWhereTheFormatHasThem) {
  const std::string path = temporary("narrow.safetensors");
  const Tensor x = arange(5, DType::f32).to(DType::f8e4m3fn);
  nn::save_safetensors(path, std::vector<nn::NamedTensor>{{"x", x}});
  const Tensor y = nn::load_safetensors(path)[0].tensor;
  EXPECT_EQ(y.dtype(), DType::f8e4m3fn);
  EXPECT_EQ(y.to_vector<float>(), x.to_vector<float>());
  const Tensor four = x.to(DType::i4);
  EXPECT_NE(message_of([&] {
              nn::save_safetensors(path, std::vector<nn::NamedTensor>{{"four", four}});
            }).find("tensor 'four': safetensors has no i4"),
            std::string::npos);
  EXPECT_NE(message_of([&] { data::save_npy(path, x); }).find("NumPy has no f8e4m3fn"), std::string::npos);
}

TEST(Npy, ReadsWhatNumPyWrites) {
  const std::string path = temporary("numpy.npy");
  const std::string header = "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }";
  std::string file = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header;
  for (const char value : {1, 4, 2, 5, 3, 6}) file += std::string{value, '\0'};
  write_file(path, file);
  EXPECT_EQ(data::load_npy(path).to_vector<int>(), (std::vector<int>{1, 2, 3, 4, 5, 6}));
  for (std::size_t size = 0; size < file.size(); ++size) {
    write_file(path, file.substr(0, size));
    EXPECT_EQ(code_of([&] { data::load_npy(path); }), Code::corrupt) << size;
  }
  write_file(path, std::string("\x93NUMPY\x01\x00\x3a\x00", 10) +
                       "{'descr': '>i2', 'fortran_order': False, 'shape': (3,), } ");
  EXPECT_EQ(code_of([&] { data::load_npy(path); }), Code::unsupported);
  fs::remove(path);
}

TEST(Safetensors, RefusesWhatBreaksTheFormat) {
  const std::string path = temporary("broken.safetensors");
  const auto with_header = [&](const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    write_file(path, std::string(reinterpret_cast<const char*>(&length), 8) + header + data);
    return message_of([&] { nn::load_safetensors(path); });
  };
  const std::string tensor = R"("x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_EQ(with_header("{" + tensor + "}", std::string(8, 'a')), "nothing was thrown");
  const std::pair<std::string, std::string> cases[] = {
      {"{" + tensor + ",", "is missing"},
      {"[]", "no JSON object"},
      {R"({"x":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", "unknown dtype 'F33'"},
      {R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "does not lie at [0, 8) of 8 bytes"},
      {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", "does not lie at"},
      {R"({"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "no whole number"},
      {R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", "too large"},
      {R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "4 bytes belong to no tensor"},
      {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
       "overlaps"},
      {R"({"x":{"shape":[2],"data_offsets":[0,8]}})", "lacks dtype"},
      {"{" + tensor + "," + tensor + "}", "twice"},
      {std::string(40, '['), "nested too deep"},
  };
  for (const auto& [header, message] : cases) {
    const std::string what = with_header(header, std::string(8, 'a'));
    EXPECT_NE(what.find("is not a safetensors file"), std::string::npos) << what;
    EXPECT_NE(what.find(message), std::string::npos) << header << ": " << what;
  }
  fs::remove(path);
}

class SavedFiles : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::ptrdiff_t entries() const { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); }
  const std::string folder_ = temporary("saved_files");
};

TEST_F(SavedFiles, ReplaceOnlyRegularFiles) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  fs::create_directory(path("folder"));
  for (const char* name : {"pipe", "folder"}) {
    EXPECT_EQ(code_of([&] { data::save_npy(path(name), arange(3)); }), Code::io) << name;
    EXPECT_FALSE(fs::is_regular_file(path(name))) << name;
  }
  EXPECT_EQ(entries(), 2);  // and nothing half-written
}

TEST_F(SavedFiles, KeepLinksAndPermissions) {
  write_file(path("file"), "old");
  fs::permissions(path("file"), fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("file", path("link"));
  data::save_npy(path("link"), arange(3));
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(data::load_npy(path("file")).to_vector<int>(), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(fs::status(path("file")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(SavedFiles, FollowTheUmask) {
  const mode_t before = umask(027);
  data::save_npy(path("file"), arange(3));
  umask(before);
  EXPECT_EQ(static_cast<unsigned>(fs::status(path("file")).permissions()), 0640U);
}

TEST_F(SavedFiles, AreNotWaitedForWhenTheyArePipes) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { data::load_npy(path("pipe")); }), Code::io);
}

}  // namespace
}  // namespace ml
