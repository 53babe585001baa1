#include "hone/launcher/commands.hpp"
#include "hone/launcher/iterative_loop.hpp"
#include "job/equal_options.hpp"

namespace hone::launcher {

int run_run(const CommandContext& context, Arguments arguments) {
  LoopOptions options;
  OptionRegistry registry{"hone run",
                          "Iterative fine-tuning: generate, score, keep, train, round after round."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  options.resolve(registry.config_path());
  const auto reward = make_reward(options.reward);
  reward->start();  // before MPI: a reward program is a child process
  auto job = options.model.session_options();
  job.run_directory = options.output_dir;
  Session session{job, context.environment, context.screen};
  return session.run([&] {
    const auto yaml = registry.dump_yaml();
    require_equal_options(session.communicator(), yaml);
    return IterativeLoop{session, options, *reward, registry.config_path(), yaml}.run();
  });
}

}  // namespace hone::launcher
