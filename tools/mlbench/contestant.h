// A process of mlbench's own that measures what it is told: a process has one session, so two transports need two.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>

namespace ml::bench {

class Contestant {
 public:
  // What is asked for: the meaning is the two sides' own.
  struct Task {
    std::int64_t kind = 0, size = 0, times = 0;
  };
  // Forks; make it before this process has threads or a session. `make` runs in the child and answers what performs a
  // task.
  explicit Contestant(const std::function<std::function<double(const Task&)>()>& make);
  ~Contestant();
  Contestant(const Contestant&) = delete;
  Contestant& operator=(const Contestant&) = delete;

  // Throws the text of what went wrong there.
  double perform(const Task& task);

 private:
  int socket_ = -1;
  pid_t process_ = -1;
};

}  // namespace ml::bench
