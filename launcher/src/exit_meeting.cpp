#include "exit_meeting.hpp"

#include <algorithm>
#include <thread>

#include "hone/core/error.hpp"

namespace hone::launcher {

std::optional<int> rank_that_tells(const std::vector<Departure>& all) {
  std::optional<int> lost_another;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!all[i].failed) continue;
    const int rank = static_cast<int>(i);
    if (all[i].code != static_cast<int>(ExitCode::Stopped)) return rank;
    if (!lost_another) lost_another = rank;
  }
  return lost_another;
}

ExitMeeting::ExitMeeting() {
  if (MPI_Comm_dup(MPI_COMM_WORLD, &comm_) != MPI_SUCCESS) {
    throw LaunchError{"MPI_Comm_dup failed: MPI cannot set up another communicator"};
  }
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
}

std::optional<std::vector<Departure>> ExitMeeting::meet(
    const Departure& mine, std::optional<std::chrono::milliseconds> patience) {
  int size = 0;
  MPI_Comm_size(comm_, &size);
  received_.assign(static_cast<std::size_t>(size) * 2, 0);
  sent_[0] = mine.code;
  sent_[1] = mine.failed ? 1 : 0;
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Iallgather(sent_, 2, MPI_INT, received_.data(), 2, MPI_INT, comm_, &request) !=
      MPI_SUCCESS) {
    return std::nullopt;
  }
  const auto begin = std::chrono::steady_clock::now();
  std::chrono::milliseconds pause{1};
  for (int all_here = 0; all_here == 0;) {
    if (MPI_Test(&request, &all_here, MPI_STATUS_IGNORE) != MPI_SUCCESS) return std::nullopt;
    if (all_here != 0) break;
    if (patience && std::chrono::steady_clock::now() - begin > *patience) return std::nullopt;
    // Ranks that still compute need the cores.
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds{20});
  }
  std::vector<Departure> all;
  for (int rank = 0; rank < size; ++rank) {
    const auto at = static_cast<std::size_t>(rank) * 2;
    all.push_back({received_[at], received_[at + 1] != 0});
  }
  return all;
}

}  // namespace hone::launcher
