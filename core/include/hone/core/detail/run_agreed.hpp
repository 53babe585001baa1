#pragma once

#include <utility>

namespace hone {

template <typename Function>
LocalFailure failure_of(Function&& local) {
  // Nothing may escape here: the other ranks wait for this one in the agreement that follows.
  try {
    std::forward<Function>(local)();
  } catch (...) {
    return failure_in_flight();
  }
  return {};
}

template <typename Function>
void run_agreed(Communicator& comm, Function&& local) {
  agree_or_throw(comm, failure_of(std::forward<Function>(local)));
}

}  // namespace hone
