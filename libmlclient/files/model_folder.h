// The files that lie beside a model: what a file from anywhere may name, and nothing else of the file system.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "libmlclient/files/mapped_file.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::files {

class ModelFolder {
 public:
  // The folder of the model at `model`. Links in the path to it are followed, but not one that the model's own name is.
  explicit ModelFolder(const std::string& model);

  // `location` is a path from the folder. Throws denied where it leaves the folder: absolute, with "..", or through a
  // link; not_found where there is no such file; io for what is no regular file and whatever else goes wrong.
  std::shared_ptr<MappedFile> map(const std::string& location) const;

 private:
  std::filesystem::path path_;
  transport::UniqueFd fd_;
};

}  // namespace ml::files
