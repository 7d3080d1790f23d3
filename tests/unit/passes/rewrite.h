// A case of a pass: a graph before it and after it, compared in the text form.
#pragma once

#include <gtest/gtest.h>

#include <ostream>

#include "engine/graph/text.h"
#include "engine/passes/passes.h"

namespace ml::passes {

struct Rewrite {
  const char* name;
  void (*before)(Graph&);
  Graph (*pass)(const Graph&);
  void (*after)(Graph&);
};
inline void PrintTo(const Rewrite& rewrite, std::ostream* out) { *out << rewrite.name; }

inline void expect_rewrite(const Rewrite& rewrite) {
  Graph before, after;
  rewrite.before(before);
  rewrite.after(after);
  const Graph rewritten = rewrite.pass(before);
  verify(rewritten);
  // Node order may differ where it doesn't matter: both sides lose that when they are written in one order.
  EXPECT_EQ(print(eliminate_dead_code(rewritten)), print(eliminate_dead_code(after)));
}

// Cases of one pass.
struct Case {
  const char* name;
  void (*before)(Graph&);
  void (*after)(Graph&);  // null: the pass leaves it alone
};
inline void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

inline void expect_case(const Case& one, Graph (*pass)(const Graph&)) {
  expect_rewrite({one.name, one.before, pass, one.after != nullptr ? one.after : one.before});
}

}  // namespace ml::passes
