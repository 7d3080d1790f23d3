// A registry on a file system without room.
#include "tests/support/small_disk.h"
#include "tests/unit/daemon_registry/registry_fixture.h"

namespace ml::daemon::test {
namespace {

using ml::test::require;

class FullDiskTest : public RegistryTest {
 protected:
  // In the child: as if mld had been started there.
  void begin() {
    worker.answers_by_itself = true;
    start();
  }
  void require_refused(const std::string& content) {
    const auto outcome = add(anna, "fashion", content);
    require(outcome.error.has_value(), "it is refused");
    require(outcome.error->code() == Code::no_space, outcome.error->what());
    require(limits->used(kAnna, Resource::models) == 0, "its limit is given back");
    require(limits->used(kAnna, Resource::model_bytes) == 0, "its bytes are given back");
    require(nothing_incoming(), "nothing stays behind");
    require(registry->list(anna).empty(), "nothing is registered");
  }
};

TEST_F(FullDiskTest, AModelThatDoesNotFitIsRefusedWithNothingLeftBehind) {
  registry.reset();  // its threads would not be in the child
  store.reset();
  EXPECT_TRUE(ml::test::on_small_disk(folder.path(), "2m", [&] {
    config.limits.model_bytes = 1 << 30;
    begin();
    require_refused(std::string(4 << 20, 'x'));
    ml::test::fill_disk(folder / "filler");
    require_refused("x");
    require(unlink((folder / "filler").c_str()) == 0, "there is room again");
    const auto fits = add(anna, "fashion", std::string(1 << 20, 'x'));
    require(fits.value.has_value(), "what fits is taken");
    start();
    require(registry->find("fashion", anna).bytes == 1 << 20, "and found after a restart");
    registry.reset();
  }));
}

}  // namespace
}  // namespace ml::daemon::test
