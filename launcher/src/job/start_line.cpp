#include "job/start_line.hpp"

namespace hone::launcher {

std::string options_in_effect(const TrainerOptions& options, bool bf16, int num_ranks) {
  std::string text;
  const auto add = [&](bool is_on, const std::string& name) {
    if (is_on) text += (text.empty() ? "with   " : ", ") + name;
  };
  const bool shares = num_ranks > 1;  // one rank has all of the state and sends no gradients
  add(bf16, "bf16");
  add(options.gradient_checkpointing, "gradient_checkpointing");
  add(shares && options.optimizer_sharding != "none",
      "optimizer_sharding " + options.optimizer_sharding);
  add(shares && options.ddp_comm_hook != "no", "ddp_comm_hook " + options.ddp_comm_hook);
  add(options.full_determinism, "full_determinism");
  return text.empty() ? text : text + '\n';
}

}  // namespace hone::launcher
