#include <cstring>

#include "libmlclient/session/storage.h"
#include "libmlclient/tensor/evaluate.h"
#include "ml/data.h"

namespace ml::data {

Dataset::~Dataset() = default;

struct TensorDataset::Data {
  std::vector<Field> fields;
  std::vector<std::shared_ptr<client::Storage>> storages;
  std::vector<std::size_t> row_bytes;
  std::int64_t size = 0;
};

TensorDataset::TensorDataset(std::vector<Tensor> tensors) : data_(std::make_unique<Data>()) {
  if (tensors.empty()) throw Error(Code::invalid_argument, "TensorDataset: wants at least one tensor");
  for (const Tensor& tensor : tensors) {
    if (tensor.rank() == 0 || tensor.size(0) != tensors.front().size(0)) {
      throw Error(Code::invalid_argument, "TensorDataset: tensors of different first extents: " +
                                              tensors.front().shape().str() + " and " + tensor.shape().str());
    }
    const client::TensorValuePtr& value = tensor.value();
    client::materialize(value);
    const Shape row(tensor.shape().dims().subspan(1));
    data_->fields.push_back({"field" + std::to_string(data_->fields.size()), tensor.dtype(), row});
    data_->row_bytes.push_back(static_cast<std::size_t>(row.elements()) * dtype_size(tensor.dtype()));
    data_->storages.push_back(client::host_storage(value));
  }
  data_->size = tensors.front().size(0);
}
TensorDataset::~TensorDataset() = default;

std::int64_t TensorDataset::size() const { return data_->size; }
const std::vector<Field>& TensorDataset::fields() const { return data_->fields; }

void TensorDataset::read(std::span<const std::int64_t> indices, std::span<std::byte* const> to) const {
  for (std::size_t f = 0; f < data_->fields.size(); ++f) {
    const std::size_t bytes = data_->row_bytes[f];
    const std::byte* const from = data_->storages[f]->host();
    for (std::size_t i = 0; i < indices.size(); ++i)
      std::memcpy(to[f] + i * bytes, from + static_cast<std::size_t>(indices[i]) * bytes, bytes);
  }
}

}  // namespace ml::data
