// A program with a Session that ends in the way its first argument names; processes_test runs it.

#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "guarded.hpp"
#include "hone/core/error.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/loop/run_lock.hpp"
#include "hone/launcher/session.hpp"

namespace {

using namespace hone;
using namespace hone::launcher;

int finish(Session& session) {
  session.screen().print(session.describe() + '\n');
  return 0;
}

int stop(Session& session) {
  if (session.is_root()) raise(SIGUSR1);
  session.note_step(7);
  // As the trainer does: the request travels, and all ranks act alike.
  for (std::int64_t request = 0; request == 0;) {
    request = static_cast<std::int64_t>(session.stop_signal()->take());
    session.communicator().all_reduce(&request, 1, DType::Int64, ReduceOp::Max);
  }
  return static_cast<int>(ExitCode::Stopped);
}

int agreed(Session& session) {
  run_agreed(session.communicator(), [&] {
    if (session.rank() == session.size() - 1) throw InputError{"line 12 is malformed"};
  });
  return 0;
}

int alike(Session&) { throw MissingInputError{"model folder \"x\": no such directory"}; }

int alone(Session& session) {
  if (session.rank() == 1) throw InputError{"only here"};
  session.communicator().barrier();
  return 0;
}

/// Rank 1 loses another; rank 2 knows why, a second later.
int cause_after_consequence(Session& session) {
  if (session.rank() == 1) throw CommunicatorError{"another rank is gone", ExitCode::Stopped};
  if (session.rank() == 2) {
    std::this_thread::sleep_for(std::chrono::seconds{1});
    throw InputError{"only here"};
  }
  session.communicator().barrier();
  return 0;
}

/// Rank 0 has the run directory; no logs are open yet.
int alone_before_logs(Session& session, const std::filesystem::path& run_directory) {
  std::filesystem::create_directories(run_directory);
  std::optional<RunLock> lock;
  if (session.is_root()) lock.emplace(run_directory, session.log());
  session.communicator().barrier();
  return alone(session);
}

/// Calls `first` as the first thing in MPI_Finalize.
void on_finalize(MPI_Comm_delete_attr_function* first) {
  int key = MPI_KEYVAL_INVALID;
  MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, first, &key, nullptr);
  MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr);
}

int stand_still_there(MPI_Comm, int, void*, void*) { return raise(SIGSTOP); }

/// Rank 1 ends, stops or dawdles while the others wait for it.
int wait_for_rank_1(Session& session, void (*rank_1)()) {
  session.note_step(7);
  session.activity().enter("score");
  session.communicator().barrier();
  std::this_thread::sleep_for(std::chrono::milliseconds{1500});  // until a heartbeat has told of it
  if (session.rank() == 1) rank_1();
  session.communicator().barrier();
  return 0;
}

int die(Session& session) {
  return wait_for_rank_1(session, [] { raise(SIGKILL); });
}

int stand_still(Session& session) {
  return wait_for_rank_1(session, [] { raise(SIGSTOP); });
}

int dawdle(Session& session) {
  return wait_for_rank_1(session, [] { std::this_thread::sleep_for(std::chrono::minutes{5}); });
}

/// Longer than the watchdog is patient.
int linger(Session& session) {
  return wait_for_rank_1(session, [] { std::this_thread::sleep_for(std::chrono::seconds{14}); });
}

/// Rank 0 has not come to its end yet, and makes no more calls.
int tarry(Session& session) {
  if (session.is_root()) std::this_thread::sleep_for(std::chrono::minutes{5});
  return 0;
}

/// Rank 1 stands still when it has left.
int freeze(Session& session) {
  if (session.rank() == 1) on_finalize(stand_still_there);
  return 0;
}

int differ(Session& session) {
  if (session.rank() == 1) {
    std::int64_t values[3] = {};
    session.communicator().broadcast(values, 3, DType::Int64, 0);
  } else {
    session.communicator().barrier();
    session.communicator().all_gather_bytes({});
  }
  return 0;
}

int memory(Session&) { throw std::bad_alloc{}; }

int warn(Session& session) {
  session.log().warning("odd");
  session.log().error("bad");
  return 0;
}

int run_scenario(const std::string& name, const SessionOptions& options, Screen& screen,
                 const LaunchEnvironment& environment) {
  const std::map<std::string, int (*)(Session&)> scenarios{
      {"finish", finish}, {"stop", stop},     {"agreed", agreed}, {"alike", alike},
      {"alone", alone},   {"memory", memory}, {"warn", warn},
      {"die", die},       {"stand_still", stand_still}, {"dawdle", dawdle},
      {"linger", linger}, {"differ", differ}, {"tarry", tarry}, {"freeze", freeze},
      {"absent", finish}, {"shared_by_rank_1", finish},
      {"cause_after_consequence", cause_after_consequence}};
  Session session{options, environment, screen};
  return session.run([&] {
    if (name == "alone_before_logs") return alone_before_logs(session, options.run_directory);
    return scenarios.at(name)(session);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const LaunchEnvironment environment = LaunchEnvironment::read();
  Screen screen{inspect_terminal(STDOUT_FILENO, environment.no_color), std::cout, std::cerr};
  SessionOptions options{.output_dir = argc > 2 ? argv[2] : ""};
  if (argc > 3) options.ddp_backend = argv[3];
  if (argc > 4) options.watch.ddp_timeout = std::stod(argv[4]);
  if (argc > 5) options.watch.watchdog = argv[5];
  const std::string scenario = argv[1];
  if (scenario == "absent") {
    if (environment.rank == 1) raise(SIGSTOP);
    // Its limit ends after the others', as where the processes of a busy machine begin apart.
    if (environment.rank == 2) std::this_thread::sleep_for(std::chrono::seconds{2});
  }
  if (scenario == "shared_by_rank_1") options.allow_shared_device = environment.rank == 1;
  if (scenario == "alone_before_logs" || scenario == "absent") {
    std::swap(options.output_dir, options.run_directory);
  }
  if (scenario == "freeze_unlaunched") {
    options.set_num_threads = [&](int) {
      if (environment.rank == 1) on_finalize(stand_still_there);
      throw LaunchError{"no rank can compute"};
    };
    std::swap(options.output_dir, options.run_directory);
  }
  return run_guarded(environment, screen,
                     [&] { return run_scenario(scenario, options, screen, environment); });
}
