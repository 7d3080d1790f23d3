// The store on a file system without room.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "daemon/store/store.h"
#include "ml/error.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_directory.h"

namespace ml::daemon {
namespace {

using test::require;

TEST(StoreOnAFullDisk, RefusesWithoutHalfWritingAndGoesOnWhenThereIsRoom) {
  test::TempDirectory folder;
  EXPECT_TRUE(test::on_small_disk(folder.path(), "1m", [&] {
    StoredJob job;
    job.state = "queued";
    job.specification = std::string(20'000, 's');
    std::size_t added = 0;
    {
      Store store(folder / "state.db");
      for (int i = 0; i < 3; ++i, ++added) store.add_job(job);
      test::fill_disk(folder / "filler");
      bool refused = false;
      for (int i = 0; i < 100 && !refused; ++i) {
        try {
          store.add_job(job);
          ++added;
        } catch (const Error& error) {
          refused = error.code() == Code::no_space && !error.hint().empty();
          require(refused, error.what());
        }
      }
      require(refused, "a full disk refuses a job");
      require(store.jobs().size() == added, "nothing is half-written");

      require(unlink((folder / "filler").c_str()) == 0, "there is room again");
      store.add_job(job);
      ++added;
    }
    Store store(folder / "state.db");
    require(store.jobs().size() == added, "what was answered is there after a restart");
  }));
}

}  // namespace
}  // namespace ml::daemon
