#include "daemon/admin/codes.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "daemon/admin/failure.h"
#include "daemon/config/config.h"
#include "daemon/limits/limits.h"

namespace ml::daemon {
namespace {

TEST(Codes, EveryPageHasACodeOfItsOwnAndSomethingToSay) {
  std::string last;
  for (const ErrorPage& page : error_pages()) {
    EXPECT_EQ(page.code.size(), 8u) << page.code;
    EXPECT_TRUE(page.code.starts_with("MLE-")) << page.code;
    EXPECT_LT(last, page.code) << "not in order, or twice";
    last = page.code;
    EXPECT_GT(page.title.size(), 5u) << page.code;
    EXPECT_GT(page.text.size(), 40u) << page.code;
    EXPECT_EQ(find_error_page(page.code), &page);
  }
  EXPECT_EQ(find_error_page("MLE-9999"), nullptr);
  EXPECT_EQ(find_error_page(""), nullptr);
}

TEST(Codes, EveryKindOfErrorHasThePageOfItsNumber) {
  for (int number = 1; number <= static_cast<int>(Code::internal); ++number) {
    const auto kind = static_cast<Code>(number);
    const std::string digits = std::to_string(number);
    EXPECT_EQ(code_of(kind), "MLE-" + std::string(4 - digits.size(), '0') + digits);
    ASSERT_NE(find_error_page(code_of(kind)), nullptr);
    EXPECT_EQ(find_error_page(code_of(kind))->kind, kind);
  }
}

TEST(Codes, EveryLimitHasACodeOfItsOwn) {
  Config config;  // by which nobody may have anything
  config.limits = {.sessions = 0, .queues = 0, .arenas = 0, .jobs = 0, .models = 0};
  Limits limits(config);
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < kResources; ++i) {
    const auto resource = static_cast<Resource>(i);
    try {
      limits.take(1000, resource);
      ADD_FAILURE() << resource_name(resource);
    } catch (const Error& error) {
      const std::string_view code = code_of(error);
      EXPECT_TRUE(code.starts_with("MLE-01")) << resource_name(resource) << ": " << code;
      EXPECT_TRUE(seen.insert(code).second) << resource_name(resource);
      EXPECT_NE(find_error_page(code)->text.find("`" + std::string(resource_name(resource)) + "`"), std::string::npos)
          << "the page of " << resource_name(resource) << " names another key";
    }
  }
  EXPECT_EQ(code_of(Error(Code::no_space, "full", "limits.no_such_key")), "MLE-0007");
  EXPECT_EQ(code_of(Error(Code::again, "too fast", "limits.sessions_a_second: HELLO")), "MLE-0109");
}

TEST(Codes, TheNamedConditionsHavePages) {
  for (const std::string_view code :
       {codes::kAdminConnections, codes::kNoDevice, codes::kNoModel, codes::kNoJob, codes::kNoSession, codes::kNotYours,
        codes::kNotRunning, codes::kStopping, codes::kDraining, codes::kNoAnswer, codes::kJobState,
        codes::kModelDamaged, codes::kNoPrevious, codes::kNoSuchDevices})
    EXPECT_NE(find_error_page(code), nullptr) << code;
}

TEST(Failure, AStatusMessageHasFourPartsAndFitsATrailer) {
  EXPECT_EQ(status_message({"MLE-0004", Error(Code::not_found, "what", "where", "hint")}),
            "MLE-0004\x1fwhat\x1fwhere\x1fhint");
  EXPECT_EQ(status_message({"MLE-0004", Error(Code::not_found, "what")}), "MLE-0004\x1fwhat\x1f\x1f");
  const std::string huge(100'000, '\xe9');
  EXPECT_LT(status_message({"MLE-0015", Error(Code::internal, huge, huge, huge)}).size(), 2400u);
}

TEST(Failure, WhatOthersSaidIsMadePresentable) {
  struct Case {
    std::string_view raw, shown;
  };
  for (const Case& one :
       {Case{"plain, ünïcode € 😀", "plain, ünïcode € 😀"}, Case{"a\nb\tc", "a b c"}, Case{"\x1b[31mred", "?[31mred"},
        Case{"\x1f\x7f", "??"}, Case{"\xff\xfe", "??"}, Case{"\xc3", "?"}, Case{"\xc0\xaf", "??"},
        Case{"\xed\xa0\x80", "???"}, Case{"\xf4\x90\x80\x80", "????"}, Case{"\xe0\x80\x80", "???"},
        Case{"\xc2\x9b", "??"}, Case{"\xf0\x9f\x98", "???"}, Case{std::string_view("a\0b", 3), "a?b"}, Case{"", ""}})
    EXPECT_EQ(presentable(one.raw), one.shown) << one.raw;
}

TEST(Failure, ANamedErrorKeepsItsCodeAndOthersGetTheirs) {
  const auto caught = [](auto act) {
    try {
      act();
    } catch (...) {
      return std::string(caught_failure().code);
    }
    return std::string("nothing");
  };
  const auto not_found = [] { throw Error(Code::not_found, "x"); };
  EXPECT_EQ(caught([&] { naming(codes::kNoModel, Code::not_found, not_found); }), codes::kNoModel);
  EXPECT_EQ(caught([&] { naming(codes::kNotYours, Code::denied, not_found); }), "MLE-0004");
  EXPECT_EQ(caught([] { throw std::bad_alloc(); }), "MLE-0008");
  EXPECT_EQ(caught([] { throw 1; }), "MLE-0015");
}

}  // namespace
}  // namespace ml::daemon
