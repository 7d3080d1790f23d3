// Sessions: choosing one, and what a forked child is told.
#include "ml/session.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "ml/model.h"
#include "ml/ops.h"
#include "tests/unit/client/expected.h"

namespace ml {
namespace {

// Runs `body` in a forked child, which reports a failure by its exit code.
template <class F>
void in_child(F body) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int code = 1;
    try {
      code = body() ? 0 : 2;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    _exit(code);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(Session, TellsWhatItIs) {
  const Session session = default_session();
  // The whole suite runs over each transport, as $MLACCEL says.
  if (const char* const chosen = std::getenv("MLACCEL")) {
    EXPECT_EQ(session.transport(), chosen);
  }
  EXPECT_EQ(session.device(), session.transport() == "embedded" ? "cpu" : "cpu0");
  EXPECT_NE(session.fingerprint(), "");
  const std::uint64_t before = session.statistics().executions;
  (ones({3}) + 1).eval();
  session.synchronize();
  EXPECT_GT(session.statistics().executions, before);
  EXPECT_GT(session.statistics().arena_bytes, 0U);
}

TEST(Session, CannotBeChangedOnceItIsOpen) {
  default_session();
  EXPECT_NO_THROW(connect());
  EXPECT_EQ(code_of([] { connect({.device = "reference"}); }), Code::invalid_argument);
}

TEST(Session, AForkedChildIsToldThatItHasNone) {
  const Tensor kept = ones({4});
  kept.eval();
  in_child([&] {
    // Tensors of the parent, and new ones.
    const bool old_fails = code_of([&] { kept.to_vector<float>(); }) == Code::device_lost;
    const bool new_fails = message_of([] { (ones({2}) * 3).eval(); }).find("forked") != std::string::npos;
    const Tensor dropped = kept * 2;  // and dropping them is harmless
    return old_fails && new_fails;
  });
  EXPECT_EQ(kept.to_vector<float>(), std::vector<float>(4, 1.0F));
}

// A process of its own for each: a transport is chosen once.
class Environment : public testing::TestWithParam<std::pair<const char*, Code>> {};

TEST_P(Environment, OtherTransportsAreRefusedClearly) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto& [transport, code] = GetParam();
  EXPECT_EXIT(
      {
        setenv("MLACCEL", transport, 1);
        const Code is = code_of([] { ones({2}).eval(); });
        std::fprintf(stderr, "%s\n", message_of([] { ones({2}).eval(); }).c_str());
        _exit(is == code ? 0 : 1);
      },
      testing::ExitedWithCode(0), "transport|no daemon listens|no node");
}
INSTANTIATE_TEST_SUITE_P(Transports, Environment,
                         testing::Values(std::pair{"unix:/nowhere/mld.sock", Code::not_found},
                                         std::pair{"fd:none", Code::invalid_argument},
                                         std::pair{"kernel:1000000", Code::not_found},
                                         std::pair{"carrier-pigeon", Code::invalid_argument}));

TEST(Embedded, HasNoRegistryAndSaysSo) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        setenv("MLACCEL", "embedded", 1);
        const Model model = Model::trace([](std::span<const Tensor> t) -> std::vector<Tensor> { return {t[0] + 1}; },
                                         {{"x", DType::f32, {-1}}});
        const bool both = code_of([] { Model::open("fashion"); }) == Code::unsupported &&
                          code_of([&] { model.publish("fashion"); }) == Code::unsupported;
        std::fprintf(stderr, "%s\n", message_of([] { Model::open("fashion"); }).c_str());
        _exit(both ? 0 : 1);
      },
      testing::ExitedWithCode(0), "'fashion' needs a daemon");
}

TEST(Engine, ThatIsNotThereIsReportedWithWhereItWasLookedFor) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        setenv("MLACCEL", "embedded", 1);
        setenv("MLACCEL_ENGINE", "/nowhere/libmlengine.so", 1);
        const Code is = code_of([] { ones({2}).eval(); });
        std::fprintf(stderr, "%s\n", message_of([] { ones({2}).eval(); }).c_str());
        _exit(is == Code::not_found ? 0 : 1);
      },
      testing::ExitedWithCode(0), "/nowhere/libmlengine.so");
}

}  // namespace
}  // namespace ml
