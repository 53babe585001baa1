#include "nccl_handle.hpp"

#include <exception>
#include <future>
#include <thread>
#include <utility>

#include "hone/core/error.hpp"

namespace hone::distributed::detail {
namespace {

/// Wrong calls are bugs; whatever else NCCL reports, a new start may cure.
ExitCode exit_code_of(NcclResult result) {
  const bool is_bug =
      result == NcclResult::InvalidArgument || result == NcclResult::InvalidUsage;
  return is_bug ? ExitCode::Internal : ExitCode::Stopped;
}

std::string seconds_text(std::chrono::milliseconds time) {
  const auto ms = time.count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

}  // namespace

NcclUniqueId NcclHandle::make_unique_id() const {
  NcclUniqueId id{};
  check("ncclGetUniqueId", api_.get_unique_id(&id));
  return id;
}

void NcclHandle::open(const NcclUniqueId& id, int rank, int size) {
  NcclConfig config;
  check("ncclCommInitRankConfig", api_.comm_init_rank_config(&comm_, size, id, rank, &config));
  poll(times_.init, [this] { return is_settled(); });
}

void NcclHandle::close() {
  if (comm_ == nullptr) return;
  check("ncclCommFinalize", api_.comm_finalize(comm_));
  poll(times_.close, [this] { return is_settled(); });
  const auto comm = std::exchange(comm_, nullptr);
  check("ncclCommDestroy", api_.comm_destroy(comm));
}

std::string NcclHandle::abort() noexcept {
  if (comm_ == nullptr) return {};
  try {
    // The task owns a table of its own: it may outlive this object.
    std::packaged_task<NcclResult()> task{
        [api = api_, comm = std::exchange(comm_, nullptr)] { return api.comm_abort(comm); }};
    auto aborted = task.get_future();
    std::thread{std::move(task)}.detach();
    if (aborted.wait_for(times_.abort) != std::future_status::ready) {
      return "ncclCommAbort hangs, too: given up after " + seconds_text(times_.abort);
    }
    check("ncclCommAbort", aborted.get());
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

bool NcclHandle::is_settled() const {
  auto state = NcclResult::Success;
  check("ncclCommGetAsyncError", api_.comm_get_async_error(comm_, &state));
  if (state == NcclResult::InProgress) return false;
  check("NCCL", state);
  return true;
}

void NcclHandle::check(std::string_view function, NcclResult result) const {
  if (result == NcclResult::Success || result == NcclResult::InProgress) return;
  std::string text = std::string{function} + ": " + api_.get_error_string(result);
  const char* detail = comm_ != nullptr ? api_.get_last_error(comm_) : nullptr;
  if (detail != nullptr && *detail != '\0') text += " (" + std::string{detail} + ")";
  throw CommunicatorError{text, exit_code_of(result)};
}

void NcclHandle::throw_late(std::chrono::milliseconds deadline) const {
  throw CommunicatorError{"not done after " + seconds_text(deadline) +
                              ": a rank is gone, hangs, or called something else",
                          ExitCode::Stopped};
}

}  // namespace hone::distributed::detail
