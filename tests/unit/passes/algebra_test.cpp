#include <limits>

#include "engine/graph/build.h"
#include "tests/unit/passes/rewrite.h"

namespace ml::passes {
namespace {

Var x_of(Graph& g, DType dtype = DType::f32) { return input(g, "x", dtype, {2, 3}); }
Var y_of(Graph& g, DType dtype = DType::f32) { return input(g, "y", dtype, {2, 3}); }

const Case kCases[] = {
    {"times one", [](Graph& g) { output("y", x_of(g) * 1.0); }, [](Graph& g) { output("y", x_of(g)); }},
    {"one times", [](Graph& g) { output("y", 1.0 * x_of(g)); }, [](Graph& g) { output("y", x_of(g)); }},
    {"times a tensor of ones",
     [](Graph& g) {
       output("y", x_of(g) * constant(g, make_splat(DType::f32, {2, 3}, 1)));
     },
     [](Graph& g) { output("y", x_of(g)); }},
    {"ones that make the result larger stay",
     [](Graph& g) {
       output("y", x_of(g) * constant(g, make_splat(DType::f32, {4, 2, 3}, 1)));
     },
     nullptr},
    {"by one", [](Graph& g) { output("y", x_of(g) / 1.0); }, [](Graph& g) { output("y", x_of(g)); }},
    {"to the first", [](Graph& g) { output("y", pow(x_of(g), 1.0)); }, [](Graph& g) { output("y", x_of(g)); }},
    {"plus an integer zero", [](Graph& g) { output("y", x_of(g, DType::i32) + 0.0); },
     [](Graph& g) { output("y", x_of(g, DType::i32)); }},
    {"plus zero makes a zero positive", [](Graph& g) { output("y", x_of(g) + 0.0); }, nullptr},
    {"plus minus zero", [](Graph& g) { output("y", x_of(g) + -0.0); }, [](Graph& g) { output("y", x_of(g)); }},
    {"minus zero", [](Graph& g) { output("y", x_of(g) - 0.0); }, [](Graph& g) { output("y", x_of(g)); }},
    {"times zero keeps NaN", [](Graph& g) { output("y", x_of(g) * 0.0); }, nullptr},
    {"squares", [](Graph& g) { output("y", pow(x_of(g), 2.0)); },
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * x);
     }},
    {"cubes", [](Graph& g) { output("y", pow(x_of(g), 3.0)); },
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", x * x * x);
     }},
    {"to the minus first", [](Graph& g) { output("y", pow(x_of(g), -1.0)); },
     [](Graph& g) { output("y", reciprocal(x_of(g))); }},
    {"the root as a power is another function of infinity", [](Graph& g) { output("y", pow(x_of(g), 0.5)); }, nullptr},
    {"by a power of two", [](Graph& g) { output("y", x_of(g) / 8.0); }, [](Graph& g) { output("y", x_of(g) * 0.125); }},
    {"by three would round twice", [](Graph& g) { output("y", x_of(g) / 3.0); }, nullptr},
    {"by a power of two whose reciprocal is subnormal", [](Graph& g) { output("y", x_of(g, DType::f16) / 32768.0); },
     nullptr},
    {"integers are divided", [](Graph& g) { output("y", x_of(g, DType::i32) / 8.0); }, nullptr},
    {"one over", [](Graph& g) { output("y", 1.0 / x_of(g)); }, [](Graph& g) { output("y", reciprocal(x_of(g))); }},
    {"one over a root", [](Graph& g) { output("y", 1.0 / sqrt(x_of(g))); },
     [](Graph& g) { output("y", rsqrt(x_of(g))); }},
    {"the reciprocal of a root", [](Graph& g) { output("y", reciprocal(sqrt(x_of(g)))); },
     [](Graph& g) { output("y", rsqrt(x_of(g))); }},
    {"neg of neg", [](Graph& g) { output("y", neg(neg(x_of(g)))); }, [](Graph& g) { output("y", x_of(g)); }},
    {"four times neg", [](Graph& g) { output("y", neg(neg(neg(neg(x_of(g)))))); },
     [](Graph& g) { output("y", x_of(g)); }},
    {"not equal", [](Graph& g) { output("y", logical_not(eq(x_of(g), y_of(g)))); },
     [](Graph& g) { output("y", ne(x_of(g), y_of(g))); }},
    {"not unequal", [](Graph& g) { output("y", logical_not(ne(x_of(g), y_of(g)))); },
     [](Graph& g) { output("y", eq(x_of(g), y_of(g))); }},
    {"not less is another thing for NaN", [](Graph& g) { output("y", logical_not(lt(x_of(g), y_of(g)))); }, nullptr},
    {"abs of neg", [](Graph& g) { output("y", abs(neg(x_of(g)))); }, [](Graph& g) { output("y", abs(x_of(g))); }},
    {"plus neg",
     [](Graph& g) {
       const Var x = x_of(g);
       output("z", x + neg(y_of(g)));
     },
     [](Graph& g) {
       const Var x = x_of(g);
       output("z", x - y_of(g));
     }},
    {"relu of relu", [](Graph& g) { output("y", relu(relu(x_of(g)))); }, [](Graph& g) { output("y", relu(x_of(g))); }},
    {"the larger of one value",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", maximum(x, x));
     },
     [](Graph& g) { output("y", x_of(g)); }},
    {"casting there and back when nothing is lost",
     [](Graph& g) { output("y", cast(cast(x_of(g, DType::f16), DType::f32), DType::f16)); },
     [](Graph& g) { output("y", x_of(g, DType::f16)); }},
    {"casting there and back when something is lost",
     [](Graph& g) { output("y", cast(cast(x_of(g), DType::f16), DType::f32)); }, nullptr},
    {"casting in two steps", [](Graph& g) { output("y", cast(cast(x_of(g, DType::i8), DType::i32), DType::f32)); },
     [](Graph& g) { output("y", cast(x_of(g, DType::i8), DType::f32)); }},
    {"casting through integers that hold it",
     [](Graph& g) { output("y", cast(cast(x_of(g, DType::boolean), DType::i64), DType::f32)); },
     [](Graph& g) { output("y", cast(x_of(g, DType::boolean), DType::f32)); }},
    {"an integer saturates as a float and wraps as an integer",
     [](Graph& g) { output("y", cast(cast(x_of(g, DType::u8), DType::f32), DType::i8)); }, nullptr},
    {"a float that holds the integer, and back",
     [](Graph& g) { output("y", cast(cast(x_of(g, DType::u8), DType::f32), DType::u8)); },
     [](Graph& g) { output("y", x_of(g, DType::u8)); }},
    {"a 32-bit integer does not fit an f32",
     [](Graph& g) { output("y", cast(cast(x_of(g, DType::i32), DType::f32), DType::f64)); }, nullptr},
    {"a 16-bit integer does not fit an f16",
     [](Graph& g) { output("y", cast(cast(x_of(g, DType::u16), DType::f16), DType::f64)); }, nullptr},
    {"bf16 does not hold f16", [](Graph& g) { output("y", cast(cast(x_of(g, DType::f16), DType::bf16), DType::f32)); },
     nullptr},
    {"a condition that is known",
     [](Graph& g) {
       const Var x = x_of(g), y = y_of(g);
       output("z", select(constant(g, make_splat(DType::boolean, {}, 0)), x, y));
     },
     [](Graph& g) {
       x_of(g);
       output("z", y_of(g));
     }},
    {"either way the same",
     [](Graph& g) {
       const Var x = x_of(g);
       output("y", select(gt(x, 0.0), x, x));
     },
     [](Graph& g) { output("y", x_of(g)); }},
    {"a constant comes second", [](Graph& g) { output("y", 2.0 * x_of(g)); },
     [](Graph& g) { output("y", x_of(g) * 2.0); }},
    {"but not of a difference", [](Graph& g) { output("y", 2.0 - x_of(g)); }, nullptr},
};

class Algebra : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, Algebra, testing::ValuesIn(kCases));
TEST_P(Algebra, IsDoneWithLess) { expect_case(GetParam(), clean_algebra); }

}  // namespace
}  // namespace ml::passes
