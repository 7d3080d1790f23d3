// ONNX tensors whose data lies in files beside the model: which places are taken, and how the others are refused.
#include <gtest/gtest.h>

#include <map>

#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;
using Entries = std::vector<std::pair<const char*, std::string>>;

// y = x + w; w f32[2, 3] (or another type) lies where `entries` say.
Model model_of(const Entries& entries, int type = 1, const std::vector<std::int64_t>& dims = {2, 3}) {
  Model model = empty_model(21);
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {2, 3}, type);
  auto& w = *graph.add_initializer();
  w.set_name("w");
  w.set_data_type(type);
  for (const std::int64_t extent : dims) w.add_dims(extent);
  w.set_data_location(1);
  for (const auto& [key, value] : entries) {
    auto& entry = *w.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
  add_node(model, "Add", {"x", "w"}, {"y"});
  graph.add_output()->set_name("y");
  return model;
}

// A folder with one file, "sub/w.bin": 0, 1, 2, ... as 16 floats.
struct Folder {
  std::shared_ptr<const Blob> file;
  std::vector<std::string> opened;

  Folder() {
    std::vector<float> values(16);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    file = Blob::copy_of(std::as_bytes(std::span(values)));
  }
  onnx::ImportOptions options() {
    onnx::ImportOptions options;
    options.open = [this](const std::string& location) {
      opened.push_back(location);
      if (location != "sub/w.bin") throw Error(Code::not_found, "there is no '" + location + "'");
      return file;
    };
    return options;
  }
  std::string message(const Model& model) {
    try {
      import_proto(model, options());
    } catch (const Error& error) {
      return std::string(code_name(error.code())) + ": " + error.what();
    }
    return "imported";
  }
};

TEST(OnnxFiles, TensorsAreReadWhereTheyLie) {
  Folder folder;
  struct Case {
    Entries entries;
    float first;
  };
  const Case cases[] = {
      {{{"location", "sub/w.bin"}, {"offset", "8"}, {"length", "24"}}, 2},
      {{{"location", "sub/w.bin"}, {"offset", "40"}, {"length", "24"}, {"checksum", "0"}}, 10},
      {{{"location", "sub/w.bin"}, {"offset", "4"}}, 1},  // as long as the tensor
      {{{"location", "sub/w.bin"}}, 0},
  };
  for (const Case& c : cases) {
    const Graph graph = import_proto(model_of(c.entries), folder.options());
    std::vector<float> wanted;
    for (int i = 0; i < 6; ++i) wanted.push_back(c.first + static_cast<float>(i) + 1);
    EXPECT_EQ(floats_of(run(graph, {floats({2, 3}, std::vector<float>(6, 1))})[0]), wanted) << c.first;
    for (const Node& node : graph.nodes()) {
      if (node.op->kind != OpKind::constant) continue;
      EXPECT_EQ(node.as<ConstantAttributes>().value->blob, folder.file);
    }
  }
}

TEST(OnnxFiles, OpensAFileOnceAndOnlyWhenATensorLiesThere) {
  Folder folder;
  Model model = model_of({{"location", "sub/w.bin"}});
  auto& graph = *model.mutable_graph();
  *graph.add_initializer() = graph.initializer(0);
  graph.mutable_initializer(1)->set_name("v");
  import_proto(model, folder.options());
  EXPECT_EQ(folder.opened, std::vector<std::string>{"sub/w.bin"});
  folder.opened.clear();
  import_proto(small_model(), folder.options());
  EXPECT_TRUE(folder.opened.empty());
}

TEST(OnnxFiles, PackedElementsAreUnpacked) {
  Folder folder;
  Model model = empty_model(21);
  auto& graph = *model.mutable_graph();
  auto& w = *graph.add_initializer();
  w = model_of({{"location", "sub/w.bin"}, {"offset", "6"}, {"length", "2"}}, 22, {3}).graph().initializer(0);
  auto& cast = add_node(model, "Cast", {"w"}, {"y"});
  set(cast, "to", std::int64_t{1});
  graph.add_output()->set_name("y");
  // 1.0F is 00 00 80 3f, little end first: nibbles 0, 8, f, 3, of which 8 and f are negative.
  EXPECT_EQ(floats_of(run(import_proto(model, folder.options()), {})[0]), (std::vector<float>{0, -8, -1}));
}

TEST(OnnxFiles, SaysWhatIsWrong) {
  const std::string most = "18446744073709551615", beyond = "18446744073709551616";
  struct Case {
    Entries entries;
    const char* message;
  };
  const Case cases[] = {
      {{}, "denied: tensor 'w': its data lies in '', which is no file's name"},
      {{{"location", "/sub/w.bin"}}, "which is an absolute path"},
      {{{"location", "../w.bin"}}, "which is a path that leaves the model's folder"},
      {{{"location", "sub/../sub/w.bin"}}, "which is a path that leaves the model's folder"},
      {{{"location", "sub/.."}}, "which is a path that leaves the model's folder"},
      {{{"location", std::string("sub/w.bin\0", 10)}}, "in 'sub/w.bin', which is no file's name"},
      {{{"location", "other"}}, "not_found: tensor 'w': there is no 'other'"},
      {{{"location", "sub/w.bin"}, {"location", "sub/w.bin"}},
       "corrupt: tensor 'w': external_data says 'location' twice"},
      {{{"location", "sub/w.bin"}, {"offset", "-4"}}, "offset is '-4', no number of bytes"},
      {{{"location", "sub/w.bin"}, {"offset", ""}}, "offset is '', no number of bytes"},
      {{{"location", "sub/w.bin"}, {"length", "24 "}}, "length is '24 ', no number of bytes"},
      {{{"location", "sub/w.bin"}, {"length", beyond}}, "no number of bytes"},
      {{{"location", "sub/w.bin"}, {"offset", "44"}}, "is 24 bytes at byte 44 of 'sub/w.bin', which has 64"},
      {{{"location", "sub/w.bin"}, {"offset", "65"}, {"length", "0"}}, "0 bytes at byte 65"},
      {{{"location", "sub/w.bin"}, {"offset", most}, {"length", "24"}}, "corrupt: tensor 'w': its data is 24 bytes"},
      {{{"location", "sub/w.bin"}, {"offset", "8"}, {"length", most}}, "corrupt: tensor 'w': its data is"},
      {{{"location", "sub/w.bin"}, {"length", "20"}}, "f32[2, 3] needs 24 bytes, the file has 20"},
      {{{"location", "sub/w.bin"}, {"length", "28"}}, "f32[2, 3] needs 24 bytes, the file has 28"},
  };
  for (const Case& c : cases) {
    Folder folder;
    const std::string message = folder.message(model_of(c.entries));
    EXPECT_NE(message.find(c.message), std::string::npos) << message;
  }
  Model model = model_of({{"location", "sub/w.bin"}});
  model.mutable_graph()->mutable_initializer(0)->set_data_location(2);
  EXPECT_NE(message_of(model).find("a data_location of 2"), std::string::npos) << message_of(model);
  Folder folder;
  const std::string huge = folder.message(model_of({{"location", "sub/w.bin"}}, 1, {1 << 30, 1 << 30}));
  EXPECT_NE(huge.find("4611686018427387904 bytes at byte 0 of 'sub/w.bin', which has 64"), std::string::npos) << huge;
}

TEST(OnnxFiles, BytesAloneAreRefusedByName) {
  const std::string message = message_of(model_of({{"location", "weights.bin"}}));
  for (const char* part : {"unsupported", "tensor 'w'", "'weights.bin'", "load the model by its path"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
}

}  // namespace
}  // namespace ml
