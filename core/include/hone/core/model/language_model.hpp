#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hone/core/model/attention.hpp"
#include "hone/core/model/dropout.hpp"
#include "hone/core/model/parameter_store.hpp"
#include "hone/core/training/memory_plan.hpp"

namespace hone {

/// What everybody outside a model needs to know of it.
struct ModelShape {
  std::string model_type;  ///< as in config.json: "llama", "gpt2", "t5"
  bool is_encoder_decoder = false;  ///< the counts below are then the decoder's
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 0;
  bool has_position_table = false;  ///< there is no position beyond max_positions, as in GPT-2
  std::optional<std::int64_t> bos_id;
  std::optional<std::int64_t> pad_id;
  std::vector<std::int64_t> eos_ids;  ///< generation_config.json wins over config.json
  std::int64_t decoder_start_id = 0;  ///< what a decoder's text begins with; of encoder-decoders only
};

/// Tensors by name that a collator adds, one entry a token. Shape: each (N, ...).
using ExtraTensors = std::map<std::string, at::Tensor>;

/// What a model reads: tokens that lie one behind another.
struct TokenInput {
  at::Tensor ids;                    ///< (N) int64
  at::Tensor positions;              ///< (N) int64
  const Dropout* dropout = nullptr;  ///< in training; must outlive the backward pass. Null: none
  ExtraTensors extra = {};           ///< for models that look for them; hone's own do not
};

/// A language model: parameters, and a forward over tokens without padding.
/// Thread-safety: one model per thread.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual const ModelShape& shape() const = 0;
  virtual ParameterStore& parameters() = 0;

  /// Generation calls this in c10::InferenceMode: a tensor that is made then must not be kept for
  /// training. Hidden states after the last norm; of an encoder-decoder the decoder's, for which
  /// `attention` has what encode() returned. Shape: returns (N, hidden).
  virtual at::Tensor forward(const TokenInput& tokens, Attention& attention) = 0;

  /// What the decoder sees of source texts that lie one behind another.
  /// Throws: std::logic_error for a model without an encoder.
  virtual EncodedSource encode(const TokenInput& source, std::span<const std::int64_t> lengths);

  /// Logits are hidden states times its transpose; the embedding itself where the head is tied.
  /// Shape: (vocab, hidden).
  virtual const at::Tensor& output_weight() = 0;

  /// Trade time for memory: blocks keep their inputs only, and the backward pass computes them
  /// again.
  void set_gradient_checkpointing(bool wanted) { gradient_checkpointing_ = wanted; }

  /// Whether config.json asks for dropout: training then passes TokenInput::dropout.
  virtual bool has_dropout() const { return false; }

  /// What training holds of each of its stacks of blocks, for sequences (and sources) of `length`
  /// tokens: the other side of forward(), for plan_memory(). Throws: std::logic_error for a model
  /// that does not say.
  virtual std::vector<BlockStack> stacks(std::int64_t length, bool on_gpu = false) const;

 protected:
  /// block(x), kept or computed again as was asked.
  at::Tensor run_block(const at::Tensor& x,
                       std::function<at::Tensor(const at::Tensor&)> block) const;

 private:
  bool gradient_checkpointing_ = false;
};

struct LoadOptions {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  /// To be trained in a type narrower than float32: the folder's values are kept in float32 beside
  /// it.
  bool with_masters = false;
};

/// Reads a Hugging Face folder: config.json chooses the family, safetensors (one file or shards)
/// fill the parameters, cast to `dtype`.
/// Throws: MissingInputError, InputError (unknown model_type, missing, unknown or misshapen
/// tensors: all are listed).
std::unique_ptr<LanguageModel> load_model(const std::filesystem::path& folder,
                                          const LoadOptions& options = {});

/// The architecture of a folder's config.json with all parameters zero: what a checkpoint fills.
std::unique_ptr<LanguageModel> build_model(const std::filesystem::path& folder,
                                           const LoadOptions& options = {});

/// The architecture alone, without any memory: a model on the meta device, to be asked for sizes.
/// Needs nothing but config.json. Throws: as load_model().
std::unique_ptr<LanguageModel> outline_model(const std::filesystem::path& folder,
                                             at::ScalarType dtype = at::kFloat);

/// What plan_memory() wants to know of a model that is trained on sequences of `length` tokens.
ModelSizes sizes_of(LanguageModel& model, std::int64_t length, bool on_gpu = false);

struct SaveOptions {
  std::optional<at::ScalarType> dtype{};          ///< none: as trained, the masters where there are some
  std::int64_t max_shard_bytes = 5'000'000'000;  ///< a larger model is written in several files
};

/// Writes model.safetensors (or shards), and copies config.json, generation_config.json and tokenizer
/// files from `source_folder`, so that transformers and load_model() read `folder`. Aliases of tied
/// weights are not written.
void save_model(LanguageModel& model, const std::filesystem::path& source_folder,
                const std::filesystem::path& folder, const SaveOptions& options = {});

/// Copies the small files that make a Hugging Face folder complete (all but the weights, which are
/// to have `dtype`; none: as trained). Where the model has a head of its own although config.json
/// ties it, the copy says so.
void copy_model_files(LanguageModel& model, const std::filesystem::path& source_folder,
                      const std::filesystem::path& folder,
                      std::optional<at::ScalarType> dtype = {});

/// What copy_model_files() would copy of `source_folder` that is not as it was when `copy` was made, in
/// words; empty where all is.
std::vector<std::string> changed_model_files(const std::filesystem::path& source_folder,
                                             const std::filesystem::path& copy);

}  // namespace hone
