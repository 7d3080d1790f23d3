#include "engine/backends/cpu/panel_pack.h"

#include <algorithm>
#include <cstring>

#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr std::int64_t kRows = 32;                           // of a panel at once: they stay in the first-level cache
constexpr std::int64_t kChunkBytes = std::int64_t{4} << 20;  // that a thread packs before they are set aside

// The factor of each column, which all of its rows have to share; none otherwise.
std::vector<double> factors_of(const ScaledConstant& scaled, const PanelSource& source) {
  const auto channels = static_cast<std::int64_t>(scaled.factors.size());
  const std::int64_t reach = (source.taps - 1) * source.tap + (source.depth - 1) * source.strides.row;
  const bool interleaved = scaled.run == 1 && source.strides.row % channels == 0 && source.tap % channels == 0;
  std::vector<double> factors;
  for (std::int64_t column = 0; column < source.columns; ++column) {
    const std::int64_t at = source.first + column * source.strides.column;
    if (!interleaved && at % scaled.run + reach >= scaled.run) return {};
    factors.push_back(scaled.factors[static_cast<std::size_t>(at / scaled.run % channels)]);
  }
  return factors;
}

class Packer {
 public:
  Packer(const PanelReader& reader, const PanelSource& source, std::int64_t width, float* to)
      : reader_(reader), s_(source), width_(width), to_(to) {}

  // Rows of a matrix whose columns lie beside each other.
  void rows(Range rows, Range panels) const {
    for (std::int64_t from = rows.begin; from < rows.end; from += kRows) {
      const std::int64_t end = std::min(from + kRows, rows.end);
      for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) {
        const std::int64_t column = panel * width_, count = std::min(width_, s_.columns - column);
        for (std::int64_t k = from; k < end; ++k) {
          float* const row = to_ + column * s_.depth + k * width_;
          std::memcpy(row, reader_.at(s_.first + k * s_.strides.row + column),
                      static_cast<std::size_t>(count * PanelReader::kFloat));
          if (!reader_.scales()) continue;
          for (std::int64_t j = 0; j < count; ++j) row[j] = static_cast<float>(row[j] * reader_.factor(column + j));
        }
      }
    }
  }

  // Panels of any other, whose columns lie behind each other if they are to be read in order.
  void panel(std::int64_t panel) const {
    const std::int64_t column = panel * width_, count = std::min(width_, s_.columns - column);
    float* const to = to_ + column * s_.taps * s_.depth;
    const std::int64_t step = std::max<std::int64_t>(kRows / s_.taps, 1);
    for (std::int64_t from = 0; from < s_.depth; from += step) {
      const Range depth{from, std::min(from + step, s_.depth)};
      for (std::int64_t j = 0; j < count; ++j) {
        const std::int64_t at = s_.first + (column + j) * s_.strides.column;
        if (reader_.scales()) {
          const double factor = reader_.factor(column + j);
          piece(depth, at, to + j, [factor](float value) { return static_cast<float>(value * factor); });
        } else {
          piece(depth, at, to + j, [](float value) { return value; });
        }
      }
    }
  }

  void populate_panels(Range panels) const {
    const std::int64_t panel = s_.taps * s_.depth * width_;
    take_pages(to_ + panels.begin * panel, static_cast<std::size_t>(panels.size() * panel) * sizeof(float));
  }

 private:
  template <class F>
  void piece(Range depth, std::int64_t at, float* to, F made_of) const {
    for (std::int64_t k = depth.begin; k < depth.end; ++k) {
      for (std::int64_t tap = 0; tap < s_.taps; ++tap) {
        float value;
        std::memcpy(&value, reader_.at(at + k * s_.strides.row + tap * s_.tap), sizeof value);
        to[(tap * s_.depth + k) * width_] = made_of(value);
      }
    }
  }

  const PanelReader& reader_;
  const PanelSource& s_;
  std::int64_t width_;
  float* to_;
};

}  // namespace

PanelReader::PanelReader(const ConstantData& constant, const PanelSource& source) : constant_(&constant) {
  const ScaledConstant* const scaled = constant.blob->scaled();
  if (scaled != nullptr && constant.offset == 0) factors_ = factors_of(*scaled, source);
  if (scales()) constant_ = &scaled->of;
  bytes_ = constant_->bytes();
}

void PanelReader::set_aside(std::int64_t begin, std::int64_t end) const {
  const auto size = static_cast<std::int64_t>(bytes_.size());
  begin = std::min(begin * kFloat, size);
  end = std::min(end * kFloat, size);
  constant_->blob->set_aside(bytes_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
}

void pack_panels(const ConstantData& constant, const PanelSource& source, std::int64_t width, float* to,
                 ThreadPool& pool) {
  const PanelReader reader(constant, source);
  const Packer packer(reader, source, width, to);
  const std::int64_t panels = (source.columns + width - 1) / width, threads = pool.threads();
  // Threads write runs of memory that are far from each other, and what one run takes from the file lies together.
  const auto in_chunks = [&](std::int64_t count, std::int64_t bytes, auto pack) {
    const std::int64_t chunk = std::max(kChunkBytes * threads / std::max<std::int64_t>(bytes, 1), threads);
    for (std::int64_t from = 0; from < count; from += chunk) pack(Range{from, std::min(from + chunk, count)});
  };
  if (source.strides.column == 1 && source.taps == 1) {
    in_chunks(source.depth, source.columns * PanelReader::kFloat, [&](Range rows) {
      const std::int64_t parts = std::min(threads, panels);
      pool.parallel_for(parts, [&](std::int64_t part) {
        const Range mine = range_of(panels, parts, part);
        if (rows.begin == 0) packer.populate_panels(mine);
        packer.rows(rows, mine);
      });
      reader.set_aside(source.first + rows.begin * source.strides.row, source.first + rows.end * source.strides.row);
    });
    return;
  }
  in_chunks(panels, source.taps * source.depth * width * PanelReader::kFloat, [&](Range chunk) {
    const std::int64_t parts = std::min(threads, chunk.size());
    pool.parallel_for(parts, [&](std::int64_t part) {
      Range mine = range_of(chunk.size(), parts, part);
      mine = {chunk.begin + mine.begin, chunk.begin + mine.end};
      packer.populate_panels(mine);
      for (std::int64_t panel = mine.begin; panel < mine.end; ++panel) packer.panel(panel);
    });
    reader.set_aside(source.first + chunk.begin * width * source.strides.column,
                     source.first + std::min(chunk.end * width, source.columns) * source.strides.column);
  });
}

}  // namespace ml::cpu
