// Data sets and loaders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ml/tensor.h"

namespace ml::data {

// What one sample has of a field: "image" f32[1, 28, 28].
struct Field {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

// Samples that can be read by index, from one thread at a time.
class ML_API Dataset {
 public:
  virtual ~Dataset();
  virtual std::int64_t size() const = 0;
  virtual const std::vector<Field>& fields() const = 0;
  // Writes the samples at `indices`, one behind the other, dense, to to[f] for each field f.
  virtual void read(std::span<const std::int64_t> indices, std::span<std::byte* const> to) const = 0;
};

// Samples are the rows of tensors of equal first extent.
class ML_API TensorDataset : public Dataset {
 public:
  explicit TensorDataset(std::vector<Tensor> tensors);
  ~TensorDataset() override;
  std::int64_t size() const override;
  const std::vector<Field>& fields() const override;
  void read(std::span<const std::int64_t> indices, std::span<std::byte* const> to) const override;

 private:
  struct Data;
  std::unique_ptr<Data> data_;
};

// Images and labels in the IDX files of MNIST and its relatives (http://yann.lecun.com/exdb/mnist): u8 pixels
// [N, H, W] become f32 [1, H, W] as (pixel / 255 - mean) / deviation, labels become i64 []. The files are mapped, not
// read ahead.
struct IdxOptions {
  double mean = 0;
  double deviation = 1;
};
class ML_API IdxDataset : public Dataset {
 public:
  // Throws not_found when a file is missing (saying so when only a compressed one is there) and corrupt, naming the
  // offset, when it is no IDX file of the right kind or its length is not what its header says.
  IdxDataset(const std::string& images, const std::string& labels, IdxOptions options = {});
  ~IdxDataset() override;
  std::int64_t size() const override;
  const std::vector<Field>& fields() const override;
  void read(std::span<const std::int64_t> indices, std::span<std::byte* const> to) const override;

 private:
  struct Data;
  std::unique_ptr<Data> data_;
};

// One array of a NumPy file (format versions 1 to 3; bool, integers and floats of the machine's byte order; C or
// Fortran order). Throws corrupt or unsupported, naming the file and what is wrong.
ML_API Tensor load_npy(const std::string& path);
// Version 1.0, written beside `path` and renamed. bf16 and the narrow dtypes have no NumPy dtype: unsupported.
ML_API void save_npy(const std::string& path, const Tensor& tensor);

struct LoaderOptions {
  std::int64_t batch_size = 1;
  bool shuffle = false;
  std::uint64_t seed = 0;  // of the shuffling: the order of epoch e is a function of seed and e alone
  bool drop_last = false;  // leave out a last batch that is not full
  int prefetch = 2;        // batches that a thread reads ahead; 0: none, no thread
};

// Where a loader is: store it to go on from there.
struct Position {
  std::int64_t epoch = 0;
  std::int64_t batch = 0;  // of the epoch, the next one
  friend bool operator==(const Position&, const Position&) = default;
};

// One tensor per field, [batch, ...].
using Batch = std::vector<Tensor>;

// Batches of a data set, epoch by epoch:
//
//   while (loader.next(batch)) { ... }   // one epoch; the next call begins the next one
class ML_API DataLoader {
 public:
  explicit DataLoader(std::shared_ptr<const Dataset> dataset, LoaderOptions options = {});
  ~DataLoader();
  DataLoader(DataLoader&&) noexcept;
  DataLoader& operator=(DataLoader&&) noexcept;

  // The next batch of this epoch. False at its end: the position is then the beginning of the next epoch. Throws what
  // reading the data set threw.
  bool next(Batch& batch);
  std::int64_t batches() const;  // per epoch
  std::int64_t size() const;     // samples
  const Dataset& dataset() const;
  const LoaderOptions& options() const;

  Position position() const;
  void seek(Position position);
  void rewind() { seek({position().epoch, 0}); }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::data
