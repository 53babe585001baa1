// A program with a Session that ends in the way its first argument names; processes_test runs it.

#include <unistd.h>

#include <csignal>
#include <iostream>
#include <map>
#include <new>
#include <string>

#include "hone/core/error.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/failure.hpp"
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
      {"alone", alone},   {"memory", memory}, {"warn", warn}};
  Session session{options, environment, screen};
  return session.run([&] { return scenarios.at(name)(session); });
}

}  // namespace

int main(int argc, char** argv) {
  const LaunchEnvironment environment = LaunchEnvironment::read();
  Screen screen{inspect_terminal(STDOUT_FILENO, environment.no_color), std::cout, std::cerr};
  SessionOptions options{.output_dir = argc > 2 ? argv[2] : ""};
  if (argc > 3) options.ddp_backend = argv[3];
  try {
    return run_scenario(argv[1], options, screen, environment);
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception());
    if (environment.rank == 0) screen.print_error(error_block(failure, "", {}));
    return failure.code;
  }
}
