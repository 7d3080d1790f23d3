#include "daemon/registry/scan.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <system_error>

#include "daemon/registry/model_file.h"
#include "daemon/registry/reference.h"
#include "ml/error.h"

namespace ml::daemon {

namespace {

namespace fs = std::filesystem;

constexpr const char* kDamaged = "damaged";
constexpr const char* kIncoming = "incoming";

[[noreturn]] void refuse(const char* what, const std::string& path, int error) {
  throw Error(error == ENOSPC || error == EDQUOT ? Code::no_space : Code::io,
              std::string(what) + ": " + std::generic_category().message(error), path);
}

void make_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) refuse("can't make the folder", path, errno);
}

std::optional<std::uint32_t> parse_uid(const std::string& text) {
  std::uint32_t uid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid);
  if (error != std::errc() || end != text.data() + text.size() || std::to_string(uid) != text) return std::nullopt;
  return uid;
}

// The names in a folder, sorted, so that what is reported does not depend on the disk.
std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error) refuse("can't list the folder", path, error.value());
  std::sort(names.begin(), names.end());
  return names;
}

bool is_folder(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// Why a version's folder can't serve; empty: it can, and `manifest` is what it says.
std::string problem_of(const std::string& folder, std::uint32_t owner, const std::string& name, std::uint64_t version,
                       Manifest& manifest) {
  if (!is_folder(folder)) return "it is not a folder";
  try {
    manifest = read_manifest(folder + "/" + kManifestFile);
  } catch (const Error& error) {
    return error.message();
  }
  if (manifest.owner != owner || manifest.name != name || manifest.version != version) {
    return "the manifest is of " + std::to_string(manifest.owner) + "/" + manifest.name + ":" +
           std::to_string(manifest.version);
  }
  struct stat status {};
  if (lstat((folder + "/" + kModelFile).c_str(), &status) != 0) return std::string(kModelFile) + " is missing";
  if (!S_ISREG(status.st_mode)) return std::string(kModelFile) + " is not a file";
  if (static_cast<std::uint64_t>(status.st_size) != manifest.bytes) {
    return std::string(kModelFile) + " has " + std::to_string(status.st_size) + " bytes and should have " +
           std::to_string(manifest.bytes);
  }
  return {};
}

}  // namespace

ModelFolders::ModelFolders(const std::string& state_directory) : root_(state_directory + "/models") {
  make_folder(root_);
  make_folder(root_ + "/" + kDamaged);
  make_folder(root_ + "/" + kIncoming);
}

std::string ModelFolders::version(std::uint32_t owner, const std::string& name, std::uint64_t version) const {
  return root_ + "/" + std::to_string(owner) + "/" + name + "/" + std::to_string(version);
}

std::string ModelFolders::new_incoming() {
  std::string path = root_ + "/" + kIncoming + "/" + std::to_string(++incoming_);
  if (mkdir(path.c_str(), 0700) != 0) refuse("can't make the folder", path, errno);
  return path;
}

void ModelFolders::publish(const std::string& incoming, const Manifest& manifest) {
  write_and_sync(incoming + "/" + kManifestFile, to_toml(manifest));
  sync_folder(incoming);
  const std::string owner = root_ + "/" + std::to_string(manifest.owner);
  const std::string name = owner + "/" + manifest.name;
  make_folder(owner);
  make_folder(name);
  const std::string to = version(manifest.owner, manifest.name, manifest.version);
  if (rename(incoming.c_str(), to.c_str()) != 0) refuse("can't move the model there", to, errno);
  try {
    sync_folder(name);
    sync_folder(owner);
    sync_folder(root_);
  } catch (...) {
    rename(to.c_str(), incoming.c_str());  // what its owner is told is refused must not be there after a restart
    throw;
  }
}

std::string ModelFolders::set_aside(const std::string& entry, const std::string& reason) {
  std::string flat = entry;
  std::replace(flat.begin(), flat.end(), '/', '+');
  std::string to = root_ + "/" + kDamaged + "/" + flat;
  for (int attempt = 2; fs::exists(fs::symlink_status(to)); ++attempt)
    to = root_ + "/" + kDamaged + "/" + flat + "+" + std::to_string(attempt);
  const std::string sentence = "models/" + entry + ": " + reason;
  if (rename((root_ + "/" + entry).c_str(), to.c_str()) != 0)
    return sentence + "; it can't be set aside: " + std::generic_category().message(errno);
  std::ofstream(to + ".reason") << reason << '\n';
  return sentence + "; set aside as " + to;
}

ModelFolders::Found ModelFolders::scan() {
  Found found;
  for (const std::string& name : names_in(root_ + "/" + kIncoming)) {
    std::error_code error;
    fs::remove_all(root_ + "/" + kIncoming + "/" + name, error);
    if (error) refuse("can't remove what an earlier mld left", root_ + "/" + kIncoming + "/" + name, error.value());
  }
  scan_damaged(found);
  for (const std::string& owner : names_in(root_))
    if (owner != kDamaged && owner != kIncoming) scan_owner(owner, found);
  return found;
}

void ModelFolders::scan_owner(const std::string& owner, Found& found) {
  const std::optional<std::uint32_t> uid = parse_uid(owner);
  if (!uid || !is_folder(root_ + "/" + owner)) {
    found.set_aside.push_back(set_aside(owner, "it is not the folder of a user"));
    return;
  }
  for (const std::string& name : names_in(root_ + "/" + owner)) {
    const std::string entry = fs::path(owner) / name;
    if (valid_name(name) && is_folder(fs::path(root_) / entry)) {
      scan_name(entry, *uid, name, found);
    } else {
      found.set_aside.push_back(set_aside(entry, "it is not the folder of a model"));
    }
  }
}

void ModelFolders::scan_name(const std::string& entry, std::uint32_t owner, const std::string& name, Found& found) {
  for (const std::string& text : names_in(root_ + "/" + entry)) {
    const std::uint64_t version = parse_version(text);
    Manifest manifest;
    const std::string problem = version == 0
                                    ? "it is not the folder of a version"
                                    : problem_of(fs::path(root_) / entry / text, owner, name, version, manifest);
    std::uint64_t& highest = found.highest[{owner, name}];
    highest = std::max(highest, version);
    if (problem.empty()) {
      found.models.push_back(std::move(manifest));
    } else {
      found.set_aside.push_back(set_aside(fs::path(entry) / text, problem));
    }
  }
}

// "1000+fashion+3": what was set aside keeps its number taken.
void ModelFolders::scan_damaged(Found& found) const {
  for (const std::string& flat : names_in(root_ + "/" + kDamaged)) {
    const std::size_t first = flat.find('+');
    const std::size_t second = first == flat.npos ? flat.npos : flat.find('+', first + 1);
    if (second == flat.npos) continue;
    const std::optional<std::uint32_t> owner = parse_uid(flat.substr(0, first));
    const std::string rest = flat.substr(second + 1);
    const std::uint64_t version = parse_version(rest.substr(0, rest.find_first_not_of("0123456789")));
    if (!owner || version == 0) continue;
    std::uint64_t& highest = found.highest[{*owner, flat.substr(first + 1, second - first - 1)}];
    highest = std::max(highest, version);
  }
}

}  // namespace ml::daemon
