#pragma once

#include <exception>
#include <string>
#include <utility>

#include "hone/core/error.hpp"

namespace hone {

template <typename Function>
void run_agreed(Communicator& comm, Function&& local) {
  std::string message;
  int exit_code = 0;
  try {
    std::forward<Function>(local)();
  } catch (const Error& error) {
    message = error.what();
    exit_code = static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    message = error.what();
    exit_code = static_cast<int>(ExitCode::Internal);
  }
  agree_or_throw(comm, message, exit_code);
}

}  // namespace hone
