#include "tools/mlctl/commands/input_file.h"

#include <array>
#include <charconv>
#include <fstream>
#include <vector>

#include "ml/data.h"
#include "tools/mlctl/failure.h"

namespace ml::ctl {
namespace {

Failure wrong_range(const std::string& text) {
  return {Exit::usage, "'" + text + "' is no range of elements", "write [A:B], A below B: 'images[0:8]'", "MLE-0001"};
}

std::pair<std::int64_t, std::int64_t> parse_range(std::string_view inside, const std::string& text) {
  const std::size_t colon = inside.find(':');
  if (colon == std::string_view::npos) throw wrong_range(text);
  const auto number = [&](std::string_view digits) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value < 0) throw wrong_range(text);
    return value;
  };
  const std::pair range{number(inside.substr(0, colon)), number(inside.substr(colon + 1))};
  if (range.first >= range.second) throw wrong_range(text);
  return range;
}

void check_range(const InputArgument& argument, std::int64_t extent) {
  if (argument.range && argument.range->second > extent) {
    throw Error(Code::out_of_range,
                "'" + argument.path + "' has " + std::to_string(extent) + " elements, [" +
                    std::to_string(argument.range->first) + ':' + std::to_string(argument.range->second) +
                    "] was asked",
                {}, "ask for fewer");
  }
}

// IDX: two zero bytes, 8 (u8), the rank, big-endian extents, elements (http://yann.lecun.com/exdb/mnist).
Tensor read_idx(const InputArgument& argument, std::ifstream& file, Scaling scaling) {
  const auto damaged = [&](const std::string& what) {
    return Error(Code::corrupt, "'" + argument.path + "' is no IDX file of images: " + what, {},
                 "expected are bytes 00 00 08 03, three extents and u8 pixels, not compressed");
  };
  std::array<unsigned char, 16> header{};
  if (!file.read(reinterpret_cast<char*>(header.data()), header.size())) throw damaged("it ends within its header");
  if (header[0] != 0 || header[1] != 0) throw damaged("it does not begin with two zero bytes");
  if (header[2] != 8) throw damaged("its elements are not unsigned bytes (offset 2)");
  if (header[3] != 3) throw damaged("it has " + std::to_string(header[3]) + " dimensions, wanted 3 (offset 3)");
  std::array<std::int64_t, 3> extent{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t k = 0; k < 4; ++k) extent[i] = extent[i] << 8 | header[4 + 4 * i + k];
  check_range(argument, extent[0]);
  const std::int64_t first = argument.range ? argument.range->first : 0;
  const std::int64_t count = (argument.range ? argument.range->second : extent[0]) - first;
  constexpr std::int64_t kMost = std::int64_t{1} << 32;  // pixels
  std::int64_t pixels = 0, wanted = 0;
  if (__builtin_mul_overflow(extent[1], extent[2], &pixels) || __builtin_mul_overflow(pixels, count, &wanted) ||
      wanted > kMost)
    throw damaged("its extents are too large");
  file.seekg(0, std::ios::end);
  const std::int64_t there = static_cast<std::int64_t>(file.tellg()) - 16;
  if (there / std::max<std::int64_t>(pixels, 1) < first + count) throw damaged("it is cut off");
  file.seekg(16 + first * pixels);
  std::vector<unsigned char> bytes(static_cast<std::size_t>(wanted));
  if (!file.read(reinterpret_cast<char*>(bytes.data()), wanted)) throw damaged("it is cut off");
  std::vector<float> values(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i)
    values[i] = static_cast<float>((static_cast<double>(bytes[i]) / 255 - scaling.mean) / scaling.deviation);
  return from_data(values, {count, extent[1], extent[2]});
}

// Puts in axes of extent 1 where the model's input has them and the tensor does not.
Tensor shaped_for(Tensor tensor, const Shape& wanted) {
  if (tensor.rank() + 1 != wanted.rank()) return tensor;
  for (int axis = 0; axis < wanted.rank(); ++axis) {
    if (wanted[axis] != 1) continue;
    bool fits = true;
    for (int i = 0; i < tensor.rank(); ++i) {
      const std::int64_t other = wanted[i < axis ? i : i + 1];
      if (other != kUnknown && other != tensor.shape()[i]) fits = false;
    }
    if (fits) return tensor.unsqueeze(axis);
  }
  return tensor;
}

}  // namespace

InputArgument parse_input(const std::string& text) {
  InputArgument argument;
  std::string_view rest = text;
  // A file may be called "a=b": only what could be an input's name stands before the sign.
  const std::size_t sign = rest.find('=');
  if (sign != std::string_view::npos && sign > 0 && rest.find('/') > sign) {
    argument.name = rest.substr(0, sign);
    rest.remove_prefix(sign + 1);
  }
  if (rest.ends_with("]")) {
    const std::size_t open = rest.rfind('[');
    if (open == std::string_view::npos) throw wrong_range(text);
    argument.range = parse_range(rest.substr(open + 1, rest.size() - open - 2), std::string(rest.substr(open)));
    rest = rest.substr(0, open);
  }
  argument.path = rest;
  if (argument.path.empty()) {
    throw Failure(Exit::usage, "--input '" + text + "' names no file", "write NAME=FILE or NAME=FILE[A:B]", "MLE-0001");
  }
  return argument;
}

Tensor read_input(const InputArgument& argument, const ModelPort& port, Scaling scaling) {
  if (!(scaling.deviation > 0))
    throw Failure(Exit::usage, "--deviation must be positive", "the deviation of the pixels, such as 0.353",
                  "MLE-0001");
  std::ifstream file(argument.path, std::ios::binary);
  std::array<char, 6> magic{};
  if (!file || !file.read(magic.data(), 1).seekg(0)) {
    throw Error(Code::not_found, "cannot read '" + argument.path + "'", {}, "is the path right, and may you read it?");
  }
  file.read(magic.data(), magic.size());
  if (file && std::string_view(magic.data(), magic.size()) == "\x93NUMPY") {
    Tensor tensor = data::load_npy(argument.path);
    if (argument.range) {
      if (tensor.rank() == 0)
        throw Error(Code::invalid_argument, "'" + argument.path + "' is a scalar: it has no elements to take");
      check_range(argument, tensor.size(0));
      tensor = tensor.slice(0, argument.range->first, argument.range->second);
    }
    return shaped_for(tensor, port.shape);
  }
  file.clear();
  file.seekg(0);
  return shaped_for(read_idx(argument, file, scaling), port.shape);
}

}  // namespace ml::ctl
