#include "engine/formats/onnx/register.h"

#include <deque>
#include <mutex>
#include <shared_mutex>

#include "ml/error.h"

namespace ml::onnx {
namespace {

struct Row {
  std::string domain, type;
  int since, until;
  ImportOperator import;
};

// Rows stay where they are and as they are once they are there.
struct Rows {
  std::shared_mutex mutex;
  std::deque<Row> all;
};
Rows& rows() {
  static Rows table;
  return table;
}

}  // namespace

void register_operator(std::string domain, std::string type, int since, int until, ImportOperator import) {
  const std::string name = "operator '" + domain + "." + type + "'";
  if (is_reserved(domain))
    throw Error(Code::invalid_argument, "the domain '" + domain + "' is ONNX's or this engine's own", name,
                "register in another domain");
  if (since < 1 || since > until || type.empty() || !import) {
    throw Error(
        Code::invalid_argument,
        "versions " + std::to_string(since) + " to " + std::to_string(until) + ", a type and a function are needed",
        name);
  }
  Rows& table = rows();
  const std::unique_lock lock(table.mutex);
  for (const Row& row : table.all) {
    if (row.domain != domain || row.type != type || row.until < since || until < row.since) continue;
    throw Error(
        Code::invalid_argument,
        "versions " + std::to_string(row.since) + " to " + std::to_string(row.until) + " are registered already", name);
  }
  table.all.push_back({std::move(domain), std::move(type), since, until, std::move(import)});
}

const ImportOperator* find_registered(std::string_view domain, std::string_view type, int version) {
  if (domain.empty()) return nullptr;
  Rows& table = rows();
  const std::shared_lock lock(table.mutex);
  for (const Row& row : table.all) {
    if (row.domain == domain && row.type == type && row.since <= version && version <= row.until) return &row.import;
  }
  return nullptr;
}

}  // namespace ml::onnx
