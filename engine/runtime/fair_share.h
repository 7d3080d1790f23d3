// Whose ready task is next. Higher priority first; within a priority the user who has had the least device time for
// their weight; within a user the queues in turn.
//
// Time is kept as in start-time fair queueing (Goyal, Vin, Cheng 1996): a user's time grows by what their tasks take,
// divided by the weight. A task is charged with what the queue's tasks usually take when it is given away, and
// corrected when it comes back. A user who had nothing to do starts at the time of the others: nobody saves up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace ml::runtime {

class Queue;

class FairShare {
 public:
  struct User;

  // A queue's place in here; a member of the queue. Its tasks are charged to `user`.
  struct Place {
    Queue* queue = nullptr;
    User* user = nullptr;
    std::int32_t priority = 0;  // -1, 0, 1
    std::uint64_t usual = 0;    // ns that its tasks take, the recent ones above all

   private:
    friend class FairShare;
    Place* before_ = nullptr;
    Place* behind_ = nullptr;
    bool waits_ = false;
  };

  // Between joining and leaving a place may wait. Users are known by number.
  void join(Place& place, std::uint32_t user);
  void leave(Place& place);
  void set_weight(std::uint32_t user, std::uint32_t weight);

  // The queue has ready tasks.
  void wait(Place& place);
  // It has none any more.
  void stop_waiting(Place& place);
  bool anybody_waits() const { return waiting_ != 0; }
  bool anything_given() const { return given_ != 0; }

  // The one whose task is next, or null.
  Place* next() const;
  // The user is passed over until one of their tasks is back.
  static void hold_back(User& user);
  // A task of the place is given away; the place goes behind its user's others. Answers what was charged.
  std::uint64_t give(Place& place);
  // That task is back, after `taken` ns.
  void take_back(Place& place, std::uint64_t charged, std::uint64_t taken);

  // How far the shares of all users have got; for tests.
  double time_of(std::uint32_t user) const;

 private:
  static constexpr std::size_t kPriorities = 3;

  User& user_of(std::uint32_t number);
  void append(Place& place);
  void remove(Place& place);
  void forget_idle_users();

  std::vector<std::unique_ptr<User>> users_;
  std::array<std::uint32_t, kPriorities> waiting_at_{};  // places
  std::uint32_t waiting_ = 0;                            // places in all
  std::uint32_t given_ = 0;                              // tasks
  double now_ = 0;                                       // the time at which whoever had nothing to do starts
};

struct FairShare::User {
  std::uint32_t number = 0;
  std::uint32_t weight = 1;
  bool weighted = false;  // somebody said so: it is remembered
  std::uint32_t places = 0;
  std::uint32_t waiting = 0;  // places
  std::uint32_t given = 0;    // tasks
  bool held_back = false;
  double time = 0;  // ns for a weight of 1
  std::array<Place*, kPriorities> first{}, last{};
};

}  // namespace ml::runtime
