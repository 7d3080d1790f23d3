#include "daemon/registry/library.h"

#include <algorithm>
#include <utility>

#include "daemon/process/users.h"
#include "daemon/sessions/sessions.h"
#include "ml/error.h"

namespace ml::daemon {

Library::Entry Library::insert(ModelVersion model) {
  auto entry = std::make_shared<LibraryEntry>();
  entry->model = std::move(model);
  const Key key{entry->model.owner, entry->model.name};
  all_[key][entry->model.version] = entry;
  if (entry->model.shared) shared_[key][entry->model.version] = entry;
  by_id_[entry->model.id] = entry;
  reserve_versions(key.first, key.second, entry->model.version);
  tell_aliases(key);
  return entry;
}

void Library::remove(const LibraryEntry& entry) {
  const Key key{entry.model.owner, entry.model.name};
  const std::uint64_t version = entry.model.version;
  by_id_.erase(entry.model.id);
  for (Models* models : {&all_, &shared_}) {
    const auto found = models->find(key);
    if (found == models->end()) continue;
    found->second.erase(version);
    if (found->second.empty()) models->erase(found);
  }
  tell_aliases(key);
}

std::uint64_t Library::new_version(std::uint32_t owner, const std::string& name) { return ++highest_[{owner, name}]; }

void Library::reserve_versions(std::uint32_t owner, const std::string& name, std::uint64_t up_to) {
  std::uint64_t& highest = highest_[{owner, name}];
  highest = std::max(highest, up_to);
}

void Library::set_alias(const StoredAlias& alias) {
  const Key key{alias.owner, alias.name};
  aliases_[key].insert_or_assign(alias.alias, alias);
  reserve_versions(alias.owner, alias.name, std::max(alias.version, alias.previous));
  tell_aliases(key);
}

const StoredAlias* Library::alias(std::uint32_t owner, const std::string& name, const std::string& alias) const {
  const auto of_model = aliases_.find({owner, name});
  if (of_model == aliases_.end()) return nullptr;
  const auto found = of_model->second.find(alias);
  return found == of_model->second.end() ? nullptr : &found->second;
}

std::size_t Library::alias_count(std::uint32_t owner, const std::string& name) const {
  const auto of_model = aliases_.find({owner, name});
  return of_model == aliases_.end() ? 0 : of_model->second.size();
}

void Library::tell_aliases(const Key& key) {
  const auto found = all_.find(key);
  if (found == all_.end()) return;
  for (auto& [version, entry] : found->second) entry->model.aliases.clear();
  if (!alias(key.first, key.second, kLatest)) found->second.rbegin()->second->model.aliases.push_back(kLatest);
  for (const auto& [name, alias] : aliases_[key])
    if (const auto means = found->second.find(alias.version); means != found->second.end())
      means->second->model.aliases.push_back(name);
}

const std::string& Library::name_of(std::uint32_t uid) {
  const auto found = names_.find(uid);
  return found != names_.end() ? found->second : names_.emplace(uid, user_name(uid)).first->second;
}

bool Library::is_called(std::uint32_t uid, const std::string& owner) {
  return owner == name_of(uid) || owner == std::to_string(uid);
}

bool Library::find_owner(const Models& models, const std::string& owner, const Peer& who, std::uint32_t& uid) {
  if (owner.empty() || is_called(who.uid, owner)) {
    uid = who.uid;
    return true;
  }
  for (auto it = models.begin(); it != models.end();) {
    uid = it->first.first;
    if (is_called(uid, owner)) return true;
    while (it != models.end() && it->first.first == uid) ++it;
  }
  return false;
}

Library::Entry Library::select(const Models& models, std::uint32_t owner, const Reference& reference) const {
  const auto found = models.find({owner, reference.name});
  if (found == models.end()) return nullptr;
  const Versions& versions = found->second;
  std::uint64_t version = reference.version;
  if (version == 0) {
    const std::string& name = reference.alias.empty() ? kLatest : reference.alias;
    if (const StoredAlias* means = alias(owner, reference.name, name)) {
      version = means->version;
    } else if (name == kLatest) {
      return versions.rbegin()->second;
    }
  }
  const auto entry = versions.find(version);
  return entry == versions.end() ? nullptr : entry->second;
}

Library::Entry Library::find(const std::string& reference, const Peer& who) {
  const Reference parsed = parse_reference(reference);
  std::uint32_t owner = 0;
  const bool own = parsed.owner.empty() || is_called(who.uid, parsed.owner);
  const Models& models = own || who.admin ? all_ : shared_;
  if (find_owner(models, parsed.owner, who, owner))
    if (Entry entry = select(models, owner, parsed)) return entry;
  throw Error(Code::not_found, "there is no model '" + reference + "' that you may use", {},
              "`mlctl model ls` lists those that there are for you");
}

Library::Entry Library::find(std::uint32_t owner, const std::string& name, std::uint64_t version) const {
  const auto found = all_.find({owner, name});
  if (found == all_.end()) return nullptr;
  const auto entry = found->second.find(version);
  return entry == found->second.end() ? nullptr : entry->second;
}

Library::Entry Library::newest(std::uint32_t owner, const std::string& name) const {
  const auto found = all_.find({owner, name});
  return found == all_.end() ? nullptr : found->second.rbegin()->second;
}

Library::Entry Library::find(std::uint64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

std::vector<Library::Entry> Library::visible(const Peer& who) const {
  std::vector<Entry> entries;
  for (const auto& [key, versions] : all_)
    for (const auto& [version, entry] : versions)
      if (who.admin || key.first == who.uid || entry->model.shared) entries.push_back(entry);
  return entries;
}

}  // namespace ml::daemon
