// Opens the model that the training job registered with the daemon, or loads one from a file; shows a few test images
// with what they are and what the model says, and counts all 10,000.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "fashion.h"
#include "ml/ml.h"

namespace {

constexpr int kShown = 6;
constexpr int kSide = 28;

// Two pixels above each other are one character: upper half block, foreground over background.
void print_picture(const std::vector<float>& pixels, bool colour) {
  const float low = *std::min_element(pixels.begin(), pixels.end());
  const float high = *std::max_element(pixels.begin(), pixels.end());
  const auto level = [&](int row, int column) {
    const float pixel = pixels[static_cast<std::size_t>(row * kSide + column)];
    return high > low ? (pixel - low) / (high - low) : 0;
  };
  static const char* const shades[] = {" ", "░", "▒", "▓", "█"};
  for (int row = 0; row < kSide; row += 2) {
    std::string line = "  ";
    for (int column = 0; column < kSide; ++column) {
      const float upper = level(row, column), lower = level(row + 1, column);
      if (colour) {
        char cell[48];  // 24 grey levels from 232 on
        std::snprintf(cell, sizeof cell, "\033[38;5;%dm\033[48;5;%dm▀", 232 + static_cast<int>(upper * 23),
                      232 + static_cast<int>(lower * 23));
        line += cell;
      } else {
        line += shades[static_cast<int>((upper + lower) / 2 * 4)];
      }
    }
    std::cout << line << (colour ? "\033[0m\n" : "\n");
  }
}

int classify(int argc, char** argv) {
  const auto options = demo::parse_options(argc, argv, {{"--data", ""}, {"--name", "fashion"}, {"--model", "-"}},
                                           "--data FOLDER [--name fashion | --model FILE]");
  const bool from_file = options.at("--model") != "-";
  const ml::Model model = from_file ? ml::Model::load(options.at("--model")) : ml::Model::open(options.at("--name"));
  std::cerr << "running on " << ml::default_session().device() << " by " << ml::default_session().transport() << "\n\n";
  ml::data::DataLoader loader(demo::open_fashion(options.at("--data"), "t10k"), {.batch_size = 500});

  std::int64_t hits = 0, seen = 0;
  ml::data::Batch batch;
  while (loader.next(batch)) {
    const std::vector<ml::Tensor> outputs = model.run({batch[0]});
    const ml::Shape images{batch[0].size(0), 1, kSide, kSide}, wanted{batch[0].size(0), demo::kClasses};
    if (outputs.size() != 1 || outputs[0].shape() != wanted || batch[0].shape() != images) {
      throw ml::Error(ml::Code::invalid_argument,
                      "the model does not answer ten probabilities for each image of 28 x 28 pixels", {},
                      "use a model that demo_train saved, and Fashion-MNIST");
    }
    const ml::Tensor& probabilities = outputs[0];
    const std::vector<std::int64_t> answers = ml::argmax(probabilities, 1).to_vector<std::int64_t>();
    const std::vector<float> certainty = ml::max(probabilities, {1}).to_vector<float>();
    const std::vector<std::int64_t> labels = batch[1].to_vector<std::int64_t>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (seen++ < kShown) {
        print_picture(batch[0][static_cast<std::int64_t>(i)].to_vector<float>(), isatty(STDOUT_FILENO) != 0);
        std::cout << "  label: " << demo::label(labels[i]) << "   model: " << demo::label(answers[i]) << " ("
                  << static_cast<int>(certainty[i] * 100 + 0.5F) << " %)"
                  << (labels[i] == answers[i] ? "\n\n" : "   wrong\n\n");
      }
      hits += labels[i] == answers[i] ? 1 : 0;
    }
  }
  std::printf("accuracy on %lld test images: %.4f\n", static_cast<long long>(seen),
              static_cast<double>(hits) / static_cast<double>(seen));
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return demo::run("demo_classify", classify, argc, argv); }
