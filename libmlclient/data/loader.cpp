// Batches in an order that is a function of seed and epoch, read ahead by a thread.
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "engine/graph/ops/random.h"
#include "libmlclient/tensor/evaluate.h"
#include "ml/data.h"

namespace ml::data {
namespace {

// A number in [0, bound) from a Philox stream; the modulo's bias is below 2^-32 for any real data set.
std::int64_t draw(std::uint64_t seed, std::uint64_t block, std::int64_t bound) {
  const PhiloxWords words = random_block(seed, 0, block);
  const std::uint64_t word = std::uint64_t{words[1]} << 32 | words[0];
  return static_cast<std::int64_t>(word % static_cast<std::uint64_t>(bound));
}

// Fisher and Yates, with a stream of its own for each epoch.
std::vector<std::int64_t> order_of(std::int64_t size, const LoaderOptions& options, std::int64_t epoch) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  if (!options.shuffle) return order;
  const std::uint64_t start = static_cast<std::uint64_t>(epoch) << 40;
  for (std::int64_t i = size - 1; i > 0; --i) {
    const std::int64_t j = draw(options.seed, start + static_cast<std::uint64_t>(i), i + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
  }
  return order;
}

}  // namespace

struct DataLoader::State {
  State(std::shared_ptr<const Dataset> set, const LoaderOptions& wanted) : dataset(std::move(set)), options(wanted) {}
  ~State() { stop(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::int64_t batches() const {
    const std::int64_t size = dataset->size();
    return options.drop_last ? size / options.batch_size : (size + options.batch_size - 1) / options.batch_size;
  }

  Batch load(std::span<const std::int64_t> indices, std::int64_t batch) const {
    const auto first = static_cast<std::size_t>(batch * options.batch_size);
    const auto count = std::min(static_cast<std::size_t>(options.batch_size), indices.size() - first);
    Batch tensors;
    std::vector<std::byte*> to;
    for (const Field& field : dataset->fields()) {
      Shape shape{static_cast<std::int64_t>(count)};
      for (const std::int64_t extent : field.shape.dims()) shape.append(extent);
      std::byte* host = nullptr;
      tensors.push_back(client::new_host_tensor({field.dtype, shape}, &host));
      to.push_back(host);
    }
    dataset->read(indices.subspan(first, count), to);
    return tensors;
  }

  // --- the reading thread ----------------------------------------------------------------------------------------

  // Reads from `from` to the end of its epoch and on into the next ones, never more than `prefetch` ahead.
  void start(Position from) {
    stopping = false;
    reader = std::thread([this, from] { read_ahead(from); });
  }
  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    if (reader.joinable()) reader.join();
    ready.clear();
    failure = nullptr;
  }
  void read_ahead(Position at) {
    try {
      std::vector<std::int64_t> indices = order_of(dataset->size(), options, at.epoch);
      while (true) {
        if (at.batch == batches()) {
          at = {at.epoch + 1, 0};
          indices = order_of(dataset->size(), options, at.epoch);
        }
        {
          std::unique_lock lock(mutex);
          changed.wait(lock, [&] { return stopping || ready.size() < static_cast<std::size_t>(options.prefetch); });
          if (stopping) return;
        }
        Batch batch = load(indices, at.batch++);
        const std::lock_guard lock(mutex);
        ready.push_back(std::move(batch));
        changed.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      changed.notify_all();
    }
  }
  Batch take() {
    if (!reader.joinable()) start(position);
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return failure || !ready.empty(); });
    if (ready.empty()) {
      const std::exception_ptr error = failure;
      lock.unlock();
      stop();
      std::rethrow_exception(error);
    }
    Batch batch = std::move(ready.front());
    ready.pop_front();
    changed.notify_all();
    return batch;
  }

  std::shared_ptr<const Dataset> dataset;
  LoaderOptions options;
  Position position;
  std::vector<std::int64_t> order;  // of the epoch, without a thread
  std::int64_t order_epoch = -1;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Batch> ready;
  std::exception_ptr failure;
  bool stopping = false;
  std::thread reader;
};

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, LoaderOptions options) {
  if (!dataset) throw Error(Code::invalid_argument, "DataLoader: the data set is null");
  if (options.batch_size <= 0) {
    throw Error(Code::invalid_argument, "DataLoader: batch_size is " + std::to_string(options.batch_size));
  }
  if (options.prefetch < 0)
    throw Error(Code::invalid_argument, "DataLoader: prefetch is " + std::to_string(options.prefetch));
  state_ = std::make_unique<State>(std::move(dataset), options);
  if (state_->batches() == 0) {
    throw Error(Code::invalid_argument,
                "DataLoader: " + std::to_string(state_->dataset->size()) + " samples make no batch of " +
                    std::to_string(options.batch_size),
                {}, "use a smaller batch_size, or drop_last = false");
  }
}
DataLoader::~DataLoader() = default;
DataLoader::DataLoader(DataLoader&&) noexcept = default;
DataLoader& DataLoader::operator=(DataLoader&&) noexcept = default;

bool DataLoader::next(Batch& batch) {
  Position& at = state_->position;
  if (at.batch == batches()) {
    at = {at.epoch + 1, 0};
    return false;
  }
  if (state_->options.prefetch > 0) {
    batch = state_->take();
  } else {
    if (state_->order_epoch != at.epoch) {
      state_->order = order_of(size(), state_->options, at.epoch);
      state_->order_epoch = at.epoch;
    }
    batch = state_->load(state_->order, at.batch);
  }
  ++at.batch;
  return true;
}

std::int64_t DataLoader::batches() const { return state_->batches(); }
std::int64_t DataLoader::size() const { return state_->dataset->size(); }
const Dataset& DataLoader::dataset() const { return *state_->dataset; }
const LoaderOptions& DataLoader::options() const { return state_->options; }
Position DataLoader::position() const { return state_->position; }

void DataLoader::seek(Position position) {
  if (position.epoch < 0 || position.batch < 0 || position.batch > batches()) {
    throw Error(Code::out_of_range, "DataLoader: there is no batch " + std::to_string(position.batch) + " of epoch " +
                                        std::to_string(position.epoch));
  }
  if (position == state_->position) return;
  state_->stop();
  state_->position = position;
}

}  // namespace ml::data
