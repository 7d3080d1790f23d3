#include "libmlclient/files/model_folder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ml/error.h"

namespace ml::files {

ModelFolder::ModelFolder(const std::string& model) : path_(std::filesystem::path(model).parent_path()) {
  if (path_.empty()) path_ = ".";
  fd_ = transport::UniqueFd(open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd_) throw Error(Code::io, "the folder '" + path_.string() + "' cannot be opened: " + std::strerror(errno));
}

std::shared_ptr<MappedFile> ModelFolder::map(const std::string& location) const {
  const std::filesystem::path relative(location);
  const std::string name = "'" + location + "' in the model's folder, '" + path_.string() + "',";
  // ".." is refused even where the path comes back: what a model names must not depend on the folder's own name.
  const bool climbs = std::ranges::find(relative, std::filesystem::path("..")) != relative.end();
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;  // a pipe without a writer is refused, not waited for
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const transport::UniqueFd file(
      climbs ? -1 : static_cast<int>(syscall(SYS_openat2, fd_.get(), location.c_str(), &how, sizeof how)));
  const int error = climbs ? EXDEV : errno;
  if (file) return std::make_shared<MappedFile>(file.get(), (path_ / relative).string());
  if (error == EXDEV || error == ELOOP) {
    throw Error(Code::denied, name + " leads out of it", {},
                "data files have to lie in the model's folder or below it, not behind a link that leads out of it");
  }
  throw Error(error == ENOENT || error == ENOTDIR ? Code::not_found : Code::io,
              name + " cannot be opened: " + std::strerror(error), {},
              "keep a model together with the data files that it was saved with");
}

}  // namespace ml::files
