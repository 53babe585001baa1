#include <algorithm>
#include <exception>
#include <initializer_list>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include "hone/core/communicator.hpp"
#include "hone/core/error.hpp"

namespace hone {
namespace {

LocalFailure failed(std::string_view what, ExitCode code) {
  return {what.empty() ? "an error without a message" : std::string{what}, code};
}

/// The tensor library's errors are known by their text only here, and end in its stack: of use where
/// the cause is not known.
LocalFailure of_other(std::string_view what) {
  const auto message =
      what.substr(0, std::min(what.find("\nException raised from"), what.find("\nframe #0")));
  for (const auto phrase :
       {"out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED"}) {
    if (message.find(phrase) != message.npos) return failed(message, ExitCode::OutOfMemory);
  }
  return failed(what, ExitCode::Internal);
}

}  // namespace

LocalFailure failure_in_flight() {
  try {
    throw;
  } catch (const Error& error) {
    return failed(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return failed("out of memory", ExitCode::OutOfMemory);
  } catch (const std::system_error& error) {
    return failed(error.what(), exit_code_of(error));
  } catch (const std::exception& error) {
    return of_other(error.what());
  } catch (...) {
    return failed("an exception of unknown type", ExitCode::Internal);
  }
}

}  // namespace hone
