// A WorkerProcess without a process: it notes what it is asked and answers by itself, or when a test says so.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/loop/loop.h"
#include "daemon/workers/worker_process.h"

namespace ml::daemon::test {

class FakeWorker final : public WorkerProcess {
 public:
  struct Request {
    worker_protocol::Kind kind;
    std::uint64_t model = 0;
    std::uint64_t session = 0;
    std::string file;  // what the fd gave
    Answer answer;
  };

  FakeWorker(Loop& loop, std::string device) : loop_(loop) {
    spec_.name = "serving " + device;
    spec_.devices = {std::move(device)};
  }

  const WorkerSpec& spec() const override { return spec_; }
  pid_t pid() const override { return 1; }
  std::uint32_t generation() const override { return 1; }
  bool ready() const override { return true; }
  const std::string& fingerprint() const override { return spec_.name; }
  std::vector<std::uint64_t> running_sessions() const override { return {}; }
  void kill() override {}

  void request(std::span<std::byte> message, std::string_view, std::span<const int> fds, Answer answer) override {
    using worker_protocol::Kind;
    worker_protocol::Header header;
    std::memcpy(&header, message.data(), sizeof header);
    Request made{static_cast<Kind>(header.kind), 0, 0, {}, std::move(answer)};
    if (made.kind == Kind::load_model) {
      worker_protocol::LoadModel load;
      std::memcpy(&load, message.data(), sizeof load);
      made.model = load.model;
      made.file.resize(load.bytes);
      if (pread(fds[0], made.file.data(), load.bytes, 0) != static_cast<ssize_t>(load.bytes)) made.file.clear();
    } else if (made.kind == Kind::open_model) {
      worker_protocol::OpenModel open;
      std::memcpy(&open, message.data(), sizeof open);
      made.model = open.model;
      made.session = open.session;
    } else {
      worker_protocol::UnloadModel unload;
      std::memcpy(&unload, message.data(), sizeof unload);
      made.model = unload.model;
    }
    log.push_back(std::string(made.kind == Kind::load_model   ? "load"
                              : made.kind == Kind::open_model ? "open"
                                                              : "unload"));
    last_file = made.file.empty() ? last_file : made.file;
    pending.push_back(std::move(made));
    if (answers_by_itself) loop_.post([this] { answer_next(); });
    if (on_request) on_request();
  }

  void answer_next() {
    if (pending.empty()) return;
    Request request = std::move(pending.front());
    pending.pop_front();
    if (refusal && request.kind == worker_protocol::Kind::load_model) return request.answer(nullptr, refusal);
    if (request.kind == worker_protocol::Kind::unload_model) has -= std::min<std::size_t>(has, 1);
    if (request.kind == worker_protocol::Kind::load_model) {
      const Error full(Code::no_space, "the memory of the device is used up");
      if (has == room) return request.answer(nullptr, &full);
      ++has;
    }
    transport::Packet packet;
    if (request.kind == worker_protocol::Kind::open_model) {
      worker_protocol::ModelOpened opened{};
      opened.header.kind = static_cast<std::uint32_t>(worker_protocol::Kind::model_opened);
      opened.header.bytes = sizeof opened;
      opened.program = {7, static_cast<std::uint32_t>(request.model)};
      packet.bytes.resize(sizeof opened);
      std::memcpy(packet.bytes.data(), &opened, sizeof opened);
    }
    request.answer(&packet, nullptr);
  }

  // As WorkerProcess does before `died` is called.
  void lose_everything() {
    const Error error(Code::device_lost, "the worker ended", spec_.name);
    for (Request& request : std::exchange(pending, {})) request.answer(nullptr, &error);
  }

  void set_memory(std::uint64_t bytes) { spec_.memory_bytes = bytes; }

  bool answers_by_itself = true;
  const Error* refusal = nullptr;  // of loads
  std::size_t room = 1000;         // models that fit
  std::size_t has = 0;
  std::vector<std::string> log;
  std::string last_file;  // of the last load
  std::deque<Request> pending;
  std::function<void()> on_request;

 private:
  Loop& loop_;
  WorkerSpec spec_;
};

}  // namespace ml::daemon::test
