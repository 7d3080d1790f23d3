#include "daemon/admin/codes.h"

#include <algorithm>

namespace ml::daemon {

namespace {

constexpr ErrorPage kPages[] = {
    {"MLE-0001", Code::invalid_argument, Outcome::invalid, "an argument does not fit",
     "A shape, dtype, name or option was refused before anything was changed. The message names it with its value and "
     "says what is accepted. Correct it and try again."},
    {"MLE-0002", Code::out_of_range, Outcome::invalid, "an index or offset lies outside",
     "Something was named by a number beyond the end of what it belongs to. The message gives the number and the end."},
    {"MLE-0003", Code::unsupported, Outcome::invalid, "nothing here can do that",
     "The request is well formed, but no part of this installation implements it: an operator that no backend has, a "
     "file or protocol of a newer version. The message says which. Install a newer mlaccel, or use another device, "
     "model or format."},
    {"MLE-0004", Code::not_found, Outcome::missing, "there is nothing of that name",
     "A file, name or handle is not there, or it belongs to somebody who does not share it; mld does not tell which. "
     "List what you can see with `mlctl device ls`, `mlctl model ls`, `mlctl job ls`."},
    {"MLE-0005", Code::corrupt, Outcome::failed, "a file or message breaks its own format",
     "Bytes are damaged, cut off, or of another format than they claim. The message gives the file and the place. Get "
     "the file again; of mld's own files the message says what may be moved away and what is lost with it."},
    {"MLE-0006", Code::io, Outcome::failed, "the operating system refused",
     "Reading, writing or starting a process failed; the message has the system's own words. Look at permissions, the "
     "disk and `journalctl -u mld`."},
    {"MLE-0007", Code::no_space, Outcome::full, "something is full",
     "A disk, a table or a limit has no room for this. Nothing was changed. The message says what is full and how much "
     "was wanted; `mlctl limits` shows your limits and what you hold."},
    {"MLE-0008", Code::out_of_memory, Outcome::full, "no memory left",
     "The process or its device has no memory for this. Use a smaller batch, close what is not needed (`mlctl client "
     "ls`, `mlctl model unload`), or another device."},
    {"MLE-0009", Code::too_small, Outcome::invalid, "a buffer is too small",
     "An output did not fit into what was given for it. The message says how much is needed."},
    {"MLE-0010", Code::cancelled, Outcome::failed, "it was cancelled",
     "Somebody with the right to do so ended it before it was done."},
    {"MLE-0011", Code::timeout, Outcome::timed_out, "the time allowed is over",
     "A deadline passed. What was asked may still happen. If the device is busy, `mlctl device top` shows with what."},
    {"MLE-0012", Code::device_lost, Outcome::unavailable, "the device's worker ended",
     "The process that owns the device died or was restarted. Tensors on the device are lost; sessions connect again "
     "by themselves and jobs go on from their last checkpoint. `mlctl device show` says how the last worker ended. If "
     "the same work kills the worker twice, its session is refused: report it with the log of mld."},
    {"MLE-0013", Code::denied, Outcome::denied, "permission denied",
     "Only the owner, root, mld's own user or a member of the group mlaccel-admin may do this. Ask one of them; after "
     "being added to the group log in again."},
    {"MLE-0014", Code::again, Outcome::unavailable, "not now",
     "Something that is full or starting for the moment. Trying again a little later can succeed; the message says "
     "what it waits for."},
    {"MLE-0015", Code::internal, Outcome::failed, "a defect of mlaccel",
     "This must not happen. Report it with the message, the versions (`mlctl status`, `mlctl doctor`) and mld's log."},

    {"MLE-0101", Code::no_space, Outcome::full, "the limit of sessions is reached",
     "Each connection of a program to mld is a session; `sessions` in mld.toml limits how many one user has at a time. "
     "`mlctl client ls` shows yours; end those that are not needed, or ask the administrator for more."},
    {"MLE-0102", Code::no_space, Outcome::full, "the limit of queues is reached",
     "`queues` in mld.toml limits the queues of all sessions of a user together. Close queues or sessions."},
    {"MLE-0103", Code::no_space, Outcome::full, "the limit of arenas is reached",
     "An arena is one piece of memory shared with a device; `arenas` in mld.toml limits their number per user. "
     "Programs "
     "that hold many small tensors in many processes run into it."},
    {"MLE-0104", Code::no_space, Outcome::full, "the limit of shared memory is reached",
     "`arena_bytes` in mld.toml limits the memory that a user shares with devices in all sessions together. Free "
     "tensors, use smaller batches, or end other sessions of yours."},
    {"MLE-0105", Code::no_space, Outcome::full, "the limit of device memory is reached",
     "`device_bytes` in mld.toml limits the memory on a device that belongs to one user: state, packed weights, "
     "scratch. Use a smaller batch or model, or end other sessions of yours."},
    {"MLE-0106", Code::no_space, Outcome::full, "the limit of jobs is reached",
     "`jobs` in mld.toml limits how many jobs of a user are queued, running or paused. Wait for some to end, or cancel "
     "them (`mlctl job cancel`)."},
    {"MLE-0107", Code::no_space, Outcome::full, "the limit of model versions is reached",
     "`models` in mld.toml limits how many versions of models a user keeps in the registry."},
    {"MLE-0108", Code::no_space, Outcome::full, "the limit of bytes in the registry is reached",
     "`model_bytes` in mld.toml limits what all versions of a user's models take on disk."},
    {"MLE-0109", Code::again, Outcome::unavailable, "too many new sessions in this second",
     "`sessions_a_second` in mld.toml limits how fast a user opens sessions. Keep a session open instead of making one "
     "for each request; a program that is refused can try again after a second."},
    {"MLE-0110", Code::no_space, Outcome::full, "the limit of handles is reached",
     "`handles` in mld.toml limits programs and device tensors of one session. Release what is not needed."},
    {"MLE-0111", Code::no_space, Outcome::full, "the limit of plans is reached",
     "`plans` in mld.toml limits for how many combinations of shapes one program is kept prepared."},
    {"MLE-0112", Code::no_space, Outcome::full, "the graph is larger than allowed",
     "`graph_bytes` in mld.toml limits the size of one graph that is compiled."},
    {"MLE-0113", Code::timeout, Outcome::timed_out, "compiling took longer than allowed",
     "`compile_ms` in mld.toml limits the time of one compilation. Split the graph, or ask for a higher limit."},
    {"MLE-0114", Code::no_space, Outcome::full, "too many connections of mlctl at once",
     "mld serves a bounded number of administrative connections per user. Wait until some commands have ended; "
     "`mlctl ... --watch` in many terminals holds one each."},

    {"MLE-0201", Code::not_found, Outcome::missing, "there is no such device",
     "Devices are declared in mld.toml; `mlctl device ls` shows them."},
    {"MLE-0202", Code::not_found, Outcome::missing, "there is no such model",
     "A model is named NAME, NAME:VERSION or NAME@ALIAS; another user's is OWNER/NAME, and only if its owner shares "
     "it. A private model of somebody else looks exactly like one that does not exist. `mlctl model ls` lists what you "
     "can see."},
    {"MLE-0203", Code::not_found, Outcome::missing, "there is no such job",
     "`mlctl job ls --all` lists yours, ended ones too. Another user's job looks exactly like one that does not exist, "
     "unless you are an administrator."},
    {"MLE-0204", Code::not_found, Outcome::missing, "there is no such session",
     "`mlctl client ls` lists yours. Another user's session looks exactly like one that does not exist, unless you are "
     "an administrator."},
    {"MLE-0205", Code::denied, Outcome::denied, "it belongs to somebody else",
     "Only its owner, root, mld's own user or a member of the group mlaccel-admin may change it. Ask one of them; "
     "after being added to the group log in again."},
    {"MLE-0206", Code::io, Outcome::unavailable, "mld is not running",
     "Nothing answers on the socket. Start the service (`systemctl start mld`), or your own daemon (`mld --user`); "
     "`mlctl doctor` says which socket was tried and why."},
    {"MLE-0207", Code::again, Outcome::unavailable, "mld is stopping",
     "It writes the checkpoints of running jobs and takes nothing new. Try again when it has started again."},
    {"MLE-0208", Code::again, Outcome::unavailable, "the device is being drained",
     "An administrator has taken it out of service for new work (`mlctl device drain`); `mlctl device drain --undo` "
     "puts it back. Choose another device, or wait."},
    {"MLE-0209", Code::timeout, Outcome::timed_out, "a worker did not answer in time",
     "The device's process is stopped or stuck. `mlctl device show` gives its process; mld's log has more. Ending that "
     "process is safe: mld starts another."},
    {"MLE-0210", Code::invalid_argument, Outcome::conflict, "the job is in another state",
     "Only a waiting or running job can be paused, only a paused one resumed, and what has ended stays ended. `mlctl "
     "job show` gives the state."},
    {"MLE-0211", Code::corrupt, Outcome::failed, "the model's file is damaged",
     "Its bytes no longer have the checksum that they were registered with. The version was set aside in "
     "models/damaged in mld's state directory, with the reason beside it. Register the model again; check the disk."},
    {"MLE-0212", Code::not_found, Outcome::conflict, "there is nothing to roll back to",
     "The alias has not been moved since it was made, or was rolled back already. Choose a version with `mlctl model "
     "promote`."},
    {"MLE-0213", Code::not_found, Outcome::invalid, "no devices here can ever run this job",
     "The job asks for more devices, another backend, or more memory than is declared in mld.toml. `mlctl device ls` "
     "shows what there is."},
};

struct LimitCode {
  std::string_view key, code;
};
constexpr LimitCode kLimits[] = {
    {"sessions", "MLE-0101"},          {"queues", "MLE-0102"},  {"arenas", "MLE-0103"}, {"arena_bytes", "MLE-0104"},
    {"device_bytes", "MLE-0105"},      {"jobs", "MLE-0106"},    {"models", "MLE-0107"}, {"model_bytes", "MLE-0108"},
    {"sessions_a_second", "MLE-0109"}, {"handles", "MLE-0110"}, {"plans", "MLE-0111"},  {"graph_bytes", "MLE-0112"},
    {"compile_ms", "MLE-0113"},
};

}  // namespace

std::span<const ErrorPage> error_pages() { return kPages; }

const ErrorPage* find_error_page(std::string_view code) {
  const auto* found =
      std::find_if(std::begin(kPages), std::end(kPages), [&](const ErrorPage& page) { return page.code == code; });
  return found == std::end(kPages) ? nullptr : found;
}

std::string_view code_of(Code kind) {
  const auto* found =
      std::find_if(std::begin(kPages), std::end(kPages), [&](const ErrorPage& page) { return page.kind == kind; });
  return found == std::end(kPages) ? code_of(Code::internal) : found->code;
}

std::string_view code_of(const Error& error) {
  constexpr std::string_view kPrefix = "limits.";
  std::string_view where = error.context();
  if (where.starts_with(kPrefix)) {
    where.remove_prefix(kPrefix.size());
    const std::string_view key = where.substr(0, where.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"));
    for (const LimitCode& limit : kLimits)
      if (limit.key == key) return limit.code;
  }
  return code_of(error.code());
}

}  // namespace ml::daemon
