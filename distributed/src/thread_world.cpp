#include "hone/distributed/thread_world.hpp"

#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "hone/core/error.hpp"
#include "rendezvous.hpp"
#include "thread_communicator.hpp"

namespace hone::distributed {
namespace {

void run_rank(detail::Rendezvous& rendezvous, int rank,
              const std::function<void(Communicator&)>& body) {
  try {
    detail::ThreadCommunicator comm{rendezvous, rank};
    body(comm);
    rendezvous.leave(rank);
  } catch (...) {
    rendezvous.fail(rank, std::current_exception());
  }
}

}  // namespace

ThreadWorld::ThreadWorld(int num_ranks) : num_ranks_(num_ranks) {
  if (num_ranks < 1) {
    throw ConfigError{"a thread world needs at least one rank, got " + std::to_string(num_ranks)};
  }
}

void ThreadWorld::run(const std::function<void(Communicator&)>& body) {
  detail::Rendezvous rendezvous{num_ranks_};
  {
    std::vector<std::jthread> threads;  // joined at the end of this scope
    for (int rank = 0; rank < num_ranks_; ++rank) {
      try {
        threads.emplace_back([&rendezvous, rank, &body] { run_rank(rendezvous, rank, body); });
      } catch (...) {
        // No thread for this rank: the ones that already run must not wait for it.
        rendezvous.fail(rank, std::current_exception());
        break;
      }
    }
  }
  rendezvous.rethrow_first_error();
}

}  // namespace hone::distributed
