#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/generation/generation_options.hpp"

namespace hone {

class Communicator;
class LanguageModel;
class Tokenizer;
struct Sharding;

/// A prompt to complete (of an encoder-decoder: a source to answer) and its number among all
/// prompts of the call (over all ranks), which keys its random numbers.
struct PromptTokens {
  std::vector<std::int64_t> ids;
  std::int64_t index = 0;
};

enum class FinishReason { Eos, Length };
std::string_view name_of(FinishReason reason);

/// One completion of one prompt.
struct Completion {
  std::int64_t prompt_index = 0;
  std::int64_t k = 0;                    ///< which of the prompt's completions, from 0
  std::vector<std::int64_t> ids;         ///< new tokens only, the end token included where it came
  std::vector<double> log_probs;         ///< of each under the model itself (unprocessed), nats
  FinishReason finish_reason = FinishReason::Length;
  std::string text;                      ///< filled where a tokenizer is at hand
};

/// Completes `prompts` on this rank's model; results by prompt, then k. No communication.
///
/// One prefill a prompt whose keys and values its samples share, sequences decode together,
/// finished ones make room for waiting prompts. The token at position t of sample (prompt, k) is
/// drawn with KeyedRandom(seed, call, prompt index, k) at t: equal logits give equal text in any
/// batch.
/// Throws: InputError for an empty prompt or one that leaves no room in the model's positions.
std::vector<Completion> generate(LanguageModel& model, std::span<const PromptTokens> prompts,
                                 const GenerationOptions& options, std::uint64_t seed,
                                 std::uint64_t call);

/// The same over ranks: all pass the same prompts and each completes its own shards, balanced by
/// tokens and each by itself; `tokenizer` (may be null) fills the texts. Collective; an error of
/// one rank is thrown on all.
std::vector<Completion> generate_share(LanguageModel& model, Communicator& comm,
                                       const Sharding& sharding, const Tokenizer* tokenizer,
                                       std::span<const PromptTokens> prompts,
                                       const GenerationOptions& options, std::uint64_t seed,
                                       std::uint64_t call);

}  // namespace hone
