#include "tools/mlctl/table/command.h"

#include "tools/mlctl/commands/commands.h"

namespace ml::ctl {
namespace {

using enum Exit;

// What every command that asks mld may end with.
constexpr Exit kAsking[] = {not_running, denied, timeout};
constexpr Exit kNaming[] = {not_running, unknown_object, denied, timeout};
constexpr Exit kChanging[] = {not_running, unknown_object, denied, conflict, timeout};
constexpr Exit kSeveral[] = {not_running, unknown_object, denied, conflict, timeout, partial};

constexpr Option kGlobal[] = {
    {"--format", "FORM", "How to print: table, wide (all columns), json, yaml, name (names only, one a line).",
     Takes::format, 'o', false, "table"},
    {"--watch", "SECONDS", "Print again and again, every SECONDS, until interrupted.", Takes::number, 'w', false, "",
     "2"},
    {"--socket", "PATH", "mld's admin socket. Otherwise $MLACCEL_ADMIN, the user's own mld, the machine's.",
     Takes::file, 's'},
    {"--timeout", "TIME", "How long mld may take to answer.", Takes::duration, 't', false, "30s"},
    {"--verbose", "", "Say on stderr what is done.", Takes::text, 'v'},
    {"--no-color", "", "No colour, on a terminal either; so does the environment variable NO_COLOR."},
    {"--help", "", "Print what the command does.", Takes::text, 'h'},
    {"--version", "", "Print the version."},
};

constexpr Group kGroups[] = {
    {"", "mld and this machine", ""},
    {"device", "devices that mld shares out",
     "Each device is computed on by one worker process for interactive and serving work, and by one more while a "
     "training job has it."},
    {"model", "models that mld serves",
     "Models are named NAME, NAME:VERSION or NAME@ALIAS, and OWNER/NAME for those that others share. Versions never "
     "change; aliases move. Without version or alias, @latest is meant, which is the newest version unless `model "
     "promote` set it."},
    {"job", "training jobs",
     "A job trains a network as a TOML file says. It runs as the user who submitted it, when the scheduler grants it "
     "devices, and goes on from its last checkpoint after anything but its own failure."},
    {"client", "programs that use mld", "A client is a session of a program on a device."},
};

// ---- mld and this machine
constexpr Example kStatusExamples[] = {{"mlctl status", "is it there, and what does it do"},
                                       {"mlctl status -o json | jq .jobs_running", "for scripts"}};
constexpr Option kLimitsOptions[] = {
    {"--user", "USER", "Another user's, by name or number; group mlaccel-admin only.", Takes::user}};
constexpr Example kLimitsExamples[] = {{"mlctl limits", "what you hold and may hold"}};
constexpr Option kBenchOptions[] = {{"--quick", "", "Fewer rounds: a rough figure within seconds."}};
constexpr Example kBenchExamples[] = {{"mlctl bench --quick", "is the transport as fast as it should be here"}};
constexpr Example kDoctorExamples[] = {{"mlctl doctor", "why doesn't it work"},
                                       {"mlctl doctor -o json", "for a bug report"}};
constexpr Argument kCodeArgument[] = {
    {"CODE", "The code of an error, such as MLE-0004; none: list all.", Takes::code, false}};
constexpr Example kExplainExamples[] = {{"mlctl explain MLE-0004", "what an error means and what to do about it"},
                                        {"mlctl explain", "every code there is"}};
constexpr Exit kExplainExits[] = {unknown_object};
constexpr Argument kShellArgument[] = {{"SHELL", "bash, zsh or fish.", Takes::shell}};
constexpr Example kCompletionExamples[] = {
    {"source <(mlctl completion bash)", "for this shell"},
    {"mlctl completion fish > ~/.config/fish/completions/mlctl.fish", "for good"}};

// ---- devices
constexpr Argument kDeviceArgument[] = {{"DEVICE", "Its name.", Takes::device}};
constexpr Argument kDeviceArguments[] = {{"DEVICE", "Its name.", Takes::device, true, true}};
constexpr Example kDeviceListExamples[] = {{"mlctl device ls -o wide", "with workers and loaded models"}};
constexpr Example kDeviceShowExamples[] = {{"mlctl device show cpu0", "everything about one device"}};
constexpr Option kTopOptions[] = {
    {"--interval", "TIME", "Time between two readings, at least 0.1s.", Takes::duration, 0, false, "1s"}};
constexpr Example kTopExamples[] = {{"mlctl device top", "who computes what just now"},
                                    {"mlctl device top -o json --interval 5s", "one sample, over five seconds"}};
constexpr Option kDrainOptions[] = {{"--undo", "", "Let it take work again."}};
constexpr Example kDrainExamples[] = {{"mlctl device drain cpu1",
                                       "before maintenance: its job writes a checkpoint and "
                                       "goes elsewhere, new clients too"},
                                      {"mlctl device drain --undo cpu1", "back to work"}};

// ---- models
constexpr Argument kFileArgument[] = {{"FILE", "An ONNX file or an .mlmodel.", Takes::file}};
constexpr Argument kModelArgument[] = {{"MODEL", "NAME, NAME:VERSION, NAME@ALIAS, OWNER/NAME, ...", Takes::model}};
constexpr Argument kModelArguments[] = {
    {"MODEL", "NAME, NAME:VERSION, NAME@ALIAS, OWNER/NAME, ...", Takes::model, true, true}};
constexpr Argument kModelFilter[] = {{"MODEL", "Only this model's versions.", Takes::model, false}};
constexpr Option kImportOptions[] = {
    {"--name", "NAME", "What it is to be called. Otherwise the file's name without ending."},
    {"--shared", "", "Others may use it, as OWNER/NAME."},
    {"--functions", "FILE",
     "An ONNX file whose functions say what the model's nodes of other domains than ONNX's mean.", Takes::file, 0,
     true},
};
constexpr Example kImportExamples[] = {
    {"mlctl model import resnet18.onnx --name resnet", "registers the next version of resnet"},
    {"mlctl model import detector.onnx --functions operators.onnx", "with functions that the file itself lacks"}};
constexpr Exit kImportExits[] = {not_running, unknown_object, denied, timeout};
constexpr Example kModelListExamples[] = {{"mlctl model ls", "all that you may see"},
                                          {"mlctl model ls fashion", "the versions of one"}};
constexpr Example kModelShowExamples[] = {{"mlctl model show fashion@latest", "one version"}};
constexpr Option kWhereOptions[] = {{"--device", "DEVICE", "Only there; otherwise on every device.", Takes::device}};
constexpr Example kLoadExamples[] = {
    {"mlctl model load fashion --device cpu0", "the first request will not have to wait"}};
constexpr Example kUnloadExamples[] = {{"mlctl model unload fashion:3", "gives its memory back; the version stays"}};
constexpr Option kInferOptions[] = {
    {"--input", "NAME=FILE[RANGE]",
     "A tensor for an input: a .npy file, or images of an IDX file (u8, scaled to 0..1). [A:B] takes the elements A to "
     "B-1 of the first axis. NAME= may be left out if there is one input.",
     Takes::file, 'i', true},
    {"--mean", "NUMBER", "Of images: value = (pixel / 255 - mean) / deviation.", Takes::number, 0, false, "0"},
    {"--deviation", "NUMBER", "Of images.", Takes::number, 0, false, "1"},
    {"--output", "DIRECTORY", "Write each output to DIRECTORY/NAME.npy.", Takes::directory},
    {"--top", "K", "Show the K highest elements of each sample of an output.", Takes::count},
    {"--labels", "FILE", "Names of the elements, one a line, for --top.", Takes::file},
};
constexpr Example kInferExamples[] = {
    {"mlctl model infer fashion --input 't10k-images-idx3-ubyte[0:8]' --mean 0.286 --deviation 0.353 --top 1",
     "classifies eight images"},
    {"mlctl model infer resnet --input image=cat.npy --output out", "saves what it answers"}};
constexpr Option kAliasOptions[] = {{"--alias", "ALIAS", "Which alias.", Takes::text, 0, false, "latest"}};
constexpr Example kPromoteExamples[] = {{"mlctl model promote fashion:4", "from now on, fashion means version 4"}};
constexpr Example kRollbackExamples[] = {{"mlctl model rollback fashion", "fashion means again what it did before"}};
constexpr Argument kModelName[] = {{"MODEL", "Its name.", Takes::model}};

// ---- jobs
constexpr Argument kJobFile[] = {{"FILE", "What to train, as a TOML file.", Takes::file}};
constexpr Argument kJobArgument[] = {{"JOB", "Its number.", Takes::job}};
constexpr Argument kJobArguments[] = {{"JOB", "Its number.", Takes::job, true, true}};
constexpr Option kSubmitOptions[] = {
    {"--follow", "", "Print its log until it ends; exit 0 if it is done, 1 if not.", Takes::text, 'f'},
    {"--name", "NAME", "Instead of the file's name."},
    {"--priority", "NUMBER", "-100 to 100, instead of the file's; above 0 for group mlaccel-admin.", Takes::integer},
    {"--devices", "NUMBER", "How many, instead of the file's.", Takes::count},
    {"--deadline", "TIME", "It fails if it has not started by then, instead of the file's.", Takes::duration},
};
constexpr Example kSubmitExamples[] = {{"mlctl job submit fashion.toml --follow", "trains, and shows how it goes"},
                                       {"id=$(mlctl job submit fashion.toml -o name)", "for scripts"}};
constexpr Exit kSubmitExits[] = {not_running, unknown_object, denied, timeout};
constexpr Option kJobListOptions[] = {
    {"--all", "", "Ended ones too.", Takes::text, 'a'},
    {"--all-users", "", "Everybody's; group mlaccel-admin only.", Takes::text, 'A'},
};
constexpr Example kJobListExamples[] = {{"mlctl job ls --all --watch", "yours, also ended ones, every two seconds"}};
constexpr Example kJobShowExamples[] = {{"mlctl job show 12", "everything about it"}};
constexpr Option kLogOptions[] = {
    {"--follow", "", "Go on until it ends; exit 0 if it is done, 1 if not.", Takes::text, 'f'}};
constexpr Example kLogExamples[] = {{"mlctl job logs 12 --follow", "as it is written"}};
constexpr Example kCancelExamples[] = {{"mlctl job cancel 12 13", "end them; checkpoints stay"}};
constexpr Example kPauseExamples[] = {{"mlctl job pause 12", "writes a checkpoint and gives its devices back"}};
constexpr Example kResumeExamples[] = {{"mlctl job resume 12", "queues it again"}};
constexpr Example kWhyExamples[] = {{"mlctl job why 12", "one sentence with the numbers"}};

// ---- clients
constexpr Option kClientListOptions[] = {
    {"--all-users", "", "Everybody's; group mlaccel-admin only.", Takes::text, 'A'}};
constexpr Example kClientListExamples[] = {{"mlctl client ls -A --watch=1", "everybody's, every second"}};
constexpr Argument kSessionArguments[] = {{"SESSION", "Its number, see `mlctl client ls`.", Takes::client, true, true}};
constexpr Example kKickExamples[] = {{"mlctl client kick 7", "ends its session, as if it had gone itself"}};

// ---- for completion and the build
constexpr Argument kCompleteArguments[] = {{"KIND", "device, model, job, client, user or code."}};
constexpr Argument kGenerateArguments[] = {{"WHAT", "man, completions, docs, schemas or table."},
                                           {"DIRECTORY", "Where to.", Takes::directory}};
constexpr Exit kNone[] = {ok};
constexpr std::span<const Exit> kNoExits(kNone, 0);

constexpr Command kCommands[] = {
    {"status",
     "what mld does",
     "Says whether mld runs, what it has and what is wrong with it. Problems go to stderr too.",
     {},
     {},
     kStatusExamples,
     kAsking,
     &kStatusKind,
     true,
     true,
     run_status},
    {"limits",
     "what you may hold, and hold",
     "Lists the limits of a user (sessions, queues, memory, jobs, models) beside what is in use.",
     {},
     kLimitsOptions,
     kLimitsExamples,
     kNaming,
     &kLimitKind,
     false,
     true,
     run_limits},
    {"bench",
     "measures the transport on this machine",
     "Runs mlbench against the running mld: round trips through its rings beside a unix socket's, and a model's run "
     "through mld beside the same in this process. Ratios are of one run.",
     {},
     kBenchOptions,
     kBenchExamples,
     kAsking,
     &kFigureKind,
     false,
     false,
     run_bench},
    {"doctor",
     "checks this installation",
     "Looks at libraries, sockets, permissions, limits and what the kernel offers, and says what to do about what is "
     "missing. Needs no mld. Exit 1 if anything fails; warnings are no failure.",
     {},
     {},
     kDoctorExamples,
     kNoExits,
     &kCheckKind,
     false,
     false,
     run_doctor},
    {"explain",
     "says what an error code means",
     "Prints the page of an error code: what it means, why it happens, what to do. Needs no mld.",
     kCodeArgument,
     {},
     kExplainExamples,
     kExplainExits,
     &kCodeKind,
     false,
     false,
     run_explain},
    {"completion",
     "prints a shell's completion script",
     "Completes commands, options and, by asking mld for at most 0.2 s, names of devices, models, jobs and clients.",
     kShellArgument,
     {},
     kCompletionExamples,
     kNoExits,
     nullptr,
     false,
     false,
     run_completion},

    {"device ls",
     "lists devices",
     "Lists the devices that mld shares out.",
     {},
     {},
     kDeviceListExamples,
     kAsking,
     &kDeviceKind,
     false,
     true,
     run_device_list},
    {"device show",
     "shows a device",
     "Shows everything about a device: worker, memory, preemption, fingerprint.",
     kDeviceArgument,
     {},
     kDeviceShowExamples,
     kNaming,
     &kDeviceKind,
     true,
     true,
     run_device_show},
    {"device top",
     "how busy devices and clients are",
     "Shows, refreshed until interrupted, which share of the time each device computed, for which clients. Needs a "
     "terminal; with another form than -o table it prints one sample instead.",
     {},
     kTopOptions,
     kTopExamples,
     kAsking,
     &kUtilisationKind,
     false,
     false,
     run_device_top},
    {"device drain", "takes devices out of service",
     "Nothing new starts on a drained device: its job writes a checkpoint and is queued again, new clients go "
     "elsewhere, "
     "clients there may finish. It stays so across restarts. For group mlaccel-admin.",
     kDeviceArguments, kDrainOptions, kDrainExamples, kSeveral, &kDeviceKind, false, false, run_device_drain},

    {"model import", "registers a model file",
     "Reads an ONNX file or an .mlmodel here, hands the graph and its weights to mld, and registers them as the next "
     "version. A worker has loaded it once when this is done, so what is registered is known to run.",
     kFileArgument, kImportOptions, kImportExamples, kImportExits, &kModelKind, true, false, run_model_import},
    {"model ls",
     "lists models",
     "Lists the versions of the models that you may see: yours, and what others share.",
     kModelFilter,
     {},
     kModelListExamples,
     kNaming,
     &kModelKind,
     false,
     true,
     run_model_list},
    {"model show",
     "shows a version of a model",
     "Shows one version: aliases, size, where it is loaded.",
     kModelArgument,
     {},
     kModelShowExamples,
     kNaming,
     &kModelKind,
     true,
     true,
     run_model_show},
    {"model load", "loads models into devices' memory", "Loads them before the first request does.", kModelArguments,
     kWhereOptions, kLoadExamples, kSeveral, &kModelKind, false, false, run_model_load},
    {"model unload", "takes models out of devices' memory",
     "Gives a model's memory back once nobody uses it; the next request loads it again. For its owner and group "
     "mlaccel-admin.",
     kModelArguments, kWhereOptions, kUnloadExamples, kSeveral, &kModelKind, false, false, run_model_unload},
    {"model infer", "runs a model",
     "Runs a model in a session of its own, through shared-memory rings; -v says which transport it took. Prints each "
     "output's type, shape and range, or with --top its highest elements, or writes it to files.",
     kModelArgument, kInferOptions, kInferExamples, kNaming, &kTensorKind, false, false, run_model_infer},
    {"model promote", "moves an alias to a version",
     "From now on the alias means this version; what it meant before is remembered for `model rollback`. For the owner "
     "and group mlaccel-admin.",
     kModelArgument, kAliasOptions, kPromoteExamples, kChanging, &kModelKind, true, false, run_model_promote},
    {"model rollback", "moves an alias back", "The alias means again what it did before the last `model promote`.",
     kModelName, kAliasOptions, kRollbackExamples, kChanging, &kModelKind, true, false, run_model_rollback},

    {"job submit", "queues a training job",
     "Checks the file, its data and its network here, works out how much device memory a step needs, and queues the "
     "job. docs/jobs.md describes the file.",
     kJobFile, kSubmitOptions, kSubmitExamples, kSubmitExits, &kJobKind, true, false, run_job_submit},
    {"job ls",
     "lists jobs",
     "Lists your jobs that have not ended.",
     {},
     kJobListOptions,
     kJobListExamples,
     kAsking,
     &kJobKind,
     false,
     true,
     run_job_list},
    {"job show",
     "shows a job",
     "Shows everything about a job.",
     kJobArgument,
     {},
     kJobShowExamples,
     kNaming,
     &kJobKind,
     true,
     true,
     run_job_show},
    {"job logs", "prints a job's log", "Prints what the job has written; on a terminal, control characters as \\x1b.",
     kJobArgument, kLogOptions, kLogExamples, kNaming, nullptr, false, false, run_job_logs},
    {"job cancel",
     "ends jobs",
     "Ends jobs for good; their checkpoints stay. For the owner and group mlaccel-admin.",
     kJobArguments,
     {},
     kCancelExamples,
     kSeveral,
     &kJobKind,
     false,
     false,
     run_job_cancel},
    {"job pause",
     "holds jobs back",
     "A running job writes a checkpoint and gives its devices back; a queued one is not started. For the owner and "
     "group mlaccel-admin.",
     kJobArguments,
     {},
     kPauseExamples,
     kSeveral,
     &kJobKind,
     false,
     false,
     run_job_pause},
    {"job resume",
     "queues paused jobs again",
     "They go on from their last checkpoint.",
     kJobArguments,
     {},
     kResumeExamples,
     kSeveral,
     &kJobKind,
     false,
     false,
     run_job_resume},
    {"job why",
     "says why a job waits",
     "Says in one sentence, with the numbers, why a job waits, or what became of it.",
     kJobArgument,
     {},
     kWhyExamples,
     kNaming,
     &kWhyKind,
     true,
     true,
     run_job_why},

    {"client ls",
     "lists clients",
     "Lists your programs' sessions.",
     {},
     kClientListOptions,
     kClientListExamples,
     kAsking,
     &kClientKind,
     false,
     true,
     run_client_list},
    {"client kick",
     "ends clients' sessions",
     "Ends sessions as if the clients had gone. For their user and group mlaccel-admin.",
     kSessionArguments,
     {},
     kKickExamples,
     kSeveral,
     nullptr,
     false,
     false,
     run_client_kick},

    {"__complete",
     "names for completion scripts",
     "",
     kCompleteArguments,
     {},
     {},
     kNoExits,
     nullptr,
     false,
     false,
     run_complete,
     Listed::hidden},
    {"__generate",
     "makes what is generated from the command table",
     "",
     kGenerateArguments,
     {},
     {},
     kNoExits,
     nullptr,
     false,
     false,
     run_generate,
     Listed::hidden},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }
std::span<const Group> groups() { return kGroups; }
std::span<const Option> global_options() { return kGlobal; }

std::string_view exit_meaning(Exit exit) {
  switch (exit) {
    case ok: return "done";
    case failure: return "failed";
    case usage: return "the command line is wrong";
    case not_running: return "mld is not running";
    case unknown_object: return "no such device, model, job, client, file or code";
    case denied: return "not permitted";
    case conflict: return "not possible in the present state";
    case timeout: return "mld did not answer in time";
    case partial: return "done for some of the things named, not for all";
  }
  return "";
}

std::string_view group_of(const Command& command) {
  const auto space = command.path.find(' ');
  return space == std::string_view::npos ? std::string_view{} : command.path.substr(0, space);
}

std::string_view verb_of(const Command& command) {
  const auto space = command.path.find(' ');
  return space == std::string_view::npos ? command.path : command.path.substr(space + 1);
}

const Command* find_command(std::string_view path) {
  for (const Command& command : commands())
    if (command.path == path) return &command;
  return nullptr;
}

}  // namespace ml::ctl
