#pragma once

#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "hone/core/error.hpp"

namespace hone {

template <typename Function>
void run_agreed(Communicator& comm, Function&& local) {
  std::string message;
  ExitCode code = ExitCode::Success;
  const auto failed = [&](const std::string& what, ExitCode exit_code) {
    // agree_or_throw() takes an empty text for success.
    message = what.empty() ? "an error without a message" : what;
    code = exit_code;
  };
  // Nothing may escape here: the other ranks wait for this one in the agreement below.
  try {
    std::forward<Function>(local)();
  } catch (const Error& error) {
    failed(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    failed("out of memory", ExitCode::OutOfMemory);
  } catch (const std::system_error& error) {
    failed(error.what(), exit_code_of(error));
  } catch (const std::exception& error) {
    failed(error.what(), ExitCode::Internal);
  } catch (...) {
    failed("an exception of unknown type", ExitCode::Internal);
  }
  agree_or_throw(comm, message, static_cast<int>(code));
}

}  // namespace hone
