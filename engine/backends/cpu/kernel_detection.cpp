// Non-maximum suppression. A class is done by one thread: its candidates come from a heap, so that only those are
// ordered that are looked at, and each is compared with the boxes that are kept, many at a time.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "engine/backends/cpu/axis_view.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/partition.h"

namespace ml::cpu {
namespace {

constexpr double kElementsPerPart = 8192;

// As the graph's minimum and maximum: NaN wins.
template <class T>
T lower(T a, T b) {
  return a < b || a != a ? a : b;
}
template <class T>
T upper(T a, T b) {
  return a > b || a != a ? a : b;
}

template <class T>
struct Box {
  T low[2], high[2], area;
  explicit Box(const T* corners) {
    for (int d = 0; d < 2; ++d) {
      low[d] = lower(corners[d], corners[d + 2]);
      high[d] = upper(corners[d], corners[d + 2]);
    }
    area = (high[0] - low[0]) * (high[1] - low[1]);
  }
};

// The boxes that are kept, coordinate by coordinate, in memory of `bytes(most)`.
template <class T>
class Kept {
 public:
  Kept(std::byte* memory, std::int64_t most) : most_(most) {
    for (T*& list : lists_) {
      list = reinterpret_cast<T*>(memory);
      memory += sizeof(T) * static_cast<std::size_t>(most);
    }
  }
  static std::size_t bytes(std::int64_t most) { return 5 * sizeof(T) * static_cast<std::size_t>(most); }

  void add(const Box<T>& box) {
    const T values[] = {box.low[0], box.low[1], box.high[0], box.high[1], box.area};
    for (int i = 0; i < 5; ++i) lists_[i][count_] = values[i];
    ++count_;
  }
  std::int64_t count() const { return count_; }
  bool full() const { return count_ == most_; }

  // Whether one of them shares more than `overlap` of what it and `box` cover together.
  bool cover(const Box<T>& box, T overlap) const {
    constexpr std::int64_t kAtOnce = 32;
    const T *low0 = lists_[0], *low1 = lists_[1], *high0 = lists_[2], *high1 = lists_[3], *area = lists_[4];
    for (std::int64_t begin = 0; begin < count_; begin += kAtOnce) {
      const std::int64_t end = std::min(begin + kAtOnce, count_);
      int covered = 0;
      for (std::int64_t i = begin; i < end; ++i) {
        const T side0 = lower(high0[i], box.high[0]) - upper(low0[i], box.low[0]);
        const T side1 = lower(high1[i], box.high[1]) - upper(low1[i], box.low[1]);
        const T shared = side0 * side1, joint = area[i] + box.area - shared;
        covered |= static_cast<int>(side0 > 0) & static_cast<int>(side1 > 0) & static_cast<int>(shared > 0) &
                   static_cast<int>(area[i] > 0) & static_cast<int>(box.area > 0) & static_cast<int>(joint > 0) &
                   static_cast<int>(shared / joint > overlap);
      }
      if (covered != 0) return true;
    }
    return false;
  }

 private:
  T* lists_[5];
  std::int64_t most_, count_ = 0;
};

template <class T>
std::unique_ptr<Kernel> compile_suppression(const KernelRequest& request) {
  const Shape &scores_shape = request.inputs[1].type.shape, &kept_shape = request.outputs[0].type.shape;
  const std::int64_t classes = scores_shape[1], boxes_count = scores_shape[2], most = kept_shape[2];
  const std::int64_t lines = scores_shape[0] * classes;
  const std::int64_t parts = part_count(static_cast<double>(scores_shape.elements()), kElementsPerPart, lines);
  const std::size_t candidate_bytes = aligned_size(static_cast<std::size_t>(boxes_count) * sizeof(std::int64_t));
  const std::size_t part_bytes = candidate_bytes + aligned_size(Kept<T>::bytes(most));
  const auto run = [=](CpuStream& stream, Spans inputs, Spans outputs, std::byte* scratch) {
    const T* const boxes = data_of<T>(inputs[0]);
    const T* const scores = data_of<T>(inputs[1]);
    const T overlap = *data_of<T>(inputs[2]), least = *data_of<T>(inputs[3]);
    auto* const indices = data_of<std::int64_t>(outputs[0]);
    auto* const counts = data_of<std::int64_t>(outputs[1]);
    stream.pool().parallel_for(parts, [&](std::int64_t part) {
      std::byte* const memory = scratch + static_cast<std::size_t>(part) * part_bytes;
      const Range range = range_of(lines, parts, part);
      for (std::int64_t line = range.begin; line < range.end; ++line) {
        const T* const score = scores + line * boxes_count;
        const T* const picture = boxes + line / classes * boxes_count * 4;
        auto* const heap = reinterpret_cast<std::int64_t*>(memory);
        std::int64_t size = 0;
        for (std::int64_t i = 0; i < boxes_count; ++i) {
          if (score[i] > least) heap[size++] = i;
        }
        const auto worse = [score](std::int64_t a, std::int64_t b) {
          return score[a] < score[b] || (score[a] == score[b] && a > b);
        };
        std::make_heap(heap, heap + size, worse);
        Kept<T> kept(memory + candidate_bytes, most);
        std::int64_t* const answer = indices == nullptr ? nullptr : indices + line * most;
        while (size > 0 && !kept.full()) {
          std::pop_heap(heap, heap + size, worse);
          const std::int64_t candidate = heap[--size];
          const Box<T> box(picture + candidate * 4);
          if (kept.cover(box, overlap)) continue;
          if (answer != nullptr) answer[kept.count()] = candidate;
          kept.add(box);
        }
        if (answer != nullptr) std::fill(answer + kept.count(), answer + most, 0);
        if (counts != nullptr) counts[line] = kept.count();
      }
    });
  };
  return make_kernel(run, part_bytes * static_cast<std::size_t>(parts));
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache&) {
  return request.inputs[0].type.dtype == DType::f64 ? compile_suppression<double>(request)
                                                    : compile_suppression<float>(request);
}

const char* refuse(const KernelRequest& request) {
  const DType dtype = request.inputs[0].type.dtype;
  return dtype == DType::f32 || dtype == DType::f64 ? refuse_strided(request) : refusal::kDType;
}

constexpr Implementation kTable[] = {
    {.op = "non_max_suppression", .kernel = "classes", .refuse = refuse, .compile = compile},
};

}  // namespace

std::span<const Implementation> detection_implementations() { return kTable; }

}  // namespace ml::cpu
