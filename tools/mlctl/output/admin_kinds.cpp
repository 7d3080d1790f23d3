// The columns of what mld answers.
#include <limits>

#include "daemon/admin/admin.pb.h"
#include "tools/mlctl/output/human.h"
#include "tools/mlctl/output/kind.h"

namespace ml::ctl {
namespace {

namespace admin = mlaccel::admin::v1;
using admin::Client;
using admin::Device;
using admin::Job;
using admin::Limit;
using admin::ModelVersion;
using admin::StatusReply;
using enum Shown;

template <class Thing>
const Thing& as(const void* thing) {
  return *static_cast<const Thing*>(thing);
}

// What only the worker knows: null when it did not answer mld in time.
template <auto member>
Value of_worker(const void* thing) {
  using Thing = typename MemberOf<decltype(member)>::Thing;
  return static_cast<const Thing*>(thing)->no_statistics() ? Value() : of<member>(thing);
}

// What only the kernel module knows: null when the device has no node there.
template <auto member>
Value of_node(const void* device) {
  return static_cast<const Device*>(device)->kernel_node().empty() ? Value() : of<member>(device);
}

constexpr Column kStatusColumns[] = {
    {"version", "VERSION", Unit::text, "Version of mld.", of<&StatusReply::version>},
    {"pid", "PID", Unit::integer, "Process id of mld.", of<&StatusReply::pid>},
    {"user_mode", "USER MODE", Unit::flag, "True for mld --user: one user's daemon, without privileges.",
     of<&StatusReply::user_mode>, wide},
    {"draining", "DRAINING", Unit::flag, "True when it is about to end: nothing new is taken.",
     of<&StatusReply::draining>},
    {"devices", "DEVICES", Unit::count, "How many devices it has.", of<&StatusReply::devices>},
    {"sessions", "SESSIONS", Unit::count, "How many clients are connected.", of<&StatusReply::sessions>},
    {"jobs_running", "RUNNING", Unit::count, "How many training jobs run.", of<&StatusReply::jobs_running>},
    {"jobs_queued", "QUEUED", Unit::count, "How many training jobs wait.", of<&StatusReply::jobs_queued>},
    {"models", "MODELS", Unit::count, "How many model versions are registered.", of<&StatusReply::models>},
    {"started_at_ns", "STARTED", Unit::time, "When it was started, in ns since 1970.", of<&StatusReply::started_at_ns>},
    {"event_loop", "LOOP", Unit::text, "What its event loop is made of: io_uring or epoll.",
     of<&StatusReply::event_loop>, wide},
    {"socket", "SOCKET", Unit::text, "The socket that applications connect to.", of<&StatusReply::socket>, wide},
    {"state_directory", "STATE", Unit::text, "Where models, jobs and its database are.",
     of<&StatusReply::state_directory>, wide},
    {"problems", "PROBLEMS", Unit::words, "What is wrong: damaged models set aside, devices without a worker.",
     [](const void* s) { return list_of(as<StatusReply>(s).problems()); }, details},
};

constexpr Column kDeviceColumns[] = {
    {"name", "NAME", Unit::text, "Its name.", of<&Device::name>},
    {"backend", "BACKEND", Unit::text, "What computes: cpu or reference.", of<&Device::backend>},
    {"state", "STATE", Unit::text, "ready, starting, draining, drained or failed.", of<&Device::state>},
    {"cpus", "CPUS", Unit::counts, "The CPUs that it computes on; empty: all that mld may use.",
     [](const void* d) { return list_of(as<Device>(d).cpus()); }, data},
    {"cpus_text", "CPUS", Unit::text, "",
     [](const void* d) {
       const Value cpus = list_of(as<Device>(d).cpus());
       return Value(cpus.as<List>()->empty() ? "all" : human_cell(cpus, Unit::counts, 0));
     },
     people},
    {"memory_used_bytes", "USED", Unit::bytes, "Memory that clients and jobs hold.",
     of_worker<&Device::memory_used_bytes>, table, true},
    {"memory_bytes", "MEMORY", Unit::bytes, "Memory in all.", of<&Device::memory_bytes>},
    {"sessions", "SESSIONS", Unit::count, "Clients on it.", of<&Device::sessions>},
    {"job", "JOB", Unit::count, "The training job that has it; null when none has.", unless_zero<&Device::job>, table,
     true},
    {"models", "MODELS", Unit::words, "Models that are loaded.",
     [](const void* d) { return list_of(as<Device>(d).models()); }, wide},
    {"worker_pid", "PID", Unit::integer, "Process id of its serving worker; null when there is none.",
     unless_zero<&Device::worker_pid>, wide, true},
    {"generation", "GENERATION", Unit::count, "How many workers it has had.", of<&Device::generation>, wide},
    {"restarts", "RESTARTS", Unit::count, "How often its worker died.", of<&Device::restarts>, wide},
    {"last_death", "LAST DEATH", Unit::text, "How its worker died last; empty when it never did.",
     of<&Device::last_death>, details},
    {"busy_ns", "BUSY", Unit::duration, "Time the serving worker has computed, since it began.",
     of_worker<&Device::busy_ns>, wide, true},
    {"job_busy_ns", "JOB BUSY", Unit::duration, "Time the job's worker has computed.", of_worker<&Device::job_busy_ns>,
     details, true},
    {"switches", "SWITCHES", Unit::count, "How often training gave way to serving between two kernels.",
     of_worker<&Device::switches>, details, true},
    {"switch_ns_total", "SWITCH TIME", Unit::duration, "Time those switches took in all.",
     of_worker<&Device::switch_ns_total>, details, true},
    {"switch_ns_longest", "LONGEST SWITCH", Unit::duration, "The longest of them.",
     of_worker<&Device::switch_ns_longest>, details, true},
    {"longest_kernel_ns", "LONGEST KERNEL", Unit::duration,
     "The longest kernel of training: a switch can take as long.", of_worker<&Device::longest_kernel_ns>, details,
     true},
    {"kernel_node", "NODE", Unit::text, "Its node of the kernel module; null when the module is not used for it.",
     unless_zero<&Device::kernel_node>, wide, true},
    {"kernel_memory_used_bytes", "KERNEL USED", Unit::bytes,
     "Device memory that the kernel has charged to somebody; null without the module.",
     of_node<&Device::kernel_memory_used_bytes>, wide, true},
    {"kernel_memory_bytes", "KERNEL MEMORY", Unit::bytes,
     "Device memory that the kernel hands out; null without the module.", of_node<&Device::kernel_memory_bytes>,
     details, true},
    {"kernel_clients", "KERNEL CLIENTS", Unit::count, "Open files of the node; null without the module.",
     of_node<&Device::kernel_clients>, details, true},
    {"kernel_queues", "KERNEL QUEUES", Unit::count, "Queues that the kernel has made there; null without the module.",
     of_node<&Device::kernel_queues>, details, true},
    {"fingerprint", "FINGERPRINT", Unit::text, "Equal fingerprint and inputs, equal bits of results.",
     of<&Device::fingerprint>, details},
};

constexpr Column kModelColumns[] = {
    {"reference", "MODEL", Unit::text, "What commands name it by: owner/name:version.",
     [](const void* m) {
       const auto& model = as<ModelVersion>(m);
       return Value(model.owner() + '/' + model.name() + ':' + std::to_string(model.version()));
     }},
    {"owner", "OWNER", Unit::text, "Who registered it.", of<&ModelVersion::owner>, data},
    {"owner_uid", "UID", Unit::count, "The owner's user id.", of<&ModelVersion::owner_uid>, data},
    {"name", "NAME", Unit::text, "Its name, the owner's own.", of<&ModelVersion::name>, data},
    {"version", "VERSION", Unit::count, "From 1.", of<&ModelVersion::version>, data},
    {"aliases", "ALIASES", Unit::words, "Aliases that mean this version.",
     [](const void* m) { return list_of(as<ModelVersion>(m).aliases()); }},
    {"shared", "SHARED", Unit::flag, "Others may use it.", of<&ModelVersion::shared>},
    {"bytes", "SIZE", Unit::bytes, "Size of its file.", of<&ModelVersion::bytes>},
    {"loaded_on", "LOADED ON", Unit::words, "Devices that have it in memory.",
     [](const void* m) { return list_of(as<ModelVersion>(m).loaded_on()); }},
    {"registered_at_ns", "REGISTERED", Unit::time, "When, in ns since 1970.", of<&ModelVersion::registered_at_ns>},
    {"checksum", "CHECKSUM", Unit::text, "Of its file.", of<&ModelVersion::checksum>, wide},
};

constexpr Column kJobColumns[] = {
    {"id", "ID", Unit::count, "Its number.", of<&Job::id>},
    {"name", "NAME", Unit::text, "Its name.", of<&Job::name>},
    {"owner", "OWNER", Unit::text, "Who submitted it.", of<&Job::owner>},
    {"owner_uid", "UID", Unit::count, "The owner's user id.", of<&Job::owner_uid>, data},
    {"state", "STATE", Unit::text, "queued, running, stopping, paused, done, failed or cancelled.", of<&Job::state>},
    {"on", "ON", Unit::words, "The devices that it has.", [](const void* j) { return list_of(as<Job>(j).on()); }},
    {"progress", "PROGRESS", Unit::fraction, "Share of its steps that are done; null before it is known.",
     [](const void* j) {
       const auto& job = as<Job>(j);
       return job.steps() == 0 ? Value() : Value(static_cast<double>(job.step()) / static_cast<double>(job.steps()));
     },
     table, true},
    {"epoch", "EPOCH", Unit::count, "The epoch that it is in.", of<&Job::epoch>, wide},
    {"epochs", "EPOCHS", Unit::count, "Epochs in all.", of<&Job::epochs>, wide},
    {"step", "STEP", Unit::count, "Steps done.", of<&Job::step>, wide},
    {"steps", "STEPS", Unit::count, "Steps in all; 0 when not known yet.", of<&Job::steps>, wide},
    {"loss", "LOSS", Unit::number, "Mean loss of this epoch so far; null before the first step.",
     [](const void* j) { return as<Job>(j).step() == 0 ? Value() : Value(as<Job>(j).loss()); }, table, true},
    {"accuracy", "ACCURACY", Unit::number, "Share of hits in this epoch so far; null before the first step.",
     [](const void* j) { return as<Job>(j).step() == 0 ? Value() : Value(as<Job>(j).accuracy()); }, wide, true},
    {"checkpoint_step", "CHECKPOINT", Unit::count, "The step of the last checkpoint on disk; null when there is none.",
     unless_zero<&Job::checkpoint_step>, wide, true},
    {"priority", "PRIORITY", Unit::integer, "-100 to 100; higher goes first among the owner's jobs.",
     of<&Job::priority>, wide},
    {"devices", "DEVICES", Unit::count, "How many devices it asks for.", of<&Job::devices>, wide},
    {"backend", "BACKEND", Unit::text, "The kind of device that it asks for; empty for any.", of<&Job::backend>,
     details},
    {"memory_bytes", "MEMORY", Unit::bytes, "Memory of each device that it may use.", of<&Job::memory_bytes>, wide},
    {"submitted_at_ns", "SUBMITTED", Unit::time, "When, in ns since 1970.", of<&Job::submitted_at_ns>},
    {"started_at_ns", "STARTED", Unit::time, "When it last began to run; null before.",
     unless_zero<&Job::started_at_ns>, details, true},
    {"ended_at_ns", "ENDED", Unit::time, "When it ended; null before.", unless_zero<&Job::ended_at_ns>, details, true},
    {"deadline_ns", "DEADLINE", Unit::time, "If it has not started by then it fails; null when there is none.",
     unless_zero<&Job::deadline_ns>, details, true},
    {"device_ns", "DEVICE TIME", Unit::duration, "Time that it has had devices.", of<&Job::device_ns>, details},
    {"starts", "STARTS", Unit::count, "How often it was started.", of<&Job::starts>, details},
    {"preemptions", "PREEMPTIONS", Unit::count, "How often it gave way to another job.", of<&Job::preemptions>,
     details},
    {"failures", "FAILURES", Unit::count, "How often it was interrupted by something else's failure.",
     of<&Job::failures>, details},
    {"exit_code", "EXIT", Unit::integer, "Exit code of its process; null before it ended.",
     [](const void* j) { return as<Job>(j).ended_at_ns() == 0 ? Value() : Value(as<Job>(j).exit_code()); }, details,
     true},
    {"reason", "REASON", Unit::text, "Why it ended or is paused.", of<&Job::reason>, details},
    {"why", "WHY", Unit::text, "Why it waits, while it does.", of<&Job::why>, wide},
    {"directory", "DIRECTORY", Unit::text, "Where its relative paths begin.", of<&Job::directory>, details},
};

constexpr Column kClientColumns[] = {
    {"session", "SESSION", Unit::count, "Number of its session.", of<&Client::session>},
    {"owner", "OWNER", Unit::text, "Its user.", of<&Client::owner>},
    {"uid", "UID", Unit::count, "Its user id.", of<&Client::uid>, data},
    {"pid", "PID", Unit::integer, "Its process id.", of<&Client::pid>},
    {"program", "PROGRAM", Unit::text, "The program's name, as it says.", of<&Client::program>},
    {"device", "DEVICE", Unit::text, "The device that serves it.", of<&Client::device>},
    {"purpose", "PURPOSE", Unit::text, "interactive, serving, or the job that it is.", of<&Client::purpose>},
    {"queues", "QUEUES", Unit::count, "Queues that it has open.", of<&Client::queues>, wide},
    {"arenas", "ARENAS", Unit::count, "Memory regions that it shares with the worker.", of<&Client::arenas>, wide},
    {"arena_bytes", "SHARED", Unit::bytes, "Their size.", of<&Client::arena_bytes>},
    {"device_bytes", "HELD", Unit::bytes, "Device memory that it holds.", of_worker<&Client::device_bytes>, table,
     true},
    {"busy_ns", "BUSY", Unit::duration, "Time the device has computed for it.", of_worker<&Client::busy_ns>, table,
     true},
    {"executions", "EXECUTIONS", Unit::count, "Executions that ended.", of_worker<&Client::executions>, wide, true},
    {"failures", "FAILURES", Unit::count, "Executions that failed.", of_worker<&Client::failures>, wide, true},
    {"kernel_client", "KERNEL CLIENT", Unit::count,
     "The number that the kernel has for it (drm-client-id); null without the kernel module.",
     unless_zero<&Client::kernel_client>, wide, true},
    {"kernel_device_bytes", "KERNEL HELD", Unit::bytes,
     "Device memory that the kernel has charged to it; null without the kernel module.",
     [](const void* c) {
       const auto& client = as<Client>(c);
       return client.kernel_client() == 0 || client.no_statistics() ? Value() : Value(client.kernel_device_bytes());
     },
     wide, true},
    {"connected_at_ns", "CONNECTED", Unit::time, "When, in ns since 1970.", of<&Client::connected_at_ns>},
};

bool unlimited(const Limit& limit) { return limit.limit() == std::numeric_limits<std::uint64_t>::max(); }
std::string amount(const Limit& limit, std::uint64_t value) {
  if (limit.unit() == "bytes") return human_bytes(value);
  if (limit.unit() == "ms") return human_duration(value * 1'000'000);
  return std::to_string(value) + (limit.unit().empty() ? "" : ' ' + limit.unit());
}

constexpr Column kLimitColumns[] = {
    {"name", "NAME", Unit::text, "What is limited.", of<&Limit::name>},
    {"used", "USED", Unit::count, "How much the user holds, in `unit`.", of<&Limit::used>, data},
    {"limit", "MOST", Unit::count, "How much the user may hold, in `unit`; null: as much as there is.",
     [](const void* l) { return unlimited(as<Limit>(l)) ? Value() : Value(as<Limit>(l).limit()); }, data, true},
    {"unit", "UNIT", Unit::text, "bytes, ms, per second; empty: a number of things.", of<&Limit::unit>, data},
    {"used_text", "USED", Unit::text, "",
     [](const void* l) { return Value(amount(as<Limit>(l), as<Limit>(l).used())); }, people},
    {"limit_text", "LIMIT", Unit::text, "",
     [](const void* l) {
       return Value(unlimited(as<Limit>(l)) ? "unlimited" : amount(as<Limit>(l), as<Limit>(l).limit()));
     },
     people},
};

}  // namespace

const Kind kStatusKind{"status", "status", "The daemon.", kStatusColumns, "version"};
const Kind kDeviceKind{"device", "devices", "A device that mld shares out.", kDeviceColumns, "name"};
const Kind kModelKind{"model", "models", "One version of a registered model.", kModelColumns, "reference"};
const Kind kJobKind{"job", "jobs", "A training job.", kJobColumns, "id"};
const Kind kClientKind{"client", "clients", "A client's session.", kClientColumns, "session"};
const Kind kLimitKind{"limit", "limits", "What one user may hold, and holds.", kLimitColumns, "name"};

}  // namespace ml::ctl
