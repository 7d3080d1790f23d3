#include "engine/runtime/fair_share.h"

#include <algorithm>

namespace ml::runtime {
namespace {

// A queue's usual time follows each new one by an eighth.
constexpr std::uint64_t kMemory = 8;

std::size_t level(std::int32_t priority) { return static_cast<std::size_t>(std::clamp(priority, -1, 1) + 1); }

}  // namespace

FairShare::User& FairShare::user_of(std::uint32_t number) {
  const auto found = std::ranges::find(users_, number, [](const std::unique_ptr<User>& user) { return user->number; });
  if (found != users_.end()) return **found;
  forget_idle_users();
  users_.push_back(std::make_unique<User>());
  users_.back()->number = number;
  return *users_.back();
}

// Who is ahead of the others stays known, so that coming back as somebody new gains nothing.
void FairShare::forget_idle_users() {
  std::erase_if(users_, [this](const std::unique_ptr<User>& user) {
    return user->places == 0 && user->given == 0 && !user->weighted && user->time <= now_;
  });
}

void FairShare::join(Place& place, std::uint32_t user) {
  place.user = &user_of(user);
  ++place.user->places;
}

void FairShare::leave(Place& place) {
  stop_waiting(place);
  --place.user->places;
}

void FairShare::set_weight(std::uint32_t user, std::uint32_t weight) {
  User& known = user_of(user);
  known.weight = std::max(weight, 1u);
  known.weighted = true;
}

void FairShare::append(Place& place) {
  const std::size_t at = level(place.priority);
  User& user = *place.user;
  place.before_ = user.last[at];
  place.behind_ = nullptr;
  (user.last[at] != nullptr ? user.last[at]->behind_ : user.first[at]) = &place;
  user.last[at] = &place;
}

void FairShare::remove(Place& place) {
  const std::size_t at = level(place.priority);
  User& user = *place.user;
  (place.before_ != nullptr ? place.before_->behind_ : user.first[at]) = place.behind_;
  (place.behind_ != nullptr ? place.behind_->before_ : user.last[at]) = place.before_;
}

void FairShare::wait(Place& place) {
  if (place.waits_) return;
  User& user = *place.user;
  if (user.waiting == 0 && user.given == 0) user.time = std::max(user.time, now_);
  place.waits_ = true;
  append(place);
  ++user.waiting;
  ++waiting_at_[level(place.priority)];
  ++waiting_;
}

void FairShare::stop_waiting(Place& place) {
  if (!place.waits_) return;
  place.waits_ = false;
  remove(place);
  --place.user->waiting;
  --waiting_at_[level(place.priority)];
  --waiting_;
}

FairShare::Place* FairShare::next() const {
  for (std::size_t at = kPriorities; at-- > 0;) {
    if (waiting_at_[at] == 0) continue;
    const User* least = nullptr;
    for (const std::unique_ptr<User>& user : users_) {
      if (user->first[at] == nullptr || user->held_back) continue;
      if (least == nullptr || user->time < least->time) least = user.get();
    }
    if (least != nullptr) return least->first[at];
  }
  return nullptr;
}

void FairShare::hold_back(User& user) { user.held_back = true; }

std::uint64_t FairShare::give(Place& place) {
  User& user = *place.user;
  now_ = std::max(now_, user.time);
  remove(place);
  append(place);
  user.time += static_cast<double>(place.usual) / user.weight;
  ++user.given;
  ++given_;
  return place.usual;
}

void FairShare::take_back(Place& place, std::uint64_t charged, std::uint64_t taken) {
  User& user = *place.user;
  user.time += (static_cast<double>(taken) - static_cast<double>(charged)) / user.weight;
  --user.given;
  user.held_back = false;
  --given_;
  place.usual = place.usual == 0 ? taken : (place.usual * (kMemory - 1) + taken) / kMemory;
  // Nobody competes any more: whoever comes next, all start together.
  if (given_ == 0 && waiting_ == 0) now_ = std::max(now_, user.time);
}

double FairShare::time_of(std::uint32_t user) const {
  const auto found = std::ranges::find(users_, user, [](const std::unique_ptr<User>& known) { return known->number; });
  return found == users_.end() ? 0 : (*found)->time;
}

}  // namespace ml::runtime
