#pragma once

#include <cstdint>
#include <span>

#include "hone/core/communicator.hpp"
#include "hone/core/data/jsonl.hpp"
#include "hone/launcher/training_job.hpp"

namespace hone::launcher {

/// Finds prompts that the model cannot complete before any is drawn: those without tokens, and
/// those that with `max_new_tokens` are beyond its positions. Collective: all ranks pass the same
/// rows and share the work.
/// Throws: InputError that names file:line, on every rank alike.
void require_room(Communicator& comm, const LoadedModel& loaded, std::span<const PromptRow> rows,
                  std::int64_t max_new_tokens);

}  // namespace hone::launcher
