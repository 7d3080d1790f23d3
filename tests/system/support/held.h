// Something that a process of another user has made and holds for as long as a test needs it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "tests/system/support/process.h"

namespace ml::test {

class Held {
 public:
  // Runs `body` as `user`. It makes what is to be held, calls `hold(text)` to tell about it, and has come to its end
  // only when that returns: when this object goes, with the process killed.
  Held(const User& user, const std::function<void(const std::function<void(const std::string& text)>& hold)>& body)
      : process_(user, [this, &body]() -> std::string {
          try {
            body([this](const std::string& text) {
              write_all("+" + text);
              for (;;) pause();
            });
            write_all("-it held nothing");
          } catch (const std::exception& error) {
            write_all(std::string("-") + error.what());
          }
          return {};
        }) {
    pipe_.out.reset();
    std::string text;
    char block[4096];
    while (text.find('\n') == std::string::npos && readable(pipe_.in.get())) {
      const ssize_t got = read(pipe_.in.get(), block, sizeof block);
      if (got <= 0) break;
      text.append(block, static_cast<std::size_t>(got));
    }
    if (text.empty() || text[0] != '+') throw std::runtime_error("nothing to hold: " + text);
    text_ = text.substr(1, text.find('\n') - 1);
  }

  const std::string& text() const { return text_; }
  Process& process() { return process_.process(); }

 private:
  struct Pipe {
    Pipe() {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
      in = transport::UniqueFd(ends[0]);
      out = transport::UniqueFd(ends[1]);
    }
    transport::UniqueFd in, out;
  };
  void write_all(const std::string& line) const {
    const std::string text = line + "\n";
    if (write(pipe_.out.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::_Exit(1);
  }

  Pipe pipe_;
  Forked process_;
  std::string text_;
};

}  // namespace ml::test
