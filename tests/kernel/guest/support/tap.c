#include "support/tap.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/process.h"

static const unsigned usual_seconds = 120;

// What the processes of a case tell the one that reports.
struct Report {
  int failures;
  int skipped;
  char reason[256];
};

static struct Report* report;
static uint64_t seed;

static void say(const char* prefix, const char* format, va_list arguments) {
  char text[1024];
  int length = snprintf(text, sizeof text, "%s", prefix);
  length += vsnprintf(text + length, sizeof text - length - 1, format, arguments);
  if (length > (int)sizeof text - 2) length = sizeof text - 2;
  text[length++] = '\n';
  // One write, so that lines of several processes don't mix.
  ssize_t written = write(STDOUT_FILENO, text, length);
  (void)written;
}

static void line(const char* format, ...) __attribute__((format(printf, 1, 2)));
static void line(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say("", format, arguments);
  va_end(arguments);
}

void note(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say("# ", format, arguments);
  va_end(arguments);
}

void skip(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(report->reason, sizeof report->reason, format, arguments);
  va_end(arguments);
  __atomic_store_n(&report->skipped, 1, __ATOMIC_SEQ_CST);
  _exit(0);
}

static const char* error_name(intmax_t value) {
  const char* name = value < 0 && value > -4096 ? strerrorname_np((int)-value) : NULL;
  return name == NULL ? "" : name;
}

void check_failed(const char* file, int line, const char* what) {
  const int error = errno;
  __atomic_add_fetch(&report->failures, 1, __ATOMIC_SEQ_CST);
  note("%s:%d: not so: %s (errno %d %s)", file, line, what, error, error_name(-error));
  errno = error;
}

bool check_compare(const char* file, int line, const char* what, intmax_t got, intmax_t wanted, bool holds) {
  if (holds) return true;
  const int error = errno;
  __atomic_add_fetch(&report->failures, 1, __ATOMIC_SEQ_CST);
  note("%s:%d: not so: %s: %jd %s (%#jx) against %jd %s (%#jx), errno %d %s", file, line, what, got, error_name(got),
       (uintmax_t)got, wanted, error_name(wanted), (uintmax_t)wanted, error, error_name(-error));
  errno = error;
  return false;
}

void end_case(void) { _exit(1); }

bool case_failed(void) { return __atomic_load_n(&report->failures, __ATOMIC_SEQ_CST) != 0; }

static uint64_t number_of(const char* variable, uint64_t otherwise) {
  const char* text = getenv(variable);
  return text == NULL || *text == '\0' ? otherwise : strtoull(text, NULL, 0);
}

uint64_t test_rounds(uint64_t usual) { return number_of("ML_TEST_ROUNDS", usual); }

uint64_t test_rounds_within(uint64_t usual, uint64_t most) {
  const uint64_t rounds = test_rounds(usual);
  return rounds < most ? rounds : most;
}

uint64_t test_seed(void) { return seed; }

// splitmix64.
uint64_t next_random(uint64_t* state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t random_below(uint64_t* state, uint64_t bound) { return next_random(state) % bound; }

// Where the kernel holds a process that does not die.
static void show_stack(pid_t pid) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/stack", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (length <= 0) return;
  text[length] = '\0';
  char* rest = NULL;
  for (char* one = strtok_r(text, "\n", &rest); one != NULL; one = strtok_r(NULL, "\n", &rest)) note("  %s", one);
}

static bool ends_within(pid_t pid, unsigned seconds) {
  const int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  struct pollfd wait = {.fd = pidfd, .events = POLLIN};
  const uint64_t deadline = now_ns() + seconds * UINT64_C(1000000000);
  int ready = 0;
  for (uint64_t now = now_ns(); ready <= 0 && now < deadline; now = now_ns())
    ready = poll(&wait, 1, (int)((deadline - now) / 1000000) + 1);
  close(pidfd);
  return ready > 0;
}

// What the case left behind must be gone before the next one opens the control node.
static bool reap_group(pid_t group) {
  kill(-group, SIGKILL);
  const uint64_t deadline = now_ns() + UINT64_C(20000000000);
  while (now_ns() < deadline) {
    const pid_t gone = waitpid(-1, NULL, WNOHANG);
    if (gone < 0) return true;
    if (gone == 0) pause_ns(1000000);
  }
  return false;
}

static void run_one(const struct Case* test, unsigned number) {
  const unsigned seconds = test->seconds == 0 ? usual_seconds : test->seconds;
  memset(report, 0, sizeof *report);
  const pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    alarm(seconds);
    errno = 0;
    test->run();
    fflush(NULL);
    _exit(0);
  }
  setpgid(pid, pid);

  const char* why = NULL;
  int status = 0;
  if (!ends_within(pid, seconds + 10)) {
    note("%s hangs and can't be killed:", test->name);
    show_stack(pid);
    why = "hangs";
  } else {
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
      note("%s did not end within %u s", test->name, seconds);
      why = "late";
    } else if (WIFSIGNALED(status)) {
      note("%s died of signal %d %s", test->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
      why = "signal";
    } else if (WEXITSTATUS(status) != 0) {
      why = "failed";
    }
  }
  if (!reap_group(pid)) {
    note("%s left processes that don't die", test->name);
    why = "hangs";
  }
  if (case_failed()) why = "failed";
  if (why != NULL)
    line("not ok %u - %s", number, test->name);
  else if (report->skipped)
    line("ok %u - %s # SKIP %s", number, test->name, report->reason);
  else
    line("ok %u - %s", number, test->name);
  report->failures = why != NULL;
}

static bool chosen(const struct Case* test, int argc, char** argv) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], test->name) == 0) return true;
  return argc < 2;
}

int run_cases(int argc, char** argv, const struct Case* cases, size_t count) {
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (size_t i = 0; i < count; i++) line("%s", cases[i].name);
    return 0;
  }
  unsigned chosen_count = 0, number = 0, failed = 0;
  for (size_t i = 0; i < count; i++) chosen_count += chosen(&cases[i], argc, argv);
  if (chosen_count == 0) {
    line("Bail out! no such case; --list names them");
    return 2;
  }
  report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (report == MAP_FAILED) return 2;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGPIPE, SIG_IGN);
  seed = number_of("ML_TEST_SEED", now_ns() ^ (uint64_t)getpid() << 40);
  note("ML_TEST_SEED=%#jx", (uintmax_t)seed);
  line("1..%u", chosen_count);
  for (size_t i = 0; i < count; i++) {
    if (!chosen(&cases[i], argc, argv)) continue;
    run_one(&cases[i], ++number);
    failed += report->failures != 0;
  }
  return failed == 0 ? 0 : 1;
}
