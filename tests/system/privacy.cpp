// User B guesses at what user A has: handles, arenas, queues, models, sessions. No hit, and no name told.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/system/support/daemon.h"
#include "tests/system/support/held.h"
#include "tests/system/support/models.h"
#include "tests/system/support/randomness.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

constexpr uid_t kAnna = 12001, kBert = 12002;
constexpr const char* kSecrets[] = {"secret", "fashion", "xyzzy-17"};

std::string text_of(const mlring_handle& handle) {
  return std::to_string(handle.index) + " " + std::to_string(handle.generation);
}

// What Anna has: private models, one with an alias that Bert might guess, programs, memory, a queue, arenas.
class Privacy : public testing::Test {
 protected:
  const std::uint64_t seed_ = seed();  // before anybody forks: children draw from the same one
  Daemon daemon{{.toml = std::string(kSystemToml), .system = true}};
  Held anna{User{kAnna, kAnna}, [this](const auto& hold) {
              RawSession session(daemon.socket(), HelloOptions{.client = "annas-program"});
              for (const char* name : kSecrets) {
                register_model(session, name);
                register_model(session, name);
              }
              register_model(session, "public", true);
              register_model(session, "public");
              const auto queue = session.open_queue();
              const auto arena = session.add_arena();
              const mlring_handle program = compile(*queue, *arena, add_one_graph());
              mlring_descriptor alloc{};
              alloc.opcode = MLRING_OP_ALLOC;
              alloc.operand = 4096;
              const mlring_handle memory = queue->run(alloc).completion.result;
              hold(text_of(queue->handle()) + " " + text_of(program) + " " + text_of(memory) + " " +
                   std::to_string(arena->id()));
            }};
};

struct Guesser {
  explicit Guesser(const std::string& socket, const std::string& known) : session(socket) {
    std::istringstream(known) >> queue_of_hers.index >> queue_of_hers.generation >> program_of_hers.index >>
        program_of_hers.generation >> memory_of_hers.index >> memory_of_hers.generation >> arena_of_hers;
  }
  // Small numbers mostly, as they are given out, sometimes exactly hers, sometimes any.
  mlring_handle handle(const mlring_handle& hers) {
    switch (random() % 8) {
      case 0: return hers;
      case 1: return {hers.index, hers.generation + static_cast<std::uint32_t>(random() % 5) - 2};
      case 2: return {static_cast<std::uint32_t>(random()), static_cast<std::uint32_t>(random())};
      default: return {static_cast<std::uint32_t>(random() % 256), static_cast<std::uint32_t>(random() % 64)};
    }
  }

  RawSession session;
  std::mt19937_64 random{seed()};
  mlring_handle queue_of_hers{}, program_of_hers{}, memory_of_hers{};
  std::uint32_t arena_of_hers = 0;
};

bool same(const mlring_handle& a, const mlring_handle& b) { return a.index == b.index && a.generation == b.generation; }

TEST_F(Privacy, NoGuessedHandleArenaOrQueueIsAnybodyElses) {
  const int guesses = rounds(70'000);
  const std::string outcome =
      Forked({{kBert, kBert}}, [&]() -> std::string {
        Guesser bert(daemon.socket(), anna.text());
        const auto queue = bert.session.open_queue();
        const auto arena = bert.session.add_arena();
        const mlring_handle own = compile(*queue, *arena, add_one_graph());
        mlring_argument in = arena->input({1, 2, 3}), out = arena->output(3);
        mlring_descriptor run = execute(*arena, own, {in, out});
        auto* const table = reinterpret_cast<mlring_argument*>(arena->at(run.argument_offset));
        int refused = 0;
        for (int i = 0; i < guesses; ++i) {
          table[0] = in;
          table[1] = out;
          mlring_descriptor guess = run;
          std::string what;
          switch (bert.random() % 6) {
            case 0:
              what = "execute";
              guess.handle = bert.handle(bert.program_of_hers);
              if (same(guess.handle, own)) continue;
              break;
            case 1:
              what = "free";
              guess = {};
              guess.opcode = MLRING_OP_FREE;
              guess.handle = bert.handle(bert.memory_of_hers);
              if (same(guess.handle, own)) continue;
              break;
            case 2:
              what = "wait";
              guess = {};
              guess.opcode = MLRING_OP_WAIT;
              guess.handle = bert.handle(bert.queue_of_hers);
              if (same(guess.handle, queue->handle())) continue;
              break;
            case 3:
              what = "read memory";
              table[0].arena = 0;
              table[0].handle = bert.handle(bert.memory_of_hers);
              table[0].offset = 0;
              break;
            case 4:
              what = "write memory";
              table[1].arena = 0;
              table[1].handle = bert.handle(bert.memory_of_hers);
              table[1].offset = 0;
              break;
            default:
              what = "arena";
              // Arenas count from 1 in every session: hers is no other number than his.
              table[bert.random() % 2].arena = 2 + static_cast<std::uint32_t>(bert.random() % (i % 2 ? 64 : 1u << 31));
              if (table[0].arena == arena->id() && table[1].arena == arena->id()) continue;
          }
          const RawQueue::Answer answer = queue->run(guess);
          if (answer.status() == MLRING_OK)
            return what + " with handle " + text_of(guess.handle) + " was carried out, guess " + std::to_string(i);
          ++refused;
        }
        table[0] = in;
        table[1] = out;
        if (queue->run(run).status() != MLRING_OK) return "his own program does not run any more";
        return refused > guesses * 9 / 10 ? "" : "only " + std::to_string(refused) + " guesses were made";
      }).answer(8 * kPatience);
  EXPECT_EQ(outcome, "") << "seed " << seed_;
  EXPECT_TRUE(anna.process().running());
}

// One answer for whatever he may not use: the only difference is the reference that he gave himself.
TEST_F(Privacy, NoGuessedModelIsOpenedAndPrivateOnesAreNotToldFromNone) {
  const int guesses = rounds(30'000);
  const std::string outcome =
      Forked({{kBert, kBert}}, [&]() -> std::string {
        Guesser bert(daemon.socket(), anna.text());
        register_model(bert.session, "berts-own");
        const std::vector<std::string> owners = {"12001/", "12001/", "0/", "root/", "12003/", "4294967295/", ""};
        std::vector<std::string> names(std::begin(kSecrets), std::end(kSecrets));
        names.insert(names.end(), {"secre", "secrets", "nothing", "a", "model", "berts-ow", "latest"});
        const std::vector<std::string> selectors = {"", ":1", ":2", ":3", "@latest", "@prod", ":18446744073709551615"};
        const auto any = [&](const std::vector<std::string>& of) { return of[bert.random() % of.size()]; };
        std::set<std::string> answers;
        for (int i = 0; i < guesses; ++i) {
          std::string name = any(names);
          if (bert.random() % 4 == 0) {
            name.clear();
            for (std::uint64_t length = 1 + bert.random() % 8; length > 0; --length)
              name += static_cast<char>('a' + bert.random() % 26);
          }
          // Of "public" version 2 is hers alone, version 1 is for all.
          std::string reference = any(owners) + name + any(selectors);
          if (bert.random() % 16 == 0) reference = "12001/public:2";
          protocol::OpenModel open{};
          open.header.kind = static_cast<std::uint32_t>(protocol::Kind::open_model);
          try {
            bert.session.request(open, reference);
            return reference + " was opened";
          } catch (const Refused& refused) {
            if (refused.status != MLRING_NOT_FOUND) return reference + ": " + refused.what();
            std::string text = refused.what();
            const std::size_t at = text.find("'" + reference + "'");
            if (at == text.npos) return reference + " is not in '" + text + "'";
            answers.insert(text.replace(at, reference.size() + 2, "IT"));
          }
        }
        if (answers.size() != 1) {
          std::string all = "several answers:";
          for (const std::string& answer : answers) all += "\n  " + answer;
          return all;
        }
        for (const char* secret : kSecrets)
          if (answers.begin()->find(secret) != std::string::npos) return *answers.begin();
        protocol::OpenModel open{};
        open.header.kind = static_cast<std::uint32_t>(protocol::Kind::open_model);
        bert.session.request(open, "12001/public:1");  // what she shares is there for him
        bert.session.request(open, "12001/public");
        bert.session.request(open, "berts-own");
        return "";
      }).answer(8 * kPatience);
  EXPECT_EQ(outcome, "") << "seed " << seed_;
}

}  // namespace
}  // namespace ml::test
