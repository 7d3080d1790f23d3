// One function per command: does it, and answers the exit code. Throws Failure or ml::Error.
#pragma once

#include <functional>
#include <string>

#include "tools/mlctl/table/command.h"

namespace ml::ctl {

Exit run_status(const Invocation& invocation);
Exit run_limits(const Invocation& invocation);
Exit run_bench(const Invocation& invocation);
Exit run_doctor(const Invocation& invocation);
Exit run_explain(const Invocation& invocation);
Exit run_completion(const Invocation& invocation);

Exit run_device_list(const Invocation& invocation);
Exit run_device_show(const Invocation& invocation);
Exit run_device_top(const Invocation& invocation);
Exit run_device_drain(const Invocation& invocation);

Exit run_model_import(const Invocation& invocation);
Exit run_model_list(const Invocation& invocation);
Exit run_model_show(const Invocation& invocation);
Exit run_model_load(const Invocation& invocation);
Exit run_model_unload(const Invocation& invocation);
Exit run_model_infer(const Invocation& invocation);
Exit run_model_promote(const Invocation& invocation);
Exit run_model_rollback(const Invocation& invocation);

Exit run_job_submit(const Invocation& invocation);
Exit run_job_list(const Invocation& invocation);
Exit run_job_show(const Invocation& invocation);
Exit run_job_logs(const Invocation& invocation);
Exit run_job_cancel(const Invocation& invocation);
Exit run_job_pause(const Invocation& invocation);
Exit run_job_resume(const Invocation& invocation);
Exit run_job_why(const Invocation& invocation);

Exit run_client_list(const Invocation& invocation);
Exit run_client_kick(const Invocation& invocation);

Exit run_complete(const Invocation& invocation);
Exit run_generate(const Invocation& invocation);

}  // namespace ml::ctl
