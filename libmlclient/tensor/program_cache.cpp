#include "libmlclient/tensor/program_cache.h"

#include <algorithm>

#include "libmlclient/session/connection.h"
#include "libmlclient/session/session_core.h"

namespace ml::client {

bool operator==(const Structure& a, const Structure& b) {
  const auto same_step = [](const Structure::Step& x, const Structure::Step& y) {
    return x.op == y.op && x.first_input == y.first_input && x.input_count == y.input_count &&
           (x.attributes == y.attributes || equal(*x.attributes, *y.attributes));
  };
  return a.hash == b.hash && a.inputs == b.inputs && a.results == b.results && a.leaves == b.leaves &&
         std::ranges::equal(a.steps, b.steps, same_step);
}

Program::~Program() {
  if (SessionCore::in_forked_child()) return;
  if (const auto connection = connection_.lock()) connection->free_later(handle_);
}

std::shared_ptr<Program> ProgramCache::find(const Structure& structure) {
  const std::lock_guard lock(mutex_);
  const auto [first, last] = by_hash_.equal_range(structure.hash);
  for (auto at = first; at != last; ++at) {
    if (!(at->second->structure == structure)) continue;
    entries_.splice(entries_.begin(), entries_, at->second);
    return at->second->program;
  }
  return nullptr;
}

void ProgramCache::insert(const Structure& structure, std::shared_ptr<Program> program) {
  const std::lock_guard lock(mutex_);
  entries_.push_front({structure, std::move(program)});
  by_hash_.emplace(structure.hash, entries_.begin());
  if (entries_.size() <= kLimit) return;
  const auto oldest = std::prev(entries_.end());
  const auto [first, last] = by_hash_.equal_range(oldest->structure.hash);
  by_hash_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == oldest; }));
  entries_.pop_back();
}

}  // namespace ml::client
