// What a node knows besides its inputs: one small typed struct per kind of op.
//
// A struct lists its fields once, in visit(); printing, parsing, hashing, comparing and the binary form all go through
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ml/dtype.h"
#include "ml/shape.h"

namespace ml {

class Graph;
struct ConstantData;
using GraphPtr = std::shared_ptr<const Graph>;
using ConstantPtr = std::shared_ptr<const ConstantData>;
using Ints = std::vector<std::int64_t>;

// One overload per type an attribute can have. A writer reads the references, a reader assigns them.
class AttributeVisitor {
 public:
  virtual ~AttributeVisitor() = default;
  virtual void field(const char* name, bool& value) = 0;
  virtual void field(const char* name, std::int64_t& value) = 0;
  virtual void field(const char* name, double& value) = 0;
  virtual void field(const char* name, DType& value) = 0;
  virtual void field(const char* name, Shape& value) = 0;
  virtual void field(const char* name, Ints& value) = 0;
  virtual void field(const char* name, GraphPtr& value) = 0;
  virtual void field(const char* name, ConstantPtr& value) = 0;
};

struct Attributes {
  virtual ~Attributes() = default;
  virtual void visit(AttributeVisitor& visitor) = 0;
};
using AttributesPtr = std::shared_ptr<const Attributes>;

struct NoAttributes final : Attributes {
  void visit(AttributeVisitor&) override {}
};

// Calls `visitor` on the fields of attributes that it promises to leave as they are.
inline void inspect(const Attributes& attributes, AttributeVisitor& visitor) {
  const_cast<Attributes&>(attributes).visit(visitor);
}
// Field by field; subgraphs compare by structure, constants by their bytes' identity.
bool equal(const Attributes& a, const Attributes& b);
std::uint64_t hash(const Attributes& attributes);

// The attributes that several families share.
struct AxisAttributes final : Attributes {
  std::int64_t axis = -1;
  void visit(AttributeVisitor& v) override { v.field("axis", axis); }
};
struct ReduceAttributes final : Attributes {
  Ints axes;  // sorted, unique, in [0, rank)
  bool keep_dims = false;
  void visit(AttributeVisitor& v) override {
    v.field("axes", axes);
    v.field("keep_dims", keep_dims);
  }
};
struct DTypeAttributes final : Attributes {
  DType dtype = DType::f32;
  void visit(AttributeVisitor& v) override { v.field("dtype", dtype); }
};
struct BodyAttributes final : Attributes {
  GraphPtr body;
  void visit(AttributeVisitor& v) override { v.field("body", body); }
};

}  // namespace ml
