#include <gtest/gtest.h>

#include <cstdio>

#include "tests/matrix/register.h"
#include "tests/matrix/values.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::fprintf(stderr, "ML_TEST_SEED=%llu\n", static_cast<unsigned long long>(ml::test::test_seed()));
  ml::test::register_matrix();
  ml::test::register_expected();
  ml::test::register_control();
  return RUN_ALL_TESTS();
}
