// Checkpoints: a safetensors file of the whole state, with everything else that the rest of the run depends on as
// metadata. Doubles are written as hexadecimal, so that they come back as they were.
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "engine/graph/hashing.h"
#include "libmlclient/files/safetensors.h"
#include "libmlclient/train/trainer_state.h"
#include "ml/session.h"

namespace ml::train {
namespace {

constexpr char kFormat[] = "mlaccel checkpoint 1";

std::string hexadecimal(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%a", value);
  return text;
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.elements()) * dtype_size(tensor.dtype()));
  tensor.read(bytes);
  return bytes;
}

using Entries = std::map<std::string, std::string>;

// Of the metadata, the tensors' names and their bytes: finds damage, not malice. The device is left out: it decides
// nothing but what is said about the bits.
std::string checksum(const Entries& metadata, std::span<const nn::NamedTensor> tensors) {
  std::uint64_t hash = 0;
  for (const auto& [key, text] : metadata) {
    if (key == "checksum" || key == "device") continue;
    hash = hash_combine(hash, hash_bytes(std::as_bytes(std::span(key))));
    hash = hash_combine(hash, hash_bytes(std::as_bytes(std::span(text))));
  }
  for (const nn::NamedTensor& entry : tensors) {
    hash = hash_combine(hash, hash_bytes(std::as_bytes(std::span(entry.name))));
    hash = hash_combine(hash, hash_bytes(bytes_of(entry.tensor)));
  }
  char text[24];
  std::snprintf(text, sizeof text, "%016" PRIx64, hash);
  return text;
}

// What must be the same for a run to go on: loss, state by name and type, data set and the loader's order.
std::string fingerprint(const Trainer::State& state, const data::DataLoader& loader) {
  std::string text = "loss " + state.options.loss.name;
  for (const DeviceState::Entry& entry : state.device.entries())
    text += "; " + entry.name + " " + std::string(dtype_name(entry.type.dtype)) + entry.type.shape.str();
  const data::LoaderOptions& options = loader.options();
  text += "; samples " + std::to_string(loader.size()) + "; batch " + std::to_string(options.batch_size) +
          (options.shuffle ? "; shuffled by " + std::to_string(options.seed) : "; in order") +
          (options.drop_last ? "; full batches" : "");
  return text;
}

// The first place where two fingerprints differ, for people.
std::string difference(const std::string& is, const std::string& wanted) {
  std::size_t begin = 0;
  while (begin < is.size() && begin < wanted.size() && is[begin] == wanted[begin]) ++begin;
  begin = begin == 0 ? 0 : is.rfind("; ", begin - 1);
  begin = begin == std::string::npos ? 0 : begin + (begin > 0 ? 2 : 0);
  const auto part = [&](const std::string& text) {
    return "'" + text.substr(begin, text.find("; ", begin) - begin) + "'";
  };
  return "it has " + part(is) + ", this run " + part(wanted);
}

// Reads the metadata of one file.
class Metadata {
 public:
  Metadata(const std::string& path, const Entries& entries) : path_(path), entries_(entries) {}

  const std::string& text(const std::string& key) const {
    const auto at = entries_.find(key);
    if (at == entries_.end()) damaged("it has no '" + key + "'");
    return at->second;
  }
  std::int64_t integer(const std::string& key) const {
    const std::string& digits = text(key);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size() || value < 0)
      damaged("'" + key + "' is '" + digits + "'");
    return value;
  }
  double real(const std::string& key) const {
    const std::string& digits = text(key);
    char* end = nullptr;
    const double value = std::strtod(digits.c_str(), &end);
    if (digits.empty() || *end != '\0') damaged("'" + key + "' is '" + digits + "'");
    return value;
  }
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(Code::corrupt, "'" + path_ + "' is not a whole checkpoint: " + what, {},
                "use an older checkpoint, or start again");
  }

 private:
  const std::string& path_;
  const Entries& entries_;
};

}  // namespace

void Trainer::save_checkpoint(const std::string& path, const data::DataLoader& loader) {
  State& state = *state_;
  state.finish();
  std::vector<nn::NamedTensor> tensors;
  for (const DeviceState::Entry& entry : state.device.entries()) tensors.push_back({entry.name, *entry.home});
  Entries metadata{{"format", kFormat},
                   {"fingerprint", fingerprint(state, loader)},
                   {"device", default_session().fingerprint()},
                   {"steps", std::to_string(state.optimizer->steps())},
                   {"learning_rate", hexadecimal(state.optimizer->learning_rate())},
                   {"epoch", std::to_string(loader.position().epoch)},
                   {"batch", std::to_string(loader.position().batch)},
                   {"epoch_loss", hexadecimal(state.epoch.loss)},
                   {"epoch_hits", hexadecimal(state.epoch.hits)},
                   {"epoch_samples", std::to_string(state.epoch.samples)}};
  metadata.emplace("checksum", checksum(metadata, tensors));
  files::save_safetensors(path, tensors, metadata);
}

bool Trainer::load_checkpoint(const std::string& path, data::DataLoader& loader) {
  State& state = *state_;
  try {
    state.finish();
  } catch (const Error& error) {
    if (error.code() != Code::device_lost) throw;
    state.discard();
  }
  const files::Safetensors file = files::load_safetensors(path);
  const Metadata metadata(path, file.metadata);
  if (metadata.text("format") != kFormat) metadata.damaged("its format is '" + metadata.text("format") + "'");
  if (checksum(file.metadata, file.tensors) != metadata.text("checksum")) metadata.damaged("its checksum differs");
  if (const std::string wanted = fingerprint(state, loader); metadata.text("fingerprint") != wanted) {
    throw Error(Code::invalid_argument,
                "'" + path + "' belongs to another run: " + difference(metadata.text("fingerprint"), wanted), {},
                "resume with the model, optimizer, data set and loader that it was made with");
  }
  const std::vector<DeviceState::Entry>& entries = state.device.entries();
  if (file.tensors.size() != entries.size()) metadata.damaged("tensors are missing");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const nn::NamedTensor& tensor = file.tensors[i];
    if (tensor.name != entries[i].name || tensor.tensor.dtype() != entries[i].type.dtype ||
        tensor.tensor.shape() != entries[i].type.shape)
      metadata.damaged("'" + tensor.name + "' is not '" + entries[i].name + "' " + entries[i].type.shape.str());
  }
  const bool same_bits = metadata.text("device") == default_session().fingerprint();
  const std::int64_t steps = metadata.integer("steps");
  const double learning_rate = metadata.real("learning_rate");
  const data::Position position{metadata.integer("epoch"), metadata.integer("batch")};
  const Totals totals{metadata.real("epoch_loss"), metadata.real("epoch_hits"), metadata.integer("epoch_samples")};

  loader.seek(position);  // the last thing that may throw
  for (std::size_t i = 0; i < entries.size(); ++i) *entries[i].home = file.tensors[i].tensor;
  state.optimizer->set_steps(steps);
  state.optimizer->set_learning_rate(learning_rate);
  state.epoch = totals;
  return same_bits;
}

}  // namespace ml::train
