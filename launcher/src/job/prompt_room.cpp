#include "job/prompt_room.hpp"

#include "hone/core/data/encoding.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

/// Special tokens and the space that some tokenizers add by themselves, generously.
constexpr std::int64_t kAddedTokens = 8;

void require_room(const LoadedModel& loaded, const PromptRow& row, std::int64_t max_new_tokens) {
  const auto& shape = loaded.model->shape();
  const auto room = shape.max_positions - max_new_tokens;
  const auto bytes = static_cast<std::int64_t>(render_prompt(*loaded.tokenizer, row.prompt).size());
  // A token stands for a byte at least: short texts, nearly all, need not be tokenized.
  if (bytes > 0 && (shape.is_encoder_decoder || bytes + kAddedTokens <= room)) return;
  const auto tokens =
      static_cast<std::int64_t>(encode_prompt(*loaded.tokenizer, row.prompt).size());
  if (tokens == 0) throw InputError{row.where + ": the prompt has no tokens"};
  // T5's positions are relative: there is no last one.
  if (shape.is_encoder_decoder || tokens <= room) return;
  throw InputError{row.where + ": the prompt has " + std::to_string(tokens) +
                   " tokens; with max_new_tokens " + std::to_string(max_new_tokens) +
                   " that is beyond the model's " + std::to_string(shape.max_positions) +
                   " positions. Shorten it or lower max_new_tokens"};
}

}  // namespace

void require_room(Communicator& comm, const LoadedModel& loaded, std::span<const PromptRow> rows,
                  std::int64_t max_new_tokens) {
  const auto stride = static_cast<std::size_t>(comm.size());
  run_agreed(comm, [&] {
    for (auto i = static_cast<std::size_t>(comm.rank()); i < rows.size(); i += stride) {
      require_room(loaded, rows[i], max_new_tokens);
    }
  });
}

}  // namespace hone::launcher
