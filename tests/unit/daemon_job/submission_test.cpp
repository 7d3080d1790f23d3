// What is said about a job before it is submitted.
#include "daemon/job/submission.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace ml::job {
namespace {

namespace fs = std::filesystem;

constexpr char kJob[] = R"(name = "small"
output = "results/small.mlmodel"
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
optimizer = "adam"
learning_rate = 0.1
epochs = 3
)";

class Submitting : public testing::Test {
 protected:
  Submitting() : folder(testing::TempDir() + "submission_" + std::to_string(getpid())) {
    fs::create_directories(folder + "/results");
    data::save_npy(folder + "/x.npy", ones({20, 4}));
    data::save_npy(folder + "/y.npy", ones({20, 2}));
  }
  ~Submitting() override { fs::remove_all(folder); }
  Error failure_of(const std::string& text) const {
    try {
      prepare_submission(text, "small.toml", folder);
    } catch (const Error& error) {
      return error;
    }
    return {Code::internal, "nothing was wrong"};
  }
  static std::string replaced(std::string text, const std::string& what, const std::string& with) {
    return text.replace(text.find(what), what.size(), with);
  }
  const std::string folder;
};

TEST_F(Submitting, KnowsStepsAndMemory) {
  const Submission submission = prepare_submission(kJob, "small.toml", folder);
  EXPECT_EQ(submission.steps, 3 * 3);
  EXPECT_EQ(submission.parameters, 4 * 2 + 2);
  EXPECT_EQ(submission.needed.parameters, 10 * sizeof(float));
  EXPECT_EQ(submission.needed.optimizer, 2 * 10 * sizeof(float));
  EXPECT_GT(submission.memory_bytes, submission.needed.total);
  EXPECT_EQ(submission.memory_bytes % (1 << 20), 0u);
}

TEST_F(Submitting, ExecutesNoStep) {
  prepare_submission(kJob, "small.toml", folder);
  EXPECT_FALSE(fs::exists(folder + "/small.checkpoint"));
  EXPECT_TRUE(fs::is_empty(folder + "/results"));
}

TEST_F(Submitting, TellsDataThatIsNotThere) {
  fs::remove(folder + "/y.npy");
  EXPECT_NE(failure_of(kJob).message().find(folder + "/y.npy"), std::string::npos) << failure_of(kJob).what();
}

TEST_F(Submitting, TellsDataThatDoesNotFitTheNetworkWithTheLine) {
  const Error error = failure_of(replaced(kJob, "in = 4", "in = 5"));
  EXPECT_NE(error.context().find("small.toml:7, layer 1 (linear)"), std::string::npos) << error.what();
}

TEST_F(Submitting, TellsInputsAndTargetsOfDifferentLengths) {
  data::save_npy(folder + "/y.npy", ones({19, 2}));
  const std::string message = failure_of(kJob).message();
  EXPECT_NE(message.find("20"), std::string::npos) << message;
  EXPECT_NE(message.find("19"), std::string::npos) << message;
}

TEST_F(Submitting, TellsWhereResultsCannotBeWritten) {
  fs::remove(folder + "/results");
  const Error error = failure_of(kJob);
  EXPECT_EQ(error.code(), Code::io);
  EXPECT_NE(error.message().find("'results/small.mlmodel' can't be written"), std::string::npos) << error.what();
}

TEST_F(Submitting, TellsAnEmptyEpoch) {
  const Error error = failure_of(replaced(kJob, "batch = 8", "batch = 21\ndrop_last = true"));
  EXPECT_NE(error.message().find("has 20 samples, and a batch has 21"), std::string::npos) << error.what();
}

TEST_F(Submitting, TellsABackendThatIsNot) {
  const Error error = failure_of(replaced(kJob, "[data]", "[job]\nbackend = \"abacus\"\n[data]"));
  EXPECT_NE(std::string(error.what()).find("abacus"), std::string::npos) << error.what();
}

}  // namespace
}  // namespace ml::job
