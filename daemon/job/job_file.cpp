#include "daemon/job/job_file.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "daemon/config/units.h"
#include "daemon/job/values.h"

namespace ml::job {
namespace {

constexpr std::size_t kMaxNameBytes = 63;
constexpr std::int64_t kMostDevices = 1024;
constexpr std::int64_t kMaxPriority = 100;

bool good_name(const std::string& name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, good) && name[0] != '.' &&
         name[0] != '-';
}

class Reader {
 public:
  Reader(const toml::table& root, JobFile& job, daemon::Mistakes& mistakes)
      : root_(root), job_(job), mistakes_(mistakes) {}

  void read() {
    JobTable top(root_, "", mistakes_);
    name(top, "name", job_.name, Need::required);
    name(top, "model", job_.model, Need::optional);
    top.flag("shared", job_.shared);
    if (job_.shared && !top.has("model")) top.refuse("shared", "there is no model to share; name one with `model`");
    top.text("output", job_.output, Need::optional);
    std::int64_t seed = 0;
    top.integer("seed", seed, 0, kLargest, Need::optional);
    job_.seed = static_cast<std::uint64_t>(seed);
    if (const toml::table* const table = section(top, "job", Need::optional)) job(JobTable(*table, "job.", mistakes_));
    if (const toml::table* const table = section(top, "data", Need::required))
      data(JobTable(*table, "data.", mistakes_));
    layers(top);
    if (const toml::table* const table = section(top, "train", Need::required))
      training(JobTable(*table, "train.", mistakes_));
    top.keys.finish();
    if (!top.has("model") && !top.has("output"))
      mistakes_.add(1, "the result goes nowhere; name a `model`, an `output` file, or both");
  }

 private:
  const toml::table* section(JobTable& top, std::string_view key, Need need) {
    const toml::node* const at = top.keys.node(key);
    if (at == nullptr) {
      if (need == Need::required) mistakes_.add(root_, "[" + std::string(key) + "] is missing");
      return nullptr;
    }
    if (at->as_table() == nullptr) top.keys.mistake(key, *at, "expected a table: [" + std::string(key) + "]");
    return at->as_table();
  }

  void name(JobTable& top, std::string_view key, std::string& out, Need need) {
    top.text(key, out, need);
    if (!out.empty() && !good_name(out)) {
      top.refuse(key, "'" + out + "' is no name; expected up to " + std::to_string(kMaxNameBytes) +
                          " letters, digits, '.', '_' and '-', the first one a letter, digit or '_'");
    }
  }

  void job(JobTable t) {
    std::int64_t devices = 1, priority = 0;
    t.integer("devices", devices, 1, kMostDevices, Need::optional);
    t.text("backend", job_.backend, Need::optional);
    t.integer("priority", priority, -kMaxPriority, kMaxPriority, Need::optional);
    std::uint64_t deadline_ms = 0;
    t.keys.milliseconds("deadline", deadline_ms);
    job_.devices = static_cast<std::uint32_t>(devices);
    job_.priority = static_cast<std::int32_t>(priority);
    job_.deadline_ns = deadline_ms * 1'000'000;
    t.keys.finish();
  }

  void data(JobTable t) {
    DataFiles& data = job_.data;
    t.choice("format", data.format, {"idx", "npy"}, Need::required);
    t.two_files("train", data.train, Need::required);
    t.two_files("validation", data.validation, Need::optional);
    only(t, data.format != "npy", {"mean", "deviation"}, "only idx files have pixels to scale");
    t.number("mean", data.mean, -HUGE_VAL, HUGE_VAL, false, Need::optional);
    t.number("deviation", data.deviation, 1e-30, HUGE_VAL, false, Need::optional);
    t.integer("batch", data.batch, 1, kLargest, Need::required);
    t.flag("shuffle", data.shuffle);
    t.flag("drop_last", data.drop_last);
    t.keys.finish();
  }

  void layers(JobTable& top) {
    const toml::node* const at = top.keys.node("layer");
    const auto* const list = at == nullptr ? nullptr : at->as_array();
    if (list == nullptr || list->empty() || !list->is_array_of_tables()) {
      const std::string text = "there are no layers; expected at least one [[layer]]";
      return at == nullptr ? mistakes_.add(root_, text) : mistakes_.add(*at, text);
    }
    for (std::size_t i = 0; i < list->size(); ++i)
      job_.layers.push_back(read_layer(*list->get(i)->as_table(), i + 1, mistakes_));
  }

  void training(JobTable t) {
    Training& train = job_.train;
    t.choice("loss", train.loss, {"cross_entropy", "mean_squared_error"}, Need::required);
    t.choice("optimizer", train.optimizer, {"sgd", "adam", "adamw"}, Need::required);
    t.number("learning_rate", train.learning_rate, 0, HUGE_VAL, false, Need::required);
    if (t.has("weight_decay")) {
      double decay = 0;
      t.number("weight_decay", decay, 0, HUGE_VAL, false, Need::optional);
      train.weight_decay = decay;
    }
    only(t, train.optimizer == "sgd" || train.optimizer.empty(), {"momentum", "nesterov"}, "only sgd has it");
    t.number("momentum", train.momentum, 0, 1, false, Need::optional);
    t.flag("nesterov", train.nesterov);
    if (train.optimizer == "sgd" && train.nesterov && train.momentum == 0)
      t.refuse("nesterov", "it needs a momentum above 0");
    only(t, train.optimizer != "sgd", {"beta1", "beta2", "epsilon"}, "only adam and adamw have it");
    t.number("beta1", train.beta1, 0, 1, true, Need::optional);
    t.number("beta2", train.beta2, 0, 1, true, Need::optional);
    t.number("epsilon", train.epsilon, 0, HUGE_VAL, false, Need::optional);
    schedule(t);
    t.integer("epochs", train.epochs, 1, kLargest, Need::required);
    train.checkpoint = job_.name + ".checkpoint";
    t.text("checkpoint", train.checkpoint, Need::optional);
    t.integer("checkpoint_every", train.checkpoint_every, 0, kLargest, Need::optional);
    t.flag("keep_checkpoint", train.keep_checkpoint);
    t.keys.finish();
  }

  void schedule(JobTable& t) {
    Training& train = job_.train;
    t.choice("schedule", train.schedule, {"constant", "cosine", "step"}, Need::optional);
    only(t, train.schedule == "cosine", {"final_rate"}, "only the cosine schedule has it");
    t.number("final_rate", train.final_rate, 0, HUGE_VAL, false, Need::optional);
    only(t, train.schedule == "step", {"every", "factor"}, "only the step schedule has it");
    t.integer("every", train.every, 1, kLargest, train.schedule == "step" ? Need::required : Need::optional);
    t.number("factor", train.factor, 0, HUGE_VAL, false, Need::optional);
    t.integer("warmup", train.warmup, 0, kLargest, Need::optional);
  }

  static void only(JobTable& t, bool allowed, std::initializer_list<std::string_view> keys, const std::string& why) {
    for (const std::string_view key : keys) {
      if (!allowed) t.refuse(key, why);
    }
  }

  const toml::table& root_;
  JobFile& job_;
  daemon::Mistakes& mistakes_;
};

// "line 3: what" -> "fashion.toml:3: what"
std::string with_file(const std::string& text, const std::string& file) {
  std::istringstream lines(text);
  std::string result, line;
  while (std::getline(lines, line)) {
    if (!result.empty()) result += '\n';
    const bool numbered = line.starts_with("line ");
    result += file + ":" + (numbered ? line.substr(5) : " " + line);
  }
  return result;
}

[[noreturn]] void refuse(const daemon::Mistakes& mistakes, const std::string& file) {
  throw Error(Code::invalid_argument, with_file(mistakes.text(), file), {},
              mistakes.count() == 1 ? "repair the job file; docs/jobs.md describes it"
                                    : "repair these " + std::to_string(mistakes.count()) +
                                          " mistakes of the job file; docs/jobs.md describes it");
}

}  // namespace

JobFile parse_job_file(std::string_view text, const std::string& file) {
  JobFile job;
  job.file = file;
  daemon::Mistakes mistakes;
  try {
    const toml::table root = toml::parse(text, file);
    Reader(root, job, mistakes).read();
  } catch (const toml::parse_error& error) {
    mistakes.add(error.source().begin.line, std::string(error.description()));
  }
  if (!mistakes.empty()) refuse(mistakes, file);
  return job;
}

std::string in_directory(const std::string& path, const std::string& directory) {
  return directory.empty() || path.starts_with('/') ? path : directory + "/" + path;
}

namespace {

std::shared_ptr<const data::Dataset> open_data(const JobFile& job, const std::vector<std::string>& files,
                                               const std::string& directory) {
  const std::string inputs = in_directory(files[0], directory), targets = in_directory(files[1], directory);
  std::shared_ptr<const data::Dataset> set;
  if (job.data.format == "idx") {
    set = std::make_shared<data::IdxDataset>(inputs, targets,
                                             data::IdxOptions{.mean = job.data.mean, .deviation = job.data.deviation});
  } else {
    set = std::make_shared<data::TensorDataset>(std::vector<Tensor>{data::load_npy(inputs), data::load_npy(targets)});
  }
  if (set->size() == 0) throw Error(Code::invalid_argument, "'" + inputs + "' has no samples");
  return set;
}

}  // namespace

std::shared_ptr<const data::Dataset> open_training_data(const JobFile& job, const std::string& directory) {
  std::shared_ptr<const data::Dataset> set = open_data(job, job.data.train, directory);
  if (job.data.drop_last && set->size() < job.data.batch) {
    throw Error(Code::invalid_argument,
                "'" + job.data.train[0] + "' has " + std::to_string(set->size()) + " samples, and a batch has " +
                    std::to_string(job.data.batch),
                {}, "make the batch smaller, or leave out drop_last");
  }
  return set;
}

std::shared_ptr<const data::Dataset> open_validation_data(const JobFile& job, const std::string& directory) {
  return job.data.validation.empty() ? nullptr : open_data(job, job.data.validation, directory);
}

data::LoaderOptions loader_options(const JobFile& job, bool training) {
  return {.batch_size = job.data.batch,
          .shuffle = training && job.data.shuffle,
          .seed = job.seed,
          .drop_last = training && job.data.drop_last};
}

train::Loss loss_of(const JobFile& job) {
  return job.train.loss == "cross_entropy" ? train::cross_entropy() : train::mean_squared_error();
}

std::unique_ptr<optim::Optimizer> optimizer_of(const JobFile& job, const nn::Module& network) {
  const Training& train = job.train;
  if (train.optimizer == "sgd") {
    return std::make_unique<optim::SGD>(network.parameters(),
                                        optim::SGDOptions{.learning_rate = train.learning_rate,
                                                          .momentum = train.momentum,
                                                          .weight_decay = train.weight_decay.value_or(0),
                                                          .nesterov = train.nesterov});
  }
  const bool decoupled = train.optimizer == "adamw";
  const optim::AdamOptions options{.learning_rate = train.learning_rate,
                                   .beta1 = train.beta1,
                                   .beta2 = train.beta2,
                                   .epsilon = train.epsilon,
                                   .weight_decay = train.weight_decay.value_or(decoupled ? 0.01 : 0)};
  if (decoupled) return std::make_unique<optim::AdamW>(network.parameters(), options);
  return std::make_unique<optim::Adam>(network.parameters(), options);
}

optim::Schedule schedule_of(const JobFile& job, std::int64_t steps) {
  const Training& train = job.train;
  optim::Schedule schedule = optim::constant(train.learning_rate);
  if (train.schedule == "cosine")
    schedule = optim::cosine(train.learning_rate, std::max<std::int64_t>(1, steps - train.warmup), train.final_rate);
  if (train.schedule == "step") schedule = optim::step_decay(train.learning_rate, train.every, train.factor);
  return train.warmup > 0 ? optim::warmup(train.warmup, std::move(schedule)) : schedule;
}

}  // namespace ml::job
