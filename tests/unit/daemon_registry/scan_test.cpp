// A folder with damaged entries: they are set aside with the reason, and the rest serves.
#include <sys/stat.h>

#include "daemon/registry/manifest.h"
#include "tests/unit/daemon_registry/registry_fixture.h"

namespace ml::daemon::test {
namespace {

namespace fs = std::filesystem;

void replace(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = read_text(path);
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << text;
  fs::remove(path);
  std::ofstream(path) << text.replace(at, from.size(), to);
}

struct Damage {
  const char* name;
  void (*apply)(const std::string& version);
  const char* reason;
};

class ScanTest : public RegistryTest, public testing::WithParamInterface<Damage> {};

TEST_P(ScanTest, OneDamagedVersionIsSetAsideAndTheOthersServe) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(add(anna, "fashion", "12345").value);
  ASSERT_TRUE(add(bert, "other").value);
  GetParam().apply(version_folder(kAnna, "fashion", 3));
  const std::vector<std::string> set_aside = start();
  ASSERT_EQ(set_aside.size(), 1u);
  EXPECT_NE(set_aside[0].find("models/3000001/fashion/3: "), std::string::npos) << set_aside[0];
  EXPECT_NE(set_aside[0].find(GetParam().reason), std::string::npos) << set_aside[0];
  const std::string moved = folder / "models/damaged/3000001+fashion+3";
  EXPECT_TRUE(fs::exists(fs::symlink_status(moved)));
  EXPECT_NE(read_text(moved + ".reason").find(GetParam().reason), std::string::npos);
  EXPECT_FALSE(fs::exists(fs::symlink_status(version_folder(kAnna, "fashion", 3))));

  EXPECT_EQ(registry->find("fashion", anna).version, 2u);
  EXPECT_EQ(*open(registry->find("fashion:1", anna), worker).value, "12345");
  EXPECT_EQ(registry->find("other", bert).version, 1u);
  EXPECT_EQ(limits->used(kAnna, Resource::models), 2u);
  EXPECT_TRUE(start().empty());                        // once is enough
  EXPECT_EQ(add(anna, "fashion").value->version, 4u);  // the number is not used again
}

INSTANTIATE_TEST_SUITE_P(
    Registry, ScanTest,
    testing::Values(
        Damage{"NoManifest", [](const std::string& v) { fs::remove(v + "/manifest.toml"); }, "manifest is missing"},
        Damage{"NoFile", [](const std::string& v) { fs::remove(v + "/model.mlmodel"); }, "model.mlmodel is missing"},
        Damage{"ShortFile",
               [](const std::string& v) {
                 fs::permissions(v + "/model.mlmodel", fs::perms::owner_all);
                 fs::resize_file(v + "/model.mlmodel", 4);
               },
               "has 4 bytes and should have 5"},
        Damage{"LinkedFile",
               [](const std::string& v) {
                 fs::remove(v + "/model.mlmodel");
                 fs::create_symlink("/etc/passwd", v + "/model.mlmodel");
               },
               "model.mlmodel is not a file"},
        Damage{"LinkedManifest",
               [](const std::string& v) {
                 fs::rename(v + "/manifest.toml", v + "/elsewhere");
                 fs::create_symlink(v + "/elsewhere", v + "/manifest.toml");
               },
               "manifest is not a small file"},
        Damage{"EmptyManifest",
               [](const std::string& v) {
                 fs::remove(v + "/manifest.toml");
                 std::ofstream(v + "/manifest.toml");
               },
               "'format' is missing"},
        Damage{"NoToml", [](const std::string& v) { replace(v + "/manifest.toml", "format = 1", "format = = 1"); },
               "no TOML"},
        Damage{"HugeManifest",
               [](const std::string& v) {
                 fs::remove(v + "/manifest.toml");
                 std::ofstream(v + "/manifest.toml") << std::string(1 << 20, '#');
               },
               "manifest is not a small file"},
        Damage{"NewerFormat", [](const std::string& v) { replace(v + "/manifest.toml", "format = 1", "format = 2"); },
               "format 2"},
        Damage{"OfAnotherVersion",
               [](const std::string& v) { replace(v + "/manifest.toml", "version = 3", "version = 2"); },
               "is of 3000001/fashion:2"},
        Damage{"OfAnotherOwner",
               [](const std::string& v) { replace(v + "/manifest.toml", "owner = 3000001", "owner = 0"); },
               "is of 0/fashion:3"},
        Damage{"NegativeSize", [](const std::string& v) { replace(v + "/manifest.toml", "bytes = 5", "bytes = -5"); },
               "out of range: -5"},
        Damage{"OddChecksum", [](const std::string& v) { replace(v + "/manifest.toml", "sha256:", "sha256:Z"); },
               "'checksum' is not sha256"},
        Damage{"WrongType", [](const std::string& v) { replace(v + "/manifest.toml", "shared = false", "shared = 0"); },
               "'shared' is missing or of the wrong type"},
        Damage{"AFileInstead",
               [](const std::string& v) {
                 fs::remove_all(v);
                 std::ofstream(v) << "x";
               },
               "it is not a folder"},
        Damage{"ALinkInstead",
               [](const std::string& v) {
                 fs::rename(v, v + ".moved");
                 fs::rename(v + ".moved", fs::path(v).parent_path().parent_path().parent_path() / "damaged/moved");
                 fs::create_symlink(fs::path(v).parent_path().parent_path().parent_path() / "damaged/moved", v);
               },
               "it is not a folder"}),
    [](const auto& damage) { return std::string(damage.param.name); });

TEST_F(RegistryTest, WhatIsNoModelAtAllIsSetAsideToo) {
  ASSERT_TRUE(add(anna, "fashion").value);
  fs::create_directories(folder / "models/anna/fashion/1");
  std::ofstream(folder / "models/note.txt") << "x";
  fs::create_directories(folder / "models/03000001");
  fs::create_directories(folder / "models/3000001/Upper/1");
  fs::create_directories(folder / "models/3000001/fashion/1.bak");
  EXPECT_EQ(start().size(), 5u);
  EXPECT_EQ(registry->list(root).size(), 1u);
  EXPECT_EQ(registry->find("fashion", anna).version, 1u);
  EXPECT_TRUE(start().empty());
}

TEST_F(RegistryTest, SettingAsideTheSameNameTwiceKeepsBoth) {
  ASSERT_TRUE(add(anna, "fashion").value);
  for (int i = 0; i < 2; ++i) {
    fs::create_directories(version_folder(kAnna, "fashion", 9));
    ASSERT_EQ(start().size(), 1u);
  }
  EXPECT_TRUE(fs::exists(folder / "models/damaged/3000001+fashion+9"));
  EXPECT_TRUE(fs::exists(folder / "models/damaged/3000001+fashion+9+2"));
  EXPECT_EQ(add(anna, "fashion").value->version, 10u);
}

TEST(Manifest, ReadsBackWhatItWrote) {
  TempDirectory folder;
  const Manifest written{4294967295u, "a.b-c_d", 7, true, 1ull << 62, "sha256:" + std::string(64, 'a'), 1ull << 60};
  std::ofstream(folder / "manifest.toml") << to_toml(written);
  const Manifest read = read_manifest(folder / "manifest.toml");
  EXPECT_EQ(read.owner, written.owner);
  EXPECT_EQ(read.name, written.name);
  EXPECT_EQ(read.version, written.version);
  EXPECT_EQ(read.shared, written.shared);
  EXPECT_EQ(read.bytes, written.bytes);
  EXPECT_EQ(read.checksum, written.checksum);
  EXPECT_EQ(read.registered_at, written.registered_at);
}

}  // namespace
}  // namespace ml::daemon::test
