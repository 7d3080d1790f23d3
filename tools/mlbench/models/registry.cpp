// The table of models: a row each.
#include "ml/error.h"
#include "tools/mlbench/models/models.h"

namespace ml::bench {

std::span<const Model> models() {
  static const Model table[] = {
      {"tiny", "a few layers of each convolutional model at 32x32: for tests", build_tiny},
      {"mobilenet_v2", "MobileNetV2 at 224x224", build_mobilenet_v2},
      {"efficientnet_b0", "EfficientNet-B0 at 224x224", build_efficientnet_b0},
      {"resnet50", "ResNet-50 at 224x224", build_resnet50},
      {"yolo_v5s", "YOLOv5s at 640x640, three heads", build_yolo_v5s},
      {"lstm", "two bidirectional LSTM layers of 256 units, 128 steps of 256 features", build_lstm},
      {"bert_base",
       "BERT-base, 128 tokens",
       [] { return build_bert_base(128); },
       {{"input_ids", 0, 30522}, {"attention_mask", 1, 2}, {"token_type_ids", 0, 2}}},
      {"gpt2_prefill",
       "GPT-2 small, a prompt of 128 tokens",
       [] { return build_gpt2(0, 128); },
       {{"input_ids", 0, 50257}}},
      {"gpt2_decode",
       "GPT-2 small, one token behind 127 in the cache",
       [] { return build_gpt2(127, 1); },
       {{"input_ids", 0, 50257}, {"position_ids", 127, 128}}},
  };
  return table;
}

const Model& find_model(std::string_view name) {
  std::string all;
  for (const Model& model : models()) {
    if (model.name == name) return model;
    all += (all.empty() ? "" : ", ") + std::string(model.name);
  }
  throw Error(Code::not_found, "no model is called \"" + std::string(name) + "\"", {}, "there are " + all);
}

}  // namespace ml::bench
