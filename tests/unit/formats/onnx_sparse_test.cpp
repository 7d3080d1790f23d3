// Sparse tensors in ONNX models: made dense, or refused with what is wrong.
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

struct Sparse {
  std::vector<std::int64_t> dims;
  std::vector<float> values;
  std::vector<std::int64_t> indices;
  std::vector<std::int64_t> indices_dims;
};

void fill(onnx::pb::SparseTensor& sparse, const Sparse& from, const std::string& name) {
  for (const std::int64_t extent : from.dims) sparse.add_dims(extent);
  auto& values = *sparse.mutable_values();
  values.set_name(name);
  values.set_data_type(1);
  values.add_dims(static_cast<std::int64_t>(from.values.size()));
  for (const float value : from.values) values.add_float_data(value);
  auto& indices = *sparse.mutable_indices();
  indices.set_data_type(7);
  for (const std::int64_t extent : from.indices_dims) indices.add_dims(extent);
  for (const std::int64_t index : from.indices) indices.add_int64_data(index);
}

// What an initializer is, and what a Constant answers: the same, as output "y".
Model initializer(const Sparse& sparse) {
  Model model = empty_model(21);
  fill(*model.mutable_graph()->add_sparse_initializer(), sparse, "w");
  add_node(model, "Identity", {"w"}, {"y"});
  model.mutable_graph()->add_output()->set_name("y");
  return model;
}
Model constant_node(const Sparse& sparse) {
  Model model = empty_model(21);
  fill(*add_attribute(add_node(model, "Constant", {}, {"y"}), "sparse_value").mutable_sparse_tensor(), sparse, "");
  model.mutable_graph()->add_output()->set_name("y");
  return model;
}

TEST(OnnxSparse, IsMadeDense) {
  struct Case {
    Sparse sparse;
    std::vector<float> dense;
  };
  const Case cases[] = {
      {{{2, 3}, {5, 7}, {1, 5}, {2}}, {0, 5, 0, 0, 0, 7}},
      {{{2, 3}, {5, 7}, {0, 1, 1, 2}, {2, 2}}, {0, 5, 0, 0, 0, 7}},
      {{{4}, {3}, {2}, {1, 1}}, {0, 0, 3, 0}},
      {{{2, 1, 2}, {1, 2, 3, 4}, {0, 1, 2, 3}, {4}}, {1, 2, 3, 4}},
      {{{3}, {}, {}, {0}}, {0, 0, 0}},
      {{{2, 2}, {}, {}, {0, 2}}, {0, 0, 0, 0}},
      {{{0, 5}, {}, {}, {0}}, {}},
      {{{}, {9}, {0}, {1}}, {9}},
  };
  for (const Case& c : cases) {
    for (const Model& model : {initializer(c.sparse), constant_node(c.sparse)}) {
      const HostTensor y = run(import_proto(model), {})[0];
      EXPECT_EQ(y.shape, Shape(Ints(c.sparse.dims.begin(), c.sparse.dims.end())));
      EXPECT_EQ(floats_of(y), c.dense) << y.shape.str();
    }
  }
}

TEST(OnnxSparse, SaysWhatIsWrong) {
  struct Case {
    Sparse sparse;
    const char* message;
  };
  const Case cases[] = {
      {{{2, 3}, {5, 7}, {1, 6}, {2}}, "index 6 of value 1 is outside of [2, 3]"},
      {{{2, 3}, {5, 7}, {-1, 5}, {2}}, "index -1 of value 0"},
      {{{2, 3}, {5}, {1, 3}, {1, 2}}, "index 3 of value 0"},
      {{{2, 3}, {5}, {2, 0}, {1, 2}}, "index 2 of value 0"},
      {{{0, 3}, {5}, {0, 0}, {1, 2}}, "index 0 of value 0 is outside of [0, 3]"},
      {{{2, 3}, {5, 7}, {5, 1}, {2}}, "value 1 is for element 1, the one before for 5"},
      {{{2, 3}, {5, 7}, {4, 4}, {2}}, "indices have to ascend and be different"},
      {{{2, 3}, {5, 7}, {1, 2, 0, 1}, {2, 2}}, "value 1 is for element 1, the one before for 5"},
      {{{2, 3}, {5, 7}, {1}, {1}}, "values [2] with indices i64[1] of a tensor [2, 3]"},
      {{{2, 3}, {5}, {0, 0, 0}, {1, 3}}, "values [1] with indices i64[1, 3]"},
      {{{-2}, {5}, {0}, {1}}, "a dimension of -2"},
      {{{kMost, kMost}, {5}, {0}, {1}}, "more than 2^63 elements"},
      {{{kMost - 1}, {5}, {0}, {1}}, "larger than any memory"},
      {{{1 << 28}, {5}, {0}, {1}}, "it would be 1073741824 bytes and is stored in 12"},
  };
  for (const Case& c : cases) {
    for (const Model& model : {initializer(c.sparse), constant_node(c.sparse)}) {
      const std::string message = message_of(model);
      EXPECT_NE(message.find(c.message), std::string::npos) << message;
    }
  }
  Model other = initializer({{2}, {5}, {0}, {1}});
  auto& indices = *other.mutable_graph()->mutable_sparse_initializer(0)->mutable_indices();
  indices.set_data_type(6);
  indices.clear_int64_data();
  indices.add_int32_data(0);
  EXPECT_NE(message_of(other).find("with indices i32[1]"), std::string::npos) << message_of(other);
}

// Many small ones can't ask for what one may not.
TEST(OnnxSparse, ShareOneLimit) {
  const auto message = [](int count) {
    Model model = empty_model(21);
    for (int i = 0; i < count; ++i)
      fill(*model.mutable_graph()->add_sparse_initializer(), {{1 << 20}, {1}, {0}, {1}}, "w" + std::to_string(i));
    add_node(model, "Identity", {"w0"}, {"y"});
    model.mutable_graph()->add_output()->set_name("y");
    return message_of(model);
  };
  EXPECT_EQ(message(16), "imported");
  EXPECT_NE(message(17).find("sparse tensor 'w16': it would be 4194304 bytes"), std::string::npos) << message(17);
}

TEST(OnnxSparse, NamesMustDiffer) {
  Model model = initializer({{2}, {5}, {0}, {1}});
  add_floats(*model.mutable_graph(), "w", {1});
  EXPECT_NE(message_of(model).find("the name 'w' is defined twice"), std::string::npos) << message_of(model);
}

}  // namespace
}  // namespace ml
