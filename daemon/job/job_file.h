// A job file (docs/jobs.md) as a struct, and what is made of it. Used by mld-job, which runs it, and by mlctl, which
// checks it before it is submitted. mld itself never reads one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/job/layers.h"
#include "ml/data.h"
#include "ml/train.h"

namespace ml::job {

struct DataFiles {
  std::string format;                   // "idx", "npy"
  std::vector<std::string> train;       // inputs, targets
  std::vector<std::string> validation;  // the same, or empty
  double mean = 0, deviation = 1;       // of pixels, idx only
  std::int64_t batch = 0;
  bool shuffle = true;
  bool drop_last = false;
};

struct Training {
  std::string loss;       // "cross_entropy", "mean_squared_error"
  std::string optimizer;  // "sgd", "adam", "adamw"
  double learning_rate = 0;
  double momentum = 0;                                // sgd
  bool nesterov = false;                              // sgd
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // adam, adamw
  std::optional<double> weight_decay;                 // none: the optimizer's default
  std::string schedule = "constant";                  // "constant", "cosine", "step"
  double final_rate = 0;                              // cosine
  std::int64_t every = 0;                             // step: steps between two decays
  double factor = 0.1;                                // step
  std::int64_t warmup = 0;                            // steps
  std::int64_t epochs = 0;
  std::string checkpoint;
  std::int64_t checkpoint_every = 0;  // steps; 0: after each epoch
  bool keep_checkpoint = false;       // when training is done
};

struct JobFile {
  std::string file;  // how messages name it
  std::string name;
  std::string model;  // empty: the model is not registered
  bool shared = false;
  std::string output;  // empty: no file is written
  std::uint64_t seed = 0;
  std::uint32_t devices = 1;
  std::string backend = "cpu";
  std::int32_t priority = 0;
  std::uint64_t deadline_ns = 0;  // from submission; 0: none
  DataFiles data;
  std::vector<Layer> layers;
  Training train;
};

// Throws invalid_argument whose text lists every mistake, one a line: "fashion.toml:12: data.batch: ...".
JobFile parse_job_file(std::string_view text, const std::string& file);

// Relative paths start in `directory` (empty: the working directory). These throw what opening the files throws.
std::string in_directory(const std::string& path, const std::string& directory);
std::shared_ptr<const data::Dataset> open_training_data(const JobFile& job, const std::string& directory);
std::shared_ptr<const data::Dataset> open_validation_data(const JobFile& job, const std::string& directory);  // or null
data::LoaderOptions loader_options(const JobFile& job, bool training);
train::Loss loss_of(const JobFile& job);
std::unique_ptr<optim::Optimizer> optimizer_of(const JobFile& job, const nn::Module& network);
optim::Schedule schedule_of(const JobFile& job, std::int64_t steps);  // of `steps` steps in all

}  // namespace ml::job
