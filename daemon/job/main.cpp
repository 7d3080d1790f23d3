// mld-job: the process of one training job, with its owner's rights.
//
//   mld-job --managed NAME     started by mld: the job file on stdin, the session's socket as fd 3, the control socket
//                              as fd 4, in the job's folder
//   mld-job --embedded FILE    runs a job file here, without mld: for a first try, and to look at a job that fails
//
// Exit codes (daemon/jobs/job_protocol.h): 0 done, 1 failed by the job's own fault, 2 wrong use, 69 the device or mld
// was lost, 75 stopped after writing a checkpoint.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>

#include "daemon/job/run.h"
#include "ml/session.h"

namespace {

namespace protocol = ml::daemon::job_protocol;
using ml::job::Control;

int finish(Control& control, ml::Code code, const std::string& why) {
  std::fflush(stdout);
  if (code == ml::Code::device_lost) {
    std::fprintf(stderr, "the device was lost: %s\n", why.c_str());
    return protocol::kExitDeviceLost;
  }
  std::fprintf(stderr, "failed: %s\n", why.c_str());
  control.failed(why);
  return protocol::kExitFailed;
}

template <class F>
int guarded(Control& control, F run) {
  try {
    return run() == ml::job::Outcome::done ? protocol::kExitDone : protocol::kExitGaveWay;
  } catch (const ml::Error& error) {
    return finish(control, error.code(), ml::job::one_line(error));
  } catch (const std::bad_alloc&) {
    return finish(control, ml::Code::out_of_memory, "this process has no memory left");
  } catch (const std::exception& error) {
    return finish(control, ml::Code::internal, error.what());
  }
}

int run_managed(const std::string& name) {
  Control control(protocol::kControlFd);
  return guarded(control, [&] {
    const std::string text(std::istreambuf_iterator<char>(std::cin), {});
    const ml::job::JobFile job = ml::job::parse_job_file(text, name);
    ml::connect({.transport = "fd:" + std::to_string(protocol::kSessionFd)});
    return ml::job::run_job(job, control, true);
  });
}

int run_embedded(const std::string& path) {
  Control control(-1);
  return guarded(control, [&] {
    std::ifstream file(path);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    if (!file.good() && !file.eof()) throw ml::Error(ml::Code::not_found, "'" + path + "' cannot be read");
    const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
    const ml::job::JobFile job = ml::job::parse_job_file(text, path);
    std::filesystem::current_path(folder);
    ml::connect({.transport = "embedded", .device = job.backend});
    return ml::job::run_job(job, control, false);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc == 3 ? argv[1] : "";
  if (mode == "--managed") return run_managed(argv[2]);
  if (mode == "--embedded") return run_embedded(argv[2]);
  std::fprintf(
      stderr,
      "usage: mld-job --embedded FILE\n"
      "Runs a job file (docs/jobs.md) in this process. Jobs of mld are submitted with: mlctl job submit FILE\n");
  return 2;
}
