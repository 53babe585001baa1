#pragma once

#include <ATen/Parallel.h>

#include <functional>
#include <type_traits>
#include <vector>

#include "hone/distributed/thread_world.hpp"

namespace hone::testing {

/// Runs `body` on `num_ranks` ranks, each a thread of its own that computes on that thread alone,
/// and returns what each of them returned, by rank.
template <typename Body>
auto on_ranks(int num_ranks, Body&& body) {
  using Result = std::invoke_result_t<Body, Communicator&>;
  static_assert(!std::is_same_v<Result, bool>, "neighbours of a vector<bool> share a byte");
  at::set_num_threads(1);
  std::vector<Result> results(static_cast<std::size_t>(num_ranks));
  distributed::ThreadWorld{num_ranks}.run([&](Communicator& comm) {
    at::init_num_threads();  // the setting above reaches a new thread through this only
    results[static_cast<std::size_t>(comm.rank())] = body(comm);
  });
  return results;
}

}  // namespace hone::testing
