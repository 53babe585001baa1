#include "job/update_record.hpp"

namespace hone::launcher {

nlohmann::ordered_json update_record(const UpdateStats& update) {
  return {{"kind", "update"},
          {"step", update.step},
          {"loss", update.loss},
          {"grad_norm", update.grad_norm},
          {"learning_rate", update.learning_rate},
          {"num_samples", update.num_samples},
          {"num_tokens", update.num_tokens},
          {"input_tokens", update.input_tokens},
          {"seconds", update.seconds}};
}

}  // namespace hone::launcher
