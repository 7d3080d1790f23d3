// Job files: what is read, and what is said about every mistake.
#include "daemon/job/job_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "daemon/job/network.h"

namespace ml::job {
namespace {

constexpr char kWhole[] = R"(name = "fashion"
model = "fashion"
shared = true
output = "fashion.mlmodel"
seed = 3

[job]
devices = 2
backend = "reference"
priority = -5
deadline = "2h"

[data]
format = "idx"
train = ["a", "b"]
validation = ["c", "d"]
mean = 0.25
deviation = 0.5
batch = 64
shuffle = false
drop_last = true

[[layer]]
type = "conv2d"
in = 1
out = 4
kernel = 3
padding = 1

[[layer]]
type = "relu"

[[layer]]
type = "linear"
in = 256
out = 4

[train]
loss = "cross_entropy"
optimizer = "adamw"
learning_rate = 0.01
weight_decay = 0.5
beta1 = 0.8
schedule = "cosine"
final_rate = 0.001
warmup = 10
epochs = 7
checkpoint = "c.checkpoint"
checkpoint_every = 100
keep_checkpoint = true
)";

constexpr char kSmall[] = R"(name = "small"
output = "small.mlmodel"
[data]
format = "npy"
train = ["x.npy", "y.npy"]
batch = 8
[[layer]]
type = "linear"
in = 4
out = 2
[train]
loss = "mean_squared_error"
optimizer = "sgd"
learning_rate = 0.1
epochs = 1
)";

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), with);
}

std::string mistakes_of(const std::string& text) {
  try {
    parse_job_file(text, "job.toml");
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::invalid_argument);
    return error.message();
  }
}

TEST(JobFile, ReadsEveryKey) {
  const JobFile job = parse_job_file(kWhole, "job.toml");
  EXPECT_EQ(job.name, "fashion");
  EXPECT_EQ(job.model, "fashion");
  EXPECT_TRUE(job.shared);
  EXPECT_EQ(job.output, "fashion.mlmodel");
  EXPECT_EQ(job.seed, 3u);
  EXPECT_EQ(job.devices, 2u);
  EXPECT_EQ(job.backend, "reference");
  EXPECT_EQ(job.priority, -5);
  EXPECT_EQ(job.deadline_ns, 7'200'000'000'000u);
  EXPECT_EQ(job.data.format, "idx");
  EXPECT_EQ(job.data.train, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(job.data.validation, (std::vector<std::string>{"c", "d"}));
  EXPECT_EQ(job.data.mean, 0.25);
  EXPECT_EQ(job.data.deviation, 0.5);
  EXPECT_EQ(job.data.batch, 64);
  EXPECT_FALSE(job.data.shuffle);
  EXPECT_TRUE(job.data.drop_last);
  ASSERT_EQ(job.layers.size(), 3u);
  EXPECT_EQ(job.layers[0].type, "conv2d");
  EXPECT_EQ(job.layers[1].line, 30u);
  EXPECT_EQ(job.train.loss, "cross_entropy");
  EXPECT_EQ(job.train.optimizer, "adamw");
  EXPECT_EQ(job.train.learning_rate, 0.01);
  EXPECT_EQ(job.train.weight_decay, 0.5);
  EXPECT_EQ(job.train.beta1, 0.8);
  EXPECT_EQ(job.train.final_rate, 0.001);
  EXPECT_EQ(job.train.warmup, 10);
  EXPECT_EQ(job.train.epochs, 7);
  EXPECT_EQ(job.train.checkpoint, "c.checkpoint");
  EXPECT_EQ(job.train.checkpoint_every, 100);
  EXPECT_TRUE(job.train.keep_checkpoint);
}

TEST(JobFile, HasDefaultsForMostKeys) {
  const JobFile job = parse_job_file(kSmall, "job.toml");
  EXPECT_EQ(job.devices, 1u);
  EXPECT_EQ(job.backend, "cpu");
  EXPECT_EQ(job.deadline_ns, 0u);
  EXPECT_TRUE(job.data.shuffle);
  EXPECT_EQ(job.train.checkpoint, "small.checkpoint");
  EXPECT_EQ(job.train.checkpoint_every, 0);
  EXPECT_FALSE(job.train.keep_checkpoint);
  EXPECT_EQ(job.train.schedule, "constant");
}

TEST(JobFile, TellsAllMistakesAtOnceInTheOrderOfTheFile) {
  EXPECT_EQ(mistakes_of(R"(name = "a b"
modl = "x"
output = "o"
[data]
format = "csv"
train = ["x"]
batch = 0
[[layer]]
type = "lineer"
[[layer]]
type = "linear"
in = 4
outt = 3
[train]
loss = "cross_entropy"
optimizer = "adam"
momentum = 0.9
learning_rate = "fast"
)"),
            "job.toml:1: name: 'a b' is no name; expected up to 63 letters, digits, '.', '_' and '-', the first one a "
            "letter, digit or '_'\n"
            "job.toml:2: modl: there is no such key; did you mean model?\n"
            "job.toml:5: data.format: \"csv\" is not valid; expected one of \"idx\", \"npy\"\n"
            "job.toml:6: data.train: expected two files, inputs and targets: [\"x\", \"y\"]\n"
            "job.toml:7: data.batch: 0 is out of range; expected a whole number of at least 1\n"
            "job.toml:9: layer 1: type: 'lineer' is none; did you mean 'linear'?\n"
            "job.toml:10: layer 2 (linear): out: it is missing; expected a whole number of at least 1\n"
            "job.toml:13: layer 2 (linear): outt: there is no such key; did you mean out?\n"
            "job.toml:14: train.epochs: it is missing; expected a whole number of at least 1\n"
            "job.toml:17: train.momentum: only sgd has it\n"
            "job.toml:18: train.learning_rate: expected a number of at least 0");
}

TEST(JobFile, TellsWhatIsMissingAltogether) {
  const std::string all = mistakes_of("seed = 1\n");
  for (const char* part :
       {"name: it is missing", "[data] is missing", "[train] is missing", "no layers", "the result goes nowhere"})
    EXPECT_NE(all.find(part), std::string::npos) << part << " in\n" << all;
}

TEST(JobFile, TellsWhereTomlIsBroken) {
  EXPECT_EQ(mistakes_of("name = \"a\"\nseed = = 3\n").substr(0, 11), "job.toml:2:");
}

struct Mistake {
  const char *what, *with, *expected;
};
class OneMistake : public testing::TestWithParam<Mistake> {};
TEST_P(OneMistake, IsTold) {
  const Mistake& mistake = GetParam();
  const std::string text = mistakes_of(replaced(kWhole, mistake.what, mistake.with));
  EXPECT_NE(text.find(mistake.expected), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << "one mistake, one line: " << text;
}
INSTANTIATE_TEST_SUITE_P(
    JobFile, OneMistake,
    testing::Values(
        Mistake{"seed = 3", "seed = -1", "job.toml:5: seed: -1 is out of range"},
        Mistake{"seed = 3", "seed = 1.5", "seed: expected a whole number"},
        Mistake{"shared = true", "shared = 1", "shared: expected true or false"},
        Mistake{"model = \"fashion\"\n", "", "shared: there is no model to share"},
        Mistake{"devices = 2", "devices = 0", "job.devices: 0 is out of range; expected a whole number from 1"},
        Mistake{"priority = -5", "priority = 101", "job.priority: 101 is out of range"},
        Mistake{"\"2h\"", "\"soon\"", "job.deadline: \"soon\" is not valid; expected a duration"},
        Mistake{"format = \"idx\"\ntrain = [\"a\", \"b\"]\nvalidation = [\"c\", \"d\"]\nmean = 0.25",
                "format = \"npy\"\ntrain = [\"a\", \"b\"]", "data.deviation: only idx files"},
        Mistake{"optimizer = \"adamw\"", "optimizer = \"adamw\"\nmomentum = 0.9", "train.momentum: only sgd has it"},
        Mistake{"deviation = 0.5", "deviation = 0", "data.deviation: 0 is out of range"},
        Mistake{"[\"c\", \"d\"]", "[\"c\", 3]", "data.validation: expected two files"},
        Mistake{"kernel = 3\n", "", "layer 1 (conv2d): kernel: it is missing"},
        Mistake{"padding = 1", "padding = -1", "layer 1 (conv2d): padding: -1 is out of range"},
        Mistake{"\"relu\"", "\"dropout\"\np = 1.0", "layer 2 (dropout): p: 1 is out of range"},
        Mistake{"\"relu\"", "\"layer_norm\"\nshape = []", "layer 2 (layer_norm): shape: expected a list"},
        Mistake{"\"relu\"", "\"layer_norm\"\nshape = [1,1,1,1,1,1,1,1,1]", "it has 9 axes"},
        Mistake{"type = \"relu\"", "", "layer 2: type: it is missing"},
        Mistake{"\"adamw\"", "\"adamm\"", "train.optimizer: \"adamm\" is not valid"},
        Mistake{"beta1 = 0.8", "beta1 = 1.0",
                "train.beta1: 1 is out of range; expected a number of at least 0 and below"},
        Mistake{"beta1 = 0.8", "nesterov = true", "train.nesterov: only sgd has it"},
        Mistake{"\"cosine\"", "\"constant\"", "train.final_rate: only the cosine schedule has it"},
        Mistake{"epochs = 7", "epochs = 0", "train.epochs: 0 is out of range"}),
    [](const auto& one) { return "Case" + std::to_string(one.index); });

TEST(JobFile, ASectionWithAWrongNameIsNamedToo) {
  // The whole file but for the name of one section: both halves of that mistake are told.
  const std::string text = mistakes_of(replaced(kSmall, "[data]", "[dta]"));
  EXPECT_NE(text.find("[data] is missing"), std::string::npos) << text;
  EXPECT_NE(text.find("dta: there is no such key; did you mean data?"), std::string::npos) << text;
}

TEST(JobFile, EveryLayerCanBeMade) {
  const std::string layers = R"([[layer]]
type = "conv2d"
in = 2
out = 4
kernel = 3
stride = 2
padding = 1
dilation = 1
groups = 2
bias = false
[[layer]]
type = "batch_norm2d"
features = 4
momentum = 0.2
epsilon = 1e-4
[[layer]]
type = "max_pool2d"
kernel = 2
[[layer]]
type = "avg_pool2d"
kernel = 2
stride = 1
padding = 1
[[layer]]
type = "gelu"
tanh = true
[[layer]]
type = "relu"
[[layer]]
type = "flatten"
[[layer]]
type = "layer_norm"
shape = [36]
[[layer]]
type = "dropout"
[[layer]]
type = "linear"
in = 36
out = 3
[[layer]]
type = "softmax"
)";
  const JobFile job =
      parse_job_file(replaced(kSmall, "[[layer]]\ntype = \"linear\"\nin = 4\nout = 2\n", layers), "job.toml");
  Network network(job);
  EXPECT_EQ(network.forward(ones({5, 2, 8, 8})).shape(), (Shape{5, 3}));
  const JobFile words = parse_job_file(
      replaced(kSmall, "type = \"linear\"\nin = 4\nout = 2", "type = \"embedding\"\nrows = 10\nwidth = 6"), "job.toml");
  Network embedding(words);
  EXPECT_EQ(embedding.forward(zeros({2, 3}, DType::i64)).shape(), (Shape{2, 3, 6}));
}

TEST(JobFile, TheSameSeedGivesTheSameWeights) {
  const JobFile job = parse_job_file(kSmall, "job.toml");
  Network a(job), b(job);
  EXPECT_EQ(a.parameters()[0].value().to_vector<float>(), b.parameters()[0].value().to_vector<float>());
}

TEST(JobFile, ALayerThatDoesNotFitIsNamedWithItsLine) {
  const JobFile job = parse_job_file(kSmall, "job.toml");
  Network network(job);
  try {
    network.forward(ones({8, 5}));
    FAIL() << "it fits";
  } catch (const Error& error) {
    EXPECT_NE(error.context().find("job.toml:7, layer 1 (linear)"), std::string::npos) << error.what();
    EXPECT_NE(error.message().find("in_features is 4"), std::string::npos);
  }
}

TEST(JobFile, ALayerThatCannotBeIsNamedWithItsLine) {
  const JobFile job = parse_job_file(replaced(kSmall, "type = \"linear\"\nin = 4\nout = 2",
                                              "type = \"conv2d\"\nin = 3\nout = 4\nkernel = 1\ngroups = 2"),
                                     "job.toml");
  try {
    const Network network(job);
    FAIL() << "it can";
  } catch (const Error& error) {
    EXPECT_NE(error.context().find("job.toml:7, layer 1 (conv2d)"), std::string::npos) << error.what();
  }
}

// The example of the documentation, whole: it has to be right.
TEST(JobFile, TheExamplesOfTheDocumentationAreJobFiles) {
  std::ifstream file("docs/jobs.md");
  std::stringstream whole;
  whole << file.rdbuf();
  const std::string text = whole.str();
  int found = 0;
  for (std::size_t at = text.find("```toml\nname"); at != std::string::npos; at = text.find("```toml\nname", at + 1)) {
    const std::size_t begin = at + 8, end = text.find("```", begin);
    EXPECT_EQ(mistakes_of(text.substr(begin, end - begin)), "");
    ++found;
  }
  EXPECT_GE(found, 1);
}

TEST(JobFile, SchedulesFollowTheFile) {
  const JobFile step = parse_job_file(
      replaced(kSmall, "epochs = 1", "epochs = 1\nschedule = \"step\"\nevery = 10\nfactor = 0.5\nwarmup = 4"),
      "job.toml");
  const optim::Schedule schedule = schedule_of(step, 100);
  EXPECT_LT(schedule(1), 0.1);
  EXPECT_DOUBLE_EQ(schedule(4), 0.1);
  EXPECT_DOUBLE_EQ(schedule(14), 0.05);
  const JobFile cosine = parse_job_file(
      replaced(kSmall, "epochs = 1", "epochs = 1\nschedule = \"cosine\"\nfinal_rate = 0.01"), "job.toml");
  EXPECT_NEAR(schedule_of(cosine, 100)(100), 0.01, 1e-9);
}

}  // namespace
}  // namespace ml::job
