#include <algorithm>

#include "daemon/admin/codes.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/local_things.h"
#include "tools/mlctl/table/help.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

CodePage page_of(const daemon::ErrorPage& page) {
  return {std::string(page.code), code_name(page.kind), std::string(page.title), std::string(page.text)};
}

// "mle-12", "12" and "MLE-0012" are one.
std::string normal_code(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; });
  if (text.starts_with("MLE-")) text.erase(0, 4);
  const bool digits = !text.empty() && text.size() <= 4 &&
                      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? "MLE-" + std::string(4 - text.size(), '0') + text : text;
}

}  // namespace

Exit run_explain(const Invocation& invocation) {
  if (!invocation.has("CODE")) {
    std::vector<CodePage> pages;
    for (const daemon::ErrorPage& page : daemon::error_pages()) pages.push_back(page_of(page));
    invocation.show(kCodeKind, rows_of(kCodeKind, pages));
    return Exit::ok;
  }
  const std::string code = invocation.text("CODE");
  const daemon::ErrorPage* const found = daemon::find_error_page(normal_code(code));
  if (found == nullptr) {
    throw Failure(Exit::unknown_object, "there is no error code '" + code + "'", "`mlctl explain` lists them all",
                  std::string(daemon::code_of(Code::not_found)));
  }
  const CodePage page = page_of(*found);
  if (invocation.style().format == Format::table) {
    const int exit = static_cast<int>(exit_of(page.code));
    write_out(page.code + ": " + page.title + "\n\n" + filled(page.text, 0) + "\nIn programs: ml::Code::" + page.name +
              " (C: " + std::to_string(-static_cast<int>(found->kind)) + "). mlctl exits with " + std::to_string(exit) +
              ".\n");
  } else {
    invocation.show(kCodeKind, row_of(kCodeKind, page));
  }
  return Exit::ok;
}

}  // namespace ml::ctl
