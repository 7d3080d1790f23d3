// A data set that is learned in a second, and job files that train on it.
#pragma once

#include <cstdint>
#include <string>

namespace ml::test {

// Writes NAME-images and NAME-labels (IDX): pictures of 8 x 8 pixels, of which the brightest quarter is the class (0 to
// 3).
void write_pictures(const std::string& folder, const std::string& name, int count, std::uint64_t seed = 1);

struct JobFile {
  std::string name = "quarters";
  std::string model = {};         // registered under this name; empty: not registered
  std::string data = "pictures";  // NAME of write_pictures()
  int epochs = 2;
  int batch = 16;
  int checkpoint_every = 0;   // steps; 0: after each epoch
  bool random = true;         // shuffling and dropout
  std::string more_job = {};  // lines for [job]
};
// A convolution, batch norm, dropout and a linear layer, Adam: all that has state. Relative paths start in its folder.
std::string job_text(const JobFile& job);
// Writes NAME.toml and answers its path.
std::string write_job(const std::string& folder, const JobFile& job);

}  // namespace ml::test
