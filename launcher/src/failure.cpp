#include "hone/launcher/failure.hpp"

#include <exception>
#include <limits>
#include <string_view>
#include <utility>

#include "hone/core/communicator.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

constexpr std::string_view kMemoryAdvice =
    "\nLower per_device_train_batch_size (gradient_accumulation_steps makes up for it: same result), "
    "max_length or the number of ranks on this machine";

constexpr std::string_view kReport = "\nThis is not foreseen: please report it, with the log";

bool is_of_hone(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error&) {
    return true;
  } catch (...) {
    return false;
  }
}

std::string indented(std::string_view message) {
  std::string text;
  while (true) {
    const auto end = message.find('\n');
    text += printable(message.substr(0, end), std::numeric_limits<std::size_t>::max());
    if (end == std::string_view::npos || end + 1 >= message.size()) return text;
    text += "\n  ";
    message.remove_prefix(end + 1);
  }
}

}  // namespace

Failure describe_failure(const std::exception_ptr& error) {
  auto [message, code] = failure_of([&] { std::rethrow_exception(error); });
  if (code == ExitCode::OutOfMemory) message += kMemoryAdvice;
  if (code == ExitCode::Internal && !is_of_hone(error)) message += kReport;
  return {static_cast<int>(code), std::move(message)};
}

std::string error_block(const Failure& failure, const std::string& who,
                        const std::filesystem::path& log_file) {
  std::string block = "error: " + who + indented(failure.message) + "\n  exit code " +
                      std::to_string(failure.code);
  if (!log_file.empty()) block += ", log: " + log_file.string();
  return block + '\n';
}

}  // namespace hone::launcher
