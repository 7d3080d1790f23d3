#include "daemon/worker/kernel_ledger.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ml::daemon {
namespace {

std::string refusal_of(int error, std::uint64_t bytes) {
  const std::string more = std::to_string(bytes);
  switch (error) {
    case EDQUOT:
      return "the kernel's quota of device memory is used up: " + more +
             " more bytes are above a limit of the context, of its file or of its user";
    case ENOSPC: return "the kernel has no " + more + " bytes of the device's memory left in one piece";
    default: return "the kernel grants no " + more + " more bytes of device memory: " + std::strerror(error);
  }
}

}  // namespace

KernelLedger::~KernelLedger() {
  while (!pieces_.empty()) destroy(pieces_.begin());
}

void KernelLedger::add_payer(std::shared_ptr<const KernelPages> queue) {
  const std::lock_guard lock(mutex_);
  payers_.push_back(std::move(queue));
}

bool KernelLedger::charged_to(std::uint32_t uid) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(payers_, [uid](const auto& queue) { return queue->info().payer == uid; });
}

bool KernelLedger::take(std::uint64_t bytes) {
  if (bytes == 0) return true;
  const std::lock_guard lock(mutex_);
  int error = ENODEV;
  // The newest is the likeliest not to have ended.
  for (auto payer = payers_.rbegin(); payer != payers_.rend(); ++payer) {
    mlaccel_bo_create_for wanted{};
    wanted.queue = (*payer)->info().queue;
    wanted.flags = MLACCEL_BO_NOWAIT;
    wanted.size = bytes;
    error = kernel_call(device_.fd(), MLACCEL_BO_CREATE_FOR, &wanted);
    if (error == 0) {
      pieces_[++last_] = {wanted.bo, bytes, true};
      by_size_.emplace(bytes, last_);
      bytes_ += bytes;
      return true;
    }
    if (error == EDQUOT || error == ENOSPC) break;
  }
  refusal_ = refusal_of(error, bytes);
  return false;
}

void KernelLedger::destroy(Pieces::iterator piece) {
  mlaccel_bo_name bo{};
  bo.bo = piece->second.bo;
  kernel_call(device_.fd(), MLACCEL_BO_DESTROY, &bo);
  if (piece->second.resident) bytes_ -= piece->second.bytes;
  pieces_.erase(piece);
}

void KernelLedger::give_back(std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex_);
  const auto found = by_size_.find(bytes);
  if (found == by_size_.end()) return;  // taken before there was a ledger
  const auto piece = pieces_.find(found->second);
  by_size_.erase(found);
  destroy(piece);
}

std::string KernelLedger::refusal() const {
  const std::lock_guard lock(mutex_);
  return refusal_;
}

std::uint64_t KernelLedger::evict(std::uint64_t bytes) {
  std::uint64_t given_up = 0;
  std::uint64_t age = 0;
  while (given_up < bytes) {
    const std::lock_guard lock(mutex_);  // for one piece at a time: the ring thread goes on between two
    auto piece = pieces_.upper_bound(age);
    while (piece != pieces_.end() && !piece->second.resident) ++piece;
    if (piece == pieces_.end()) break;
    age = piece->first;
    mlaccel_bo_name bo{};
    bo.bo = piece->second.bo;
    if (kernel_call(device_.fd(), MLACCEL_BO_EVICT, &bo) != 0) continue;
    piece->second.resident = false;
    bytes_ -= piece->second.bytes;
    given_up += piece->second.bytes;
  }
  return given_up;
}

std::uint64_t KernelLedger::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace ml::daemon
