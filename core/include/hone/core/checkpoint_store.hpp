#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hone/core/dtype.hpp"

namespace hone {

/// A named tensor, in host memory but where `fetch` says otherwise, row-major and contiguous, or a run of its elements; the bytes
/// belong to the caller. Names are paths such as "model/model.embed_tokens.weight" or
/// "exp_avg/transformer.wte.weight".
struct TensorBytes {
  std::string name;
  DType dtype = DType::Float32;
  std::vector<std::int64_t> shape;  ///< of the whole tensor
  std::span<std::byte> bytes;
  std::int64_t first = 0;  ///< element of the tensor that `bytes` begin with
  bool is_dealt = false;   ///< this rank alone has them: others have other parts, or none
  /// To save what is in a device's memory: `bytes` has no address then, and this brings them.
  std::function<void(std::span<std::byte> to)> fetch{};

  std::int64_t num_elements() const;  ///< of the whole tensor
  /// Whether these are not all of the tensor's bytes.
  bool is_piece() const;
};

/// What a checkpoint holds: tensors that every rank has alike, pieces of tensors that one rank has
/// (together they make whole ones), and a small JSON text of counters, keys and positions (equal on
/// all ranks).
struct CheckpointContent {
  std::int64_t step = 0;  ///< optimizer updates applied so far; names the folder checkpoint-<step>
  std::vector<TensorBytes> tensors;
  std::string state_json;
  /// Called on rank 0 with the temporary folder before it is published, to add the files that other
  /// programs read (config.json, tokenizer.json, trainer_state.json ...). May be empty.
  std::function<void(const std::filesystem::path&)> add_files;
  /// Updates behind the best model so far: a checkpoint of then stays whatever the retention.
  std::optional<std::int64_t> best_step = std::nullopt;
};

/// Where training state survives.
///
/// Collective: every method but prepare_saves() and save_is_settled(); all ranks pass the same
/// arguments and get the same answers.
/// Throws: CheckpointError on every rank alike.
class CheckpointStore {
 public:
  virtual ~CheckpointStore() = default;

  /// Writes checkpoint-<step> aside, syncs, publishes it by rename, then applies retention.
  /// On failure the temporary folder is removed and every older checkpoint is untouched. Returns
  /// the folder, which survives a power cut from then on.
  virtual std::filesystem::path save(const CheckpointContent& content) = 0;

  /// That a checkpoint has room for all that the ranks have: a run is told before it trains. Throws:
  /// CheckpointError, Usage, with what to do.
  virtual void require_room(std::span<const TensorBytes> tensors);
  /// Room for the copies of start_save(), so that the first one has no pages to make.
  virtual void prepare_saves(std::span<const TensorBytes> tensors);
  /// save() behind the caller's back: copies this rank's share and returns; an own thread writes.
  /// finish_save() must come before any other call but save_is_settled(). A store that does not
  /// say otherwise writes nothing behind: it saves here.
  virtual void start_save(const CheckpointContent& content);
  /// Whether finish_save() has something to say: on rank 0 the checkpoint is published, or this
  /// rank's part of it has failed. False without a save. Not collective: agree on it, the largest
  /// of all ranks.
  virtual bool save_is_settled() const;
  /// Waits for the save that was started. Returns and throws as save().
  virtual std::filesystem::path finish_save();

  /// Loads a checkpoint, by load_state() and load_tensors().
  using Load = std::function<void(const std::filesystem::path& checkpoint)>;

  /// Calls `load` for the newest checkpoint whose manifest and files fit together. Where any byte of
  /// it proves to be bad, in loading or in what was not loaded, it is refused by name (a warning) and
  /// `load` is called for the next older one, so that nothing is read twice. Returns false where
  /// there is no checkpoint; throws where all that exist are bad, rather than starting afresh, and
  /// what `load` throws of other kinds, or where tensors do not fit what is trained.
  virtual bool load_newest(const Load& load) = 0;

  /// Calls `load` for this one alone. Throws where any byte of it is bad, in loading or in what was
  /// not loaded: what was loaded is then not to be used. A store that does not say otherwise looks
  /// at no more than is loaded.
  virtual void load_verified(const std::filesystem::path& checkpoint, const Load& load);

  /// The state text of one checkpoint.
  virtual std::string load_state(const std::filesystem::path& checkpoint) = 0;

  /// Fills the callers' buffers by name; each rank may ask for other pieces. Throws where a name is
  /// missing, a shape or dtype differs or a digest does not match; buffers are then unspecified.
  virtual void load_tensors(const std::filesystem::path& checkpoint,
                            std::span<const TensorBytes> tensors) = 0;

  /// After loading: the run goes on from `checkpoint`. What its folder has of later steps now, bad or
  /// of a branch that is left by that, is moved aside with a warning once the next save is there, so
  /// that no later start takes it for this run's. Nothing where `checkpoint` is not in this store's
  /// folder.
  virtual void go_on_from(const std::filesystem::path& checkpoint) = 0;

 private:
  std::optional<std::filesystem::path> saved_;  ///< of start_save() as it is here
};

}  // namespace hone
