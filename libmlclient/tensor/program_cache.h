// Programs of a connection by the structure of what they compute.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/graph/op.h"
#include "kernel/uapi/mlaccel_ring.h"

namespace ml::client {

class Connection;

// An expression without its values: calls in an order in which they can run, and what each reads. Two expressions with
// equal structures are computed by one program.
struct Structure {
  static constexpr std::uint32_t kLeaf = 0x80000000u;
  // kLeaf | index of a leaf, or step << 8 | output of an earlier step.
  using Reference = std::uint32_t;
  struct Step {
    const Op* op;
    AttributesPtr attributes;
    std::uint32_t first_input;  // into `inputs`
    std::uint32_t input_count;
    std::vector<TensorType> outputs;
  };
  std::vector<TensorType> leaves;
  std::vector<Step> steps;
  std::vector<Reference> inputs;
  std::vector<Reference> results;
  std::uint64_t hash = 0;
};
bool operator==(const Structure& a, const Structure& b);

// A program that the worker holds; freed there when the last user lets go.
class Program {
 public:
  Program(std::weak_ptr<Connection> connection, mlring_handle handle)
      : connection_(std::move(connection)), handle_(handle) {}
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  mlring_handle handle() const noexcept { return handle_; }
  bool is_of(const std::shared_ptr<Connection>& connection) const { return connection_.lock() == connection; }

 private:
  std::weak_ptr<Connection> connection_;
  mlring_handle handle_;
};

// Holds the programs that were used last. Safe from several threads.
class ProgramCache {
 public:
  // Null when there is none of that structure.
  std::shared_ptr<Program> find(const Structure& structure);
  void insert(const Structure& structure, std::shared_ptr<Program> program);

 private:
  static constexpr std::size_t kLimit = 1024;
  struct Entry {
    Structure structure;
    std::shared_ptr<Program> program;
  };
  std::mutex mutex_;
  std::list<Entry> entries_;  // the one used last is first
  std::unordered_multimap<std::uint64_t, std::list<Entry>::iterator> by_hash_;
};

}  // namespace ml::client
