// Which models there are, who sees them, and what references mean. Only data: no files, no workers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/registry/reference.h"
#include "daemon/registry/registry.h"
#include "daemon/store/store.h"

namespace ml::daemon {

inline constexpr const char* kLatest = "latest";

struct LibraryEntry {
  ModelVersion model;
  enum class Bytes { unverified, verifying, verified } bytes = Bytes::unverified;
  std::vector<std::function<void(const Error* error)>> when_verified;
};

class Library {
 public:
  using Entry = std::shared_ptr<LibraryEntry>;

  Entry insert(ModelVersion model);
  void remove(const LibraryEntry& entry);
  // A number for a new version, never given again.
  std::uint64_t new_version(std::uint32_t owner, const std::string& name);
  void reserve_versions(std::uint32_t owner, const std::string& name, std::uint64_t up_to);

  // What it means for `who`; throws not_found with one text for what does not exist and what `who` may not see. An
  // administrator sees everything.
  Entry find(const std::string& reference, const Peer& who);
  // That version of that model, whoever asks; null when there is none.
  Entry find(std::uint32_t owner, const std::string& name, std::uint64_t version) const;
  Entry find(std::uint64_t id) const;
  Entry newest(std::uint32_t owner, const std::string& name) const;  // null: none
  std::vector<Entry> visible(const Peer& who) const;

  void set_alias(const StoredAlias& alias);
  // Null: never set.
  const StoredAlias* alias(std::uint32_t owner, const std::string& name, const std::string& alias) const;
  std::size_t alias_count(std::uint32_t owner, const std::string& name) const;

 private:
  using Key = std::pair<std::uint32_t, std::string>;  // owner, name
  using Versions = std::map<std::uint64_t, Entry>;
  using Models = std::map<Key, Versions>;

  void tell_aliases(const Key& key);
  const std::string& name_of(std::uint32_t uid);
  bool is_called(std::uint32_t uid, const std::string& owner);
  // The owner that a reference names, among those that have a model in `models`; false: nobody.
  bool find_owner(const Models& models, const std::string& owner, const Peer& who, std::uint32_t& uid);
  Entry select(const Models& models, std::uint32_t owner, const Reference& reference) const;

  Models all_;
  Models shared_;  // those of all_ that others may see, and nothing else: the search of others looks here alone
  std::map<std::uint64_t, Entry> by_id_;
  std::map<Key, std::uint64_t> highest_;
  std::map<Key, std::map<std::string, StoredAlias>> aliases_;
  std::map<std::uint32_t, std::string> names_;
};

}  // namespace ml::daemon
