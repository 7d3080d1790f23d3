#include "engine/backends/pack_cache.h"

#include <utility>

namespace ml {
namespace {

// Equal keys mean equal packed bytes: a blob's identity names its content.
std::string key_of(const ConstantData& constant, std::string_view format) {
  std::string key(format);
  key += '|';
  key += dtype_name(constant.dtype);
  key += constant.shape.str();
  key += '@';
  key += std::to_string(constant.offset);
  key += '|';
  key += constant.blob->identity();
  return key;
}

}  // namespace

std::shared_ptr<const Buffer> PackCache::get(const ConstantData& constant, std::string_view format, const Make& make) {
  std::string key = key_of(constant, format);
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Entry>& slot = entries_[std::move(key)];
    if (!slot) slot = std::make_shared<Entry>();
    entry = slot;
  }
  const std::lock_guard making(entry->making);
  if (!entry->packed) {
    entry->packed = make();
    constant.set_aside();
    const std::lock_guard lock(mutex_);
    bytes_ += entry->packed->size();
  }
  return entry->packed;
}

std::size_t PackCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace ml
