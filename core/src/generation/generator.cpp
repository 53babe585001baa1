#include "hone/core/generation/generator.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <string>

#include "generation/kv_cache.hpp"
#include "hone/core/communicator.hpp"
#include "hone/core/error.hpp"
#include "hone/core/generation/sampling.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/model/layers.hpp"
#include "hone/core/tokenizer.hpp"
#include "hone/core/training/micro_batches.hpp"
#include "hone/core/training/plans.hpp"
#include "model/kernels/row_functions.hpp"

namespace hone {
namespace {

/// Separates the numbers of sampling from those of other uses of one seed.
constexpr std::uint64_t kSamplingPurpose = std::uint64_t{0x73616d70} << 32;  // "samp"

/// Decodes one call's prompts with a bounded set of rows.
class Decoder {
 public:
  Decoder(LanguageModel& model, std::span<const PromptTokens> prompts,
          const GenerationOptions& options, std::uint64_t seed, std::uint64_t call)
      : model_(model),
        prompts_(prompts),
        options_(options),
        seed_(seed),
        call_(call),
        state_{.own = {model.shape(), max_rows(), max_tokens(), model.parameters().options()},
               .source = {}} {
    completions_.resize(prompts.size() * samples());
    if (!is_encoder_decoder()) return;
    state_.source.emplace(model.shape(), max_rows(), longest_prompt(), model.parameters().options());
  }

  std::vector<Completion> run() {
    while (next_prompt_ < prompts_.size() || !rows_.empty()) {
      if (next_prompt_ < prompts_.size() && state_.own.free_rows() >= enough_free_rows()) {
        prefill();
      } else {
        decode();
      }
    }
    return std::move(completions_);
  }

 private:
  std::int64_t num_samples() const { return options_.num_return_sequences; }
  std::size_t samples() const { return static_cast<std::size_t>(num_samples()); }

  std::int64_t max_rows() const {
    const auto wanted = static_cast<std::int64_t>(prompts_.size()) * num_samples();
    return std::max(num_samples(), std::min(options_.batch_size, wanted));
  }

  /// A forward costs nearly the same for one prompt as for many, so a few places are left empty
  /// until a quarter of the rows is free.
  std::int64_t enough_free_rows() const { return std::max(num_samples(), max_rows() / 4); }

  bool is_encoder_decoder() const { return model_.shape().is_encoder_decoder; }

  std::int64_t longest_prompt() const {
    std::int64_t longest = 0;
    for (const auto& prompt : prompts_) {
      longest = std::max(longest, static_cast<std::int64_t>(prompt.ids.size()));
    }
    return longest;
  }

  /// A decoder that has an encoder begins with its start token alone.
  std::int64_t max_tokens() const {
    return (is_encoder_decoder() ? 1 : longest_prompt()) + options_.max_new_tokens;
  }

  EncodedSource encode(std::size_t first, std::size_t end) const {
    std::vector<std::int64_t> ids, lengths;
    for (auto i = first; i < end; ++i) {
      const auto& source = prompts_[i].ids;
      ids.insert(ids.end(), source.begin(), source.end());
      lengths.push_back(static_cast<std::int64_t>(source.size()));
    }
    return model_.encode({.ids = to_device(ids), .positions = {}}, lengths);
  }

  /// Runs as many waiting prompts as there are rows for, and draws the first token of each sample.
  void prefill() {
    std::vector<PrefillAttention::Prompt> places;
    std::vector<std::int64_t> ids, positions, last;
    const auto first_prompt = next_prompt_;
    const std::vector<std::int64_t> start{model_.shape().decoder_start_id};
    while (next_prompt_ < prompts_.size() && state_.own.free_rows() >= num_samples()) {
      const auto& given = prompts_[next_prompt_].ids;
      const auto& prompt = is_encoder_decoder() ? start : given;
      const auto length = static_cast<std::int64_t>(prompt.size());
      places.push_back({length, state_.own.num_rows(), num_samples()});
      for (std::size_t k = 0; k < samples(); ++k) {
        state_.own.add_row(length);
        if (state_.source) state_.source->add_row(static_cast<std::int64_t>(given.size()));
        start_row(next_prompt_, k);
        last.push_back(static_cast<std::int64_t>(ids.size()) + length - 1);
      }
      ids.insert(ids.end(), prompt.begin(), prompt.end());
      for (std::int64_t position = 0; position < length; ++position) positions.push_back(position);
      ++next_prompt_;
    }
    const auto first_new = rows_.size() - last.size();
    PrefillAttention attention{
        state_, std::move(places),
        is_encoder_decoder() ? encode(first_prompt, next_prompt_) : EncodedSource{}};
    const auto hidden =
        model_.forward({.ids = to_device(ids), .positions = to_device(positions)}, attention);
    draw(at::index_select(hidden, 0, to_device(last)), first_new);
  }

  /// Feeds every row's last token and draws its next.
  void decode() {
    std::vector<std::int64_t> ids;
    ids.reserve(rows_.size());
    for (const auto row : rows_) ids.push_back(completions_[row].ids.back());
    state_.own.grow();
    DecodeAttention attention{state_};
    draw(model_.forward({.ids = to_device(ids), .positions = attention.positions()}, attention), 0);
  }

  void start_row(std::size_t prompt, std::size_t k) {
    const auto index = prompt * samples() + k;
    completions_[index].prompt_index = prompts_[prompt].index;
    completions_[index].k = static_cast<std::int64_t>(k);
    rows_.push_back(index);
  }

  /// One token for each row from `first` on. Shape: hidden (rows, C).
  void draw(const at::Tensor& hidden, std::size_t first) {
    auto logits = linear_out_in(hidden, model_.output_weight()).to(at::kFloat).to(at::kCPU);
    const auto chosen = choose(logits, first);
    const auto losses = detail::cross_entropy_by_rows(logits, at::tensor(chosen, at::kLong),
                                                      /*smoothing=*/0.0, /*factors=*/{});
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      auto& completion = completions_[rows_[first + i]];
      completion.ids.push_back(chosen[i]);
      completion.log_probs.push_back(-losses.const_data_ptr<double>()[i]);
    }
    retire(first);
  }

  std::vector<std::int64_t> choose(const at::Tensor& logits, std::size_t first) const {
    const auto rows = logits.size(0), vocab = logits.size(1);
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(rows));
    const auto for_each_row = [&](auto work) {
      at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto row = begin; row < end; ++row) work(static_cast<std::size_t>(row));
      });
    };
    const auto row_of = [&](const at::Tensor& table, std::size_t row) {
      const auto width = static_cast<std::size_t>(vocab);
      return std::span<float>{table.mutable_data_ptr<float>() + row * width, width};
    };
    if (!options_.do_sample) {
      for_each_row([&](std::size_t row) { chosen[row] = pick_greedy(row_of(logits, row)); });
      return chosen;
    }
    const bool neutral =
        options_.temperature == 1.0 && options_.top_k == 0 && options_.top_p >= 1.0;
    const auto processed = neutral ? logits : logits.clone();
    if (!neutral) {
      for_each_row([&](std::size_t row) {
        apply_temperature(row_of(processed, row), options_.temperature);
        keep_top_k(row_of(processed, row), options_.top_k);
        keep_top_p(row_of(processed, row), options_.top_p);
      });
    }
    const auto probabilities = at::softmax(processed, 1);
    for_each_row([&](std::size_t row) {
      chosen[row] = pick(row_of(probabilities, row), uniform_for(rows_[first + row]));
    });
    return chosen;
  }

  double uniform_for(std::size_t index) const {
    const auto& completion = completions_[index];
    const KeyedRandom random{seed_, kSamplingPurpose ^ call_,
                             static_cast<std::uint64_t>(completion.prompt_index),
                             static_cast<std::uint64_t>(completion.k)};
    return random.uniform(completion.ids.size());
  }

  /// Finished sequences leave; backwards, since each removal moves the last row.
  void retire(std::size_t first) {
    for (std::size_t row = rows_.size(); row-- > first;) {
      auto& completion = completions_[rows_[row]];
      if (is_eos(completion.ids.back())) {
        completion.finish_reason = FinishReason::Eos;
      } else if (static_cast<std::int64_t>(completion.ids.size()) < options_.max_new_tokens) {
        continue;
      }
      state_.remove_row(static_cast<std::int64_t>(row));
      rows_[row] = rows_.back();
      rows_.pop_back();
    }
  }

  bool is_eos(std::int64_t id) const {
    const auto& ends = model_.shape().eos_ids;
    return std::find(ends.begin(), ends.end(), id) != ends.end();
  }

  at::Tensor to_device(const std::vector<std::int64_t>& values) const {
    return at::tensor(values, at::kLong).to(model_.parameters().options().device());
  }

  using PrefillAttention = detail::PrefillAttention;
  using DecodeAttention = detail::DecodeAttention;

  LanguageModel& model_;
  std::span<const PromptTokens> prompts_;
  const GenerationOptions& options_;
  std::uint64_t seed_, call_;
  detail::DecodingState state_;
  std::size_t next_prompt_ = 0;
  std::vector<std::size_t> rows_;  ///< which completion each cache row belongs to
  std::vector<Completion> completions_;
};

void require_room(const ModelShape& shape, std::span<const PromptTokens> prompts,
                  const GenerationOptions& options) {
  for (const auto& prompt : prompts) {
    const auto where = "prompt " + std::to_string(prompt.index);
    if (prompt.ids.empty()) throw InputError{where + " has no tokens"};
    if (shape.is_encoder_decoder) continue;  // T5's positions are relative: there is no last one
    const auto needed = static_cast<std::int64_t>(prompt.ids.size()) + options.max_new_tokens;
    if (needed > shape.max_positions) {
      throw InputError{where + " has " + std::to_string(prompt.ids.size()) +
                       " tokens; with max_new_tokens " + std::to_string(options.max_new_tokens) +
                       " that is beyond the model's " + std::to_string(shape.max_positions) +
                       " positions. Shorten it or lower max_new_tokens"};
    }
  }
}

}  // namespace

std::string_view name_of(FinishReason reason) {
  return reason == FinishReason::Eos ? "eos" : "length";
}

std::vector<Completion> generate(LanguageModel& model, std::span<const PromptTokens> prompts,
                                 const GenerationOptions& options, std::uint64_t seed,
                                 std::uint64_t call) {
  const c10::InferenceMode no_autograd;
  options.validate();
  require_room(model.shape(), prompts, options);
  if (prompts.empty()) return {};
  return Decoder{model, prompts, options, seed, call}.run();
}

std::vector<Completion> generate_share(LanguageModel& model, Communicator& comm,
                                       const Sharding& sharding, const Tokenizer* tokenizer,
                                       std::span<const PromptTokens> prompts,
                                       const GenerationOptions& options, std::uint64_t seed,
                                       std::uint64_t call) {
  std::vector<std::int64_t> lengths;
  for (const auto& prompt : prompts) {
    lengths.push_back(static_cast<std::int64_t>(prompt.ids.size()) + options.max_new_tokens);
  }
  const auto shares = balance_by_tokens(lengths, sharding.num_shards);
  std::vector<Completion> completions;
  run_agreed(comm, [&] {
    for (int shard = sharding.first; shard < sharding.first + sharding.count; ++shard) {
      std::vector<PromptTokens> share;
      for (const auto index : shares[static_cast<std::size_t>(shard)]) {
        share.push_back(prompts[static_cast<std::size_t>(index)]);
      }
      for (auto& completion : generate(model, share, options, seed, call)) {
        completions.push_back(std::move(completion));
      }
    }
    if (tokenizer == nullptr) return;
    for (auto& completion : completions) completion.text = tokenizer->decode(completion.ids);
  });
  return completions;
}

}  // namespace hone
