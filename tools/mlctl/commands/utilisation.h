// How busy devices and clients were between two readings of mld's counters.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/admin/admin.pb.h"
#include "tools/mlctl/output/local_things.h"

namespace ml::ctl {

namespace admin = mlaccel::admin::v1;

struct Reading {
  std::uint64_t at = 0;  // CLOCK_MONOTONIC ns
  std::vector<admin::Device> devices;
  std::vector<admin::Client> clients;  // everybody's if the caller may see them, else the caller's
};

// Each device, then its clients, the busiest first. A counter that went back (a new worker) counts from 0.
std::vector<Utilisation> utilisation_between(const Reading& before, const Reading& after);

}  // namespace ml::ctl
