#include "tools/mlbench/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "libmlclient/transport/unique_fd.h"

namespace ml::bench {

double evict(std::span<const std::string> files) {
  constexpr std::size_t kPage = 4096;
  double pages = 0, cached = 0;
  for (const std::string& path : files) {
    const transport::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat about {};
    if (!file || fstat(file.get(), &about) != 0 || about.st_size == 0) continue;
    fsync(file.get());  // dirty pages are not dropped
    posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    const auto bytes = static_cast<std::size_t>(about.st_size);
    void* const memory = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
    if (memory == MAP_FAILED) continue;
    std::vector<unsigned char> resident((bytes + kPage - 1) / kPage);
    mincore(memory, bytes, resident.data());
    munmap(memory, bytes);
    pages += static_cast<double>(resident.size());
    cached +=
        static_cast<double>(std::ranges::count_if(resident, [](unsigned char flags) { return (flags & 1) != 0; }));
  }
  return pages > 0 ? 1 - cached / pages : 0;
}

}  // namespace ml::bench
