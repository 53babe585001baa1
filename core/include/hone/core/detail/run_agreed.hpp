#pragma once

#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "hone/core/error.hpp"

namespace hone {

template <typename Function>
LocalFailure failure_of(Function&& local) {
  const auto failed = [](const std::string& what, ExitCode code) {
    return LocalFailure{what.empty() ? "an error without a message" : what, code};
  };
  // Nothing may escape here: the other ranks wait for this one in the agreement that follows.
  try {
    std::forward<Function>(local)();
  } catch (const Error& error) {
    return failed(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return failed("out of memory", ExitCode::OutOfMemory);
  } catch (const std::system_error& error) {
    return failed(error.what(), exit_code_of(error));
  } catch (const std::exception& error) {
    return failed(error.what(), ExitCode::Internal);
  } catch (...) {
    return failed("an exception of unknown type", ExitCode::Internal);
  }
  return {};
}

template <typename Function>
void run_agreed(Communicator& comm, Function&& local) {
  agree_or_throw(comm, failure_of(std::forward<Function>(local)));
}

}  // namespace hone
