// What rings are measured against: a message to somebody else and one back.
#pragma once

#include <sys/types.h>

#include <thread>

namespace ml::bench {

// Two eventfds, blocking, and a thread on another CPU: what the kernel takes to wake each side once.
class EventfdPingPong {
 public:
  explicit EventfdPingPong(int cpu);
  ~EventfdPingPong();
  EventfdPingPong(const EventfdPingPong&) = delete;
  EventfdPingPong& operator=(const EventfdPingPong&) = delete;
  void round_trip();

 private:
  int to_, from_;
  std::thread thread_;
};

// A SOCK_SEQPACKET pair and messages of a descriptor's size, with a thread on another CPU or with a process there.
class SocketPingPong {
 public:
  enum class With { thread, process };  // a process is forked: make it before there are threads
  SocketPingPong(int cpu, With with);
  ~SocketPingPong();
  SocketPingPong(const SocketPingPong&) = delete;
  SocketPingPong& operator=(const SocketPingPong&) = delete;
  void round_trip();

 private:
  int ends_[2];
  std::thread thread_;
  pid_t process_ = -1;
};

}  // namespace ml::bench
