#include "hone/launcher/failure.hpp"

#include <initializer_list>
#include <limits>
#include <new>
#include <string_view>
#include <system_error>

#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

constexpr std::string_view kMemoryAdvice =
    "\nLower per_device_train_batch_size (gradient_accumulation_steps makes up for it: same result), "
    "max_length or the number of ranks on this machine";

Failure failure(ExitCode code, std::string message) {
  return {static_cast<int>(code), std::move(message)};
}

bool contains_any(std::string_view text, std::initializer_list<std::string_view> phrases) {
  for (const auto phrase : phrases) {
    if (text.find(phrase) != std::string_view::npos) return true;
  }
  return false;
}

/// The tensor library's errors are known by their text only here; their stack is for the log.
Failure of_other(std::string_view what) {
  const auto trace = what.find("\nException raised from");
  const std::string message{what.substr(0, trace)};
  if (contains_any(what, {"out of memory", "can't allocate memory", "not enough memory"})) {
    return failure(ExitCode::OutOfMemory, message + std::string{kMemoryAdvice});
  }
  return failure(ExitCode::Internal,
                 message + "\nThis is not foreseen: please report it, with the log");
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
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return {static_cast<int>(known.exit_code()), known.what()};
  } catch (const std::bad_alloc&) {
    return failure(ExitCode::OutOfMemory, "out of memory" + std::string{kMemoryAdvice});
  } catch (const std::system_error& system) {
    return failure(exit_code_of(system), system.what());
  } catch (const std::exception& other) {
    return of_other(other.what());
  } catch (...) {
    return failure(ExitCode::Internal, "an exception of unknown type");
  }
}

std::string error_block(const Failure& failure, const std::string& who,
                        const std::filesystem::path& log_file) {
  std::string block = "error: " + who + indented(failure.message) + "\n  exit code " +
                      std::to_string(failure.code);
  if (!log_file.empty()) block += ", log: " + log_file.string();
  return block + '\n';
}

}  // namespace hone::launcher
