#include "tools/mlbench/torch_peer.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "ml/error.h"
#include "tools/mlbench/installed.h"

extern char** environ;

namespace ml::bench {

TorchPeer::TorchPeer(const std::string& work, int threads) {
  int input[2], output[2];
  if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0) throw Error(Code::io, "no pipe for a peer");
  to_ = fdopen(input[1], "w");
  from_ = fdopen(output[0], "r");
  std::string script = installed_file({"../share/mlaccel/torch_peer.py"}), kind = work, count = std::to_string(threads);
  std::string python = "/usr/bin/python3";  // Debian's, which has Debian's python3-torch
  char* const arguments[] = {python.data(), script.data(), kind.data(), count.data(), nullptr};
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, output[1], STDOUT_FILENO);
  const bool started = posix_spawn(&process_, python.c_str(), &files, nullptr, arguments, environ) == 0;
  posix_spawn_file_actions_destroy(&files);
  close(input[0]);
  close(output[1]);
  const std::string line = started ? read_line() : "";
  if (line.starts_with("ready "))
    name_ = "PyTorch " + line.substr(6);
  else
    std::fprintf(stderr, "mlbench: no PyTorch to compare with (Debian: python3-torch)\n");
}

TorchPeer::~TorchPeer() {
  std::fclose(to_);
  std::fclose(from_);
  if (process_ > 0) waitpid(process_, nullptr, 0);
}

std::string TorchPeer::read_line() {
  char line[256];
  if (std::fgets(line, sizeof line, from_) == nullptr) return "";
  std::string text = line;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

double TorchPeer::run(int repetitions) {
  std::fprintf(to_, "%d\n", repetitions);
  std::fflush(to_);
  const std::string answer = read_line();
  if (answer.empty()) throw Error(Code::io, "the peer is gone");
  return std::strtod(answer.c_str(), nullptr);
}

}  // namespace ml::bench
