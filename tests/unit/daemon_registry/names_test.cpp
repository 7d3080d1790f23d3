// What references mean, to whom, and how aliases move.
#include "tests/unit/daemon_registry/registry_fixture.h"

namespace ml::daemon::test {
namespace {

class NamesTest : public RegistryTest {
 protected:
  std::uint64_t version_of(const std::string& reference, const Peer& who) {
    return registry->find(reference, who).version;
  }
  Error refusal(const std::function<void()>& act) {
    try {
      act();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "not refused";
    return Error(Code::internal, "");
  }
};

TEST_F(NamesTest, BadReferencesAreRefusedAndQuoted) {
  for (const char* reference : {"", "/", "/a", "a/", "a:", "a@", "a:0", "a:01", "a:-1", "a:1x", "a:1:2", "a@b@c", "A",
                                "a/b/c", "a:99999999999999999999", "a:1@b", "a\n"}) {
    const Error error = refusal([&] { registry->find(reference, anna); });
    EXPECT_EQ(error.code(), Code::invalid_argument) << reference;
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

TEST_F(NamesTest, OthersSeeOnlyWhatIsShared) {
  ASSERT_TRUE(add(anna, "secret").value);
  ASSERT_TRUE(add(anna, "public", "v1", true).value);
  ASSERT_TRUE(add(anna, "public", "v2").value);
  EXPECT_EQ(version_of("public", anna), 2u);
  EXPECT_EQ(version_of("3000001/public", anna), 2u);
  EXPECT_EQ(version_of("3000001/public", bert), 1u);  // the newest of those that are shared
  EXPECT_EQ(version_of("3000001/public:1", bert), 1u);
  EXPECT_EQ(version_of("3000001/public:2", root), 2u);
  EXPECT_EQ(version_of("3000001/secret", root), 1u);
  EXPECT_EQ(code_of_find("3000001/public:2", bert), Code::not_found);
  EXPECT_EQ(code_of_find("public", bert), Code::not_found);
  EXPECT_EQ(registry->list(anna).size(), 3u);
  EXPECT_EQ(registry->list(bert).size(), 1u);
  EXPECT_EQ(registry->list(root).size(), 3u);
}

TEST_F(NamesTest, PrivateAndAbsentAreToldApartByNothing) {
  ASSERT_TRUE(add(anna, "secret").value);
  ASSERT_TRUE(add(anna, "public", "v1", true).value);
  ASSERT_TRUE(add(anna, "public", "v2").value);
  registry->promote(registry->find("public:2", anna), "prod", anna);
  const auto text = [&](const std::string& reference) {
    const Error error = refusal([&] { registry->find(reference, bert); });
    EXPECT_EQ(error.code(), Code::not_found);
    std::string what = error.what();
    const std::size_t at = what.find(reference);
    EXPECT_NE(at, std::string::npos) << what;
    return what.replace(at, reference.size(), "REFERENCE");
  };
  const std::string absent = text("3000001/nothing");
  EXPECT_EQ(text("3000001/secret"), absent);
  EXPECT_EQ(text("3000001/secret:1"), absent);
  EXPECT_EQ(text("3000001/secret@latest"), absent);
  EXPECT_EQ(text("3000001/public:2"), absent);
  EXPECT_EQ(text("3000001/public@prod"), absent);
  EXPECT_EQ(text("3000001/public@none"), absent);
  EXPECT_EQ(text("3999999/secret"), absent);
  EXPECT_EQ(text("nobody-of-that-name/secret"), absent);
  EXPECT_EQ(text("secret"), absent);
}

TEST_F(NamesTest, LatestIsTheNewestUntilItIsSet) {
  ASSERT_TRUE(add(anna, "fashion").value);
  ASSERT_TRUE(add(anna, "fashion").value);
  EXPECT_EQ(version_of("fashion", anna), 2u);
  EXPECT_EQ(registry->find("fashion:2", anna).aliases, std::vector<std::string>{"latest"});
  registry->promote(registry->find("fashion:1", anna), "", anna);
  EXPECT_EQ(version_of("fashion", anna), 1u);
  ASSERT_TRUE(add(anna, "fashion").value);
  EXPECT_EQ(version_of("fashion@latest", anna), 1u);
  EXPECT_EQ(registry->find("fashion:1", anna).aliases, std::vector<std::string>{"latest"});
  EXPECT_TRUE(registry->find("fashion:3", anna).aliases.empty());
}

TEST_F(NamesTest, RollbackGoesToWhatTheAliasMeantBefore) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(add(anna, "fashion").value);
  registry->promote(registry->find("fashion:1", anna), "prod", anna);
  EXPECT_EQ(refusal([&] { registry->rollback("fashion", "prod", anna); }).code(), Code::not_found);
  registry->promote(registry->find("fashion:3", anna), "prod", anna);
  registry->promote(registry->find("fashion@prod", anna), "prod", anna);  // to where it is: remembers nothing new
  start();
  EXPECT_EQ(version_of("fashion@prod", anna), 3u);
  EXPECT_EQ(registry->rollback("fashion", "prod", anna).version, 1u);
  EXPECT_EQ(version_of("fashion@prod", anna), 1u);
  EXPECT_EQ(refusal([&] { registry->rollback("fashion", "prod", anna); }).code(), Code::not_found);
  start();
  EXPECT_EQ(version_of("fashion@prod", anna), 1u);

  registry->promote(registry->find("fashion:2", anna), "latest", anna);
  EXPECT_EQ(registry->rollback("fashion", "", anna).version, 3u);  // what it meant before it was set
  EXPECT_EQ(refusal([&] { registry->rollback("fashion:1", "prod", anna); }).code(), Code::invalid_argument);
}

TEST_F(NamesTest, AModelHasAtMost64AliasesBesideLatest) {
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(add(anna, "fashion").value);
  const auto promote = [&](int version, const std::string& alias) {
    registry->promote(registry->find("fashion:" + std::to_string(version), anna), alias, anna);
  };
  for (int i = 0; i < 64; ++i) promote(1, "alias" + std::to_string(i));
  const Error error = refusal([&] { promote(1, "alias64"); });
  EXPECT_EQ(error.code(), Code::no_space);
  EXPECT_NE(error.message().find("64 aliases"), std::string::npos) << error.what();
  promote(1, "latest");   // always
  promote(2, "alias63");  // what it has moves all the same
  EXPECT_EQ(version_of("fashion@alias63", anna), 2u);
}

TEST_F(NamesTest, ARollbackToAVersionThatIsGoneChangesNothing) {
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(add(anna, "fashion").value);
  registry->promote(registry->find("fashion:1", anna), "prod", anna);
  registry->promote(registry->find("fashion:2", anna), "prod", anna);
  std::filesystem::remove_all(version_folder(kAnna, "fashion", 1));
  start();
  const Error error = refusal([&] { registry->rollback("fashion", "prod", anna); });
  EXPECT_EQ(error.code(), Code::not_found);
  EXPECT_NE(error.message().find("version 1"), std::string::npos) << error.what();
  EXPECT_EQ(version_of("fashion@prod", anna), 2u);
}

TEST_F(NamesTest, OnlyTheOwnerAndAdministratorsMoveAliases) {
  ASSERT_TRUE(add(anna, "fashion", "v1", true).value);
  ASSERT_TRUE(add(anna, "fashion", "v2", true).value);
  EXPECT_EQ(refusal([&] { registry->promote(registry->find("3000001/fashion:1", bert), "latest", bert); }).code(),
            Code::denied);
  EXPECT_EQ(version_of("fashion", anna), 2u);
  registry->promote(registry->find("3000001/fashion:1", root), "latest", root);
  EXPECT_EQ(version_of("fashion", anna), 1u);
  EXPECT_EQ(version_of("3000001/fashion", bert), 1u);
  EXPECT_EQ(refusal([&] { registry->rollback("3000001/fashion", "latest", bert); }).code(), Code::denied);
  EXPECT_EQ(registry->rollback("3000001/fashion", "latest", root).version, 2u);
}

TEST_F(NamesTest, AnAliasHasTheFormOfAName) {
  ASSERT_TRUE(add(anna, "fashion").value);
  for (const char* alias : {"A", "a b", "a/b", "a:1", "-"}) {
    EXPECT_EQ(refusal([&] { registry->promote(registry->find("fashion", anna), alias, anna); }).code(),
              Code::invalid_argument)
        << alias;
  }
}

}  // namespace
}  // namespace ml::daemon::test
