// mld: shares the devices of one machine between programs, jobs and users.
//
// Exit status: 0 after a signal to stop, 1 when it can't run, 2 for a wrong command line or configuration.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "daemon/service/log.h"
#include "daemon/service/service.h"
#include "daemon/service/supervisor.h"
#include "ml/error.h"

namespace {

constexpr int kFailed = 1, kWrong = 2;

int report(const ml::Error& error) {
  const std::string where = error.context().empty() ? "" : error.context() + ": ";
  std::fprintf(stderr, "mld: error: %s%s\n", where.c_str(), error.message().c_str());
  if (!error.hint().empty()) std::fprintf(stderr, "mld: hint: %s\n", error.hint().c_str());
  return error.code() == ml::Code::invalid_argument ? kWrong : kFailed;
}

}  // namespace

int main(int count, char** arguments) {
  ml::daemon::ConfigOptions options;
  bool check_only = false;
  CLI::App app(
      "The daemon of mlaccel. It stays in the foreground and logs to stderr; SIGTERM stops it, SIGHUP reloads "
      "its configuration.",
      "mld");
  app.add_flag("--user", options.user,
               "one user's daemon: no privileges, private sockets, state in the home directory");
  app.add_option("--config", options.path, "configuration file")->type_name("FILE");
  app.add_option("--socket", options.socket, "where programs connect; mlctl's socket lies beside it")
      ->type_name("PATH");
  app.add_option("--state", options.state, "state directory")->type_name("DIR");
  app.add_flag("--check-config", check_only, "only read the configuration, and report every mistake in it");
  app.set_version_flag("--version", ML_VERSION);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kWrong;
  }
  umask(0077);
  try {
    if (check_only) {
      const ml::daemon::Config config = ml::daemon::load_config(options);
      std::printf("the configuration is fine: %zu device%s, clients connect at %s\n", config.devices.size(),
                  config.devices.size() == 1 ? "" : "s", config.socket.c_str());
      return 0;
    }
    ml::daemon::start_log();
    ml::daemon::set_process_limits();
    ml::daemon::Service service(options, ML_VERSION);
    service.run();
    return 0;
  } catch (const ml::Error& error) {
    return report(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mld: error: %s\n", error.what());
    return kFailed;
  }
}
