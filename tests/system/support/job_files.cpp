#include "tests/system/support/job_files.h"

#include <fstream>
#include <initializer_list>
#include <random>
#include <stdexcept>

namespace ml::test {
namespace {

constexpr int kSide = 8;

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path);
}

// The head of an IDX file of unsigned bytes: 0, 0, 8, dimensions, then each extent, most significant byte first.
std::string idx_head(std::initializer_list<int> dims) {
  std::string head{'\0', '\0', '\x08', static_cast<char>(dims.size())};
  for (const int dim : dims) {
    for (int shift = 24; shift >= 0; shift -= 8) head += static_cast<char>(dim >> shift & 0xff);
  }
  return head;
}

}  // namespace

void write_pictures(const std::string& folder, const std::string& name, int count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string images = idx_head({count, kSide, kSide}), labels = idx_head({count});
  for (int i = 0; i < count; ++i) {
    const int label = static_cast<int>(random() % 4);
    labels += static_cast<char>(label);
    for (int row = 0; row < kSide; ++row) {
      for (int column = 0; column < kSide; ++column) {
        const int quarter = (row >= kSide / 2 ? 2 : 0) + (column >= kSide / 2 ? 1 : 0);
        images += static_cast<char>(random() % 100 + (quarter == label ? 120 : 0));
      }
    }
  }
  write_file(folder + "/" + name + "-images", images);
  write_file(folder + "/" + name + "-labels", labels);
}

std::string job_text(const JobFile& job) {
  const auto layer = [](const std::string& lines) { return "\n[[layer]]\n" + lines; };
  std::string text = "name = \"" + job.name + "\"\noutput = \"" + job.name + ".mlmodel\"\nseed = 7\n";
  if (!job.model.empty()) text += "model = \"" + job.model + "\"\n";
  text += "\n[job]\ndevices = 1\n" + job.more_job;
  text += "\n[data]\nformat = \"idx\"\ntrain = [\"" + job.data + "-images\", \"" + job.data + "-labels\"]\n";
  text += "mean = 0.4\ndeviation = 0.25\nbatch = " + std::to_string(job.batch) + "\ndrop_last = true\n";
  text += std::string("shuffle = ") + (job.random ? "true" : "false") + "\n";
  text += layer("type = \"conv2d\"\nin = 1\nout = 4\nkernel = 3\npadding = 1\n");
  text += layer("type = \"batch_norm2d\"\nfeatures = 4\n") + layer("type = \"relu\"\n");
  text += layer("type = \"flatten\"\n");
  if (job.random) text += layer("type = \"dropout\"\np = 0.1\n");
  text += layer("type = \"linear\"\nin = 256\nout = 4\n");
  text += "\n[train]\nloss = \"cross_entropy\"\noptimizer = \"adam\"\nlearning_rate = 0.005\nschedule = \"constant\"\n";
  text += "epochs = " + std::to_string(job.epochs) + "\ncheckpoint = \"" + job.name + ".checkpoint\"\n";
  text += "checkpoint_every = " + std::to_string(job.checkpoint_every) + "\n";
  return text;
}

std::string write_job(const std::string& folder, const JobFile& job) {
  std::string path = folder + "/" + job.name + ".toml";
  write_file(path, job_text(job));
  return path;
}

}  // namespace ml::test
