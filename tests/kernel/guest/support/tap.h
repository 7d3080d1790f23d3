// Test cases that a guest runs, reported as TAP: each in a process of its own, killed when it takes too long.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct Case {
  const char* name;
  void (*run)(void);
  unsigned seconds;  // that it may take; 0: 120
};

// Runs the cases named in argv, all of them when none is; --list prints their names. The exit code of main().
int run_cases(int argc, char** argv, const struct Case* cases, size_t count);
#define RUN_CASES(argc, argv, cases) run_cases(argc, argv, cases, sizeof(cases) / sizeof((cases)[0]))

// ML_TEST_ROUNDS, or what is usual. ML_TEST_SEED, or one of this run; it is printed in front of the cases.
uint64_t test_rounds(uint64_t usual);
// The same, where each round takes long: never more than `most`.
uint64_t test_rounds_within(uint64_t usual, uint64_t most);
uint64_t test_seed(void);
uint64_t next_random(uint64_t* state);
uint64_t random_below(uint64_t* state, uint64_t bound);

// A line that begins with "# ".
void note(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Ends the case here, successfully, and says that it was not tried.
void skip(const char* format, ...) __attribute__((format(printf, 1, 2), noreturn));

// What CHECK goes on behind and REQUIRE does not. They may stand in threads and in children of the case.
void check_failed(const char* file, int line, const char* what);
bool check_compare(const char* file, int line, const char* what, intmax_t got, intmax_t wanted, bool holds);
void end_case(void) __attribute__((noreturn));
bool case_failed(void);

#define CHECK(what) ((what) ? true : (check_failed(__FILE__, __LINE__, #what), false))
// Compares two numbers and says both; `what` is spelt by the macros below before their arguments are expanded.
#define CHECK_NUMBERS(what, a, relation, b)                                    \
  ({                                                                           \
    __typeof__(a) got_ = (a);                                                  \
    __typeof__(b) wanted_ = (b);                                               \
    check_compare(__FILE__, __LINE__, what, (intmax_t)got_, (intmax_t)wanted_, \
                  (intmax_t)got_ relation(intmax_t) wanted_);                  \
  })
#define CHECK_AS(a, relation, b) CHECK_NUMBERS(#a " " #relation " " #b, a, relation, b)
#define CHECK_EQ(got, wanted) CHECK_NUMBERS(#got " == " #wanted, got, ==, wanted)
#define CHECK_OK(call) CHECK_NUMBERS(#call " == 0", call, ==, 0)
#define CHECK_ERR(call, error) CHECK_NUMBERS(#call " == -" #error, call, ==, -(error))

#define REQUIRE(what) ((what) ? (void)0 : (check_failed(__FILE__, __LINE__, #what), end_case()))
#define REQUIRE_AS(a, relation, b) (CHECK_NUMBERS(#a " " #relation " " #b, a, relation, b) ? (void)0 : end_case())
#define REQUIRE_EQ(got, wanted) (CHECK_NUMBERS(#got " == " #wanted, got, ==, wanted) ? (void)0 : end_case())
#define REQUIRE_OK(call) (CHECK_NUMBERS(#call " == 0", call, ==, 0) ? (void)0 : end_case())
#define REQUIRE_ERR(call, error) (CHECK_NUMBERS(#call " == -" #error, call, ==, -(error)) ? (void)0 : end_case())
// The value of a call that answers a descriptor or another number that is not negative.
#define REQUIRE_FD(call)                                                                 \
  ({                                                                                     \
    int fd_ = (call);                                                                    \
    if (!check_compare(__FILE__, __LINE__, #call " >= 0", fd_, 0, fd_ >= 0)) end_case(); \
    fd_;                                                                                 \
  })
