#include "libmlclient/transport/failure.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "libmlclient/session/message.h"
#include "libmlclient/transport/session_protocol.h"

namespace ml::transport {

std::string failure_text(const Error& error) {
  std::string text = error.message();
  if (!error.context().empty() || !error.hint().empty()) text += MLRING_MESSAGE_PART + error.context();
  if (!error.hint().empty()) text += MLRING_MESSAGE_PART + error.hint();
  text.resize(std::min(text.size(), protocol::kMaxPacket - sizeof(protocol::Failed)));
  return text;
}

bool send_failure(int socket, std::uint64_t request, const Error& error) {
  protocol::Failed failed{};
  failed.header.kind = static_cast<std::uint32_t>(protocol::Kind::error);
  failed.header.request = request;
  failed.status = -static_cast<std::int32_t>(error.code());
  return send_message(socket, failed, failure_text(error));
}

Error failure_from(std::exception_ptr caught) {
  try {
    std::rethrow_exception(std::move(caught));
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(Code::out_of_memory, "out of memory");
  } catch (const std::exception& error) {
    return Error(Code::internal, error.what());
  } catch (...) {
    return Error(Code::internal, "something was thrown that is no exception");
  }
}

Error failure_in(const Packet& packet) {
  const auto* const failed = packet.as<protocol::Failed>();
  if (failed == nullptr || failed->status >= 0) return Error(Code::corrupt, "an error came that says nothing");
  return client::error_from_message(failed->status, packet.text(), MLRING_MESSAGE_PART);
}

}  // namespace ml::transport
