#include <ATen/TensorOperators.h>
#include <ATen/Parallel.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>
#include <nlohmann/json.hpp>

#include "hone/collators/causal_lm_collator.hpp"
#include "hone/collators/seq2seq_collator.hpp"
#include "hone/core/data/encoding.hpp"
#include "hone/core/data/jsonl.hpp"
#include "hone/core/error.hpp"
#include "hone/core/hf/hf_tokenizer.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/distributed/thread_world.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/job_options.hpp"
#include "hone/launcher/session.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {
namespace {

struct VerifyOptions {
  ModelOptions model;
  EncodingOptions encoding;
  std::filesystem::path train_file;
  std::int64_t num_samples = 8;
  std::optional<std::int64_t> max_length;
  std::string dtype = "float32";
  bool json = false;

  void bind(OptionRegistry& registry) {
    registry.add_config_option();
    model.bind(registry);
    auto data = registry.group("Data");
    data.add("train_file", &train_file,
             "JSON lines: {text} | {prompt, completion} | {messages} | {input_ids, ...}.")
        .required();
    data.add("num_samples", &num_samples, "The file's first samples, for the one step.",
             at_least(1));
    data.add("completion_only_loss", &encoding.completion_only_loss,
             "Of a prompt and its completion, train the completion alone.");
    data.add("append_eos", &encoding.append_eos, "Add the end token to every {text}.");
    data.add("max_length", &max_length, "Tokens a sample keeps; null: the model's maximum.",
             at_least(1));
    auto check = registry.group("Check");
    check.add_choice("dtype", &dtype, "Computed in; float64 shows that what differs is rounding.",
                     {"float32", "float64", "bfloat16"});
    check.add("json", &json, "JSON to standard output.");
  }
};

enum class Layout { Packed, PaddedRight, PaddedLeft };

/// One way of computing the same step.
struct Split {
  int ranks = 1;
  std::int64_t rows_at_once = 0;  ///< 0: all
  Layout layout = Layout::Packed;
};

std::string name_of(const Split& split) {
  std::string name = std::to_string(split.ranks) + (split.ranks == 1 ? " rank, " : " ranks, ");
  name += split.rows_at_once == 0 ? "all at once" : std::to_string(split.rows_at_once) + " at once";
  switch (split.layout) {
    case Layout::Packed: return name + ", packed";
    case Layout::PaddedRight: return name + ", padded right";
    case Layout::PaddedLeft: return name + ", padded left";
  }
  return name;
}

/// The same samples with padding that only the mask tells from tokens. Targets of an
/// encoder-decoder have no mask, and are padded at their end only.
Batch laid_out(const Batch& samples, Layout layout, bool is_encoder_decoder) {
  if (layout == Layout::Packed) return samples;
  const auto pad = [&](std::vector<TokenIds>& lists, std::optional<std::int64_t> value) {
    std::size_t width = 0;
    for (const auto& list : lists) width = std::max(width, list.size());
    const bool is_target = is_encoder_decoder && value == kIgnoredLabel;
    for (auto& list : lists) {
      const bool in_front = layout == Layout::PaddedLeft && !is_target;
      const auto where = in_front ? list.begin() : list.end();
      list.insert(where, width - list.size(), value.value_or(list.back()));
    }
  };
  Batch padded = samples;
  pad(padded.input_ids, std::nullopt);
  pad(padded.labels, kIgnoredLabel);
  pad(padded.attention_mask, 0);
  return padded;
}

/// What one step computed, on rank 0.
struct Outcome {
  double loss = 0.0, grad_norm = 0.0;
  std::int64_t num_tokens = 0;  ///< targets
  std::vector<at::Tensor> gradients;
};

double relative(double got, double expected) {
  return std::abs(got - expected) / std::max(std::abs(expected), 1e-300);
}

/// The largest relative L2 distance of a tensor's gradient. One that is nothing but rounding (below
/// a millionth of the whole) is not compared.
double distance(const Outcome& got, const Outcome& expected) {
  double largest = 0.0;
  for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
    const auto norm = at::linalg_vector_norm(expected.gradients[i]).item<double>();
    if (norm < 1e-6 * expected.grad_norm) continue;
    const auto off =
        at::linalg_vector_norm(got.gradients[i].to(at::kDouble) - expected.gradients[i].to(at::kDouble))
            .item<double>();
    largest = std::max(largest, off / norm);
  }
  return largest;
}

/// Of loss, gradient norm and gradients, relative.
using Differences = std::array<double, 3>;

Differences differences(const Outcome& got, const Outcome& expected) {
  return {relative(got.loss, expected.loss), relative(got.grad_norm, expected.grad_norm),
          distance(got, expected)};
}

class Verification {
 public:
  Verification(Session& session, const VerifyOptions& options)
      : session_(session),
        options_(options),
        dtype_(options.dtype == "float64"    ? at::kDouble
               : options.dtype == "bfloat16" ? at::kBFloat16
                                             : at::kFloat),
        folder_(options.model.folder({})) {
    choose_matmul_library(session.communicator());
    run_agreed(session.communicator(), [&] { read_samples(); });
  }

  int run() {
    const auto reference = on_one_rank({});
    if (reference.num_tokens == 0) {
      throw InputError{options_.train_file.string() +
                       ": none of the samples has a token to train on, so nothing can be compared"};
    }
    measure_rounding(reference);
    add(name_of(Split{}), reference, reference);
    for (const auto& split : splits()) add(name_of(split), compute(split), reference);
    session_.screen().print(options_.json ? results_.dump(2) + '\n' : table());
    return all_within_ ? 0 : static_cast<int>(ExitCode::Internal);
  }

 private:
  /// What the type itself is off by: a model that amplifies rounding does so for every split.
  void measure_rounding(const Outcome& reference) {
    if (dtype_ == at::kDouble) return;
    const auto asked = std::exchange(dtype_, at::kDouble);
    const auto exact = on_one_rank({});
    dtype_ = asked;
    rounding_ = differences(reference, exact);
    tolerance_ = {std::max(1e-6, 2 * rounding_[0]), std::max(1e-6, 2 * rounding_[1]),
                  std::max(1e-5, 2 * rounding_[2])};
  }

  void read_samples() {
    auto rows = read_training_rows(options_.train_file);
    const auto count = std::min(rows.size(), static_cast<std::size_t>(options_.num_samples));
    auto encoding = options_.encoding;
    const auto shape = build_model(folder_)->shape();
    encoding.is_encoder_decoder = shape.is_encoder_decoder;
    encoding.vocab_size = shape.vocab_size;
    samples_ = encode_rows(*load_tokenizer(folder_), std::span{rows}.first(count), encoding);
  }

  /// Alone: ranks as threads of this process. Under mpirun: the ranks that there are.
  std::vector<Split> splits() const {
    const std::vector<int> counts =
        session_.size() > 1 ? std::vector<int>{session_.size()} : std::vector<int>{1, 2, 3, 4};
    std::vector<Split> all;
    for (const int count : counts) {
      for (const std::int64_t rows : {1, 2, 0}) {
        if (count == 1 && rows == 0) continue;  // the reference
        all.push_back({count, rows, Layout::Packed});
      }
      all.push_back({count, 2, Layout::PaddedRight});
      all.push_back({count, 2, Layout::PaddedLeft});
    }
    return all;
  }

  Outcome compute(const Split& split) {
    if (split.ranks == 1) return on_one_rank(split);
    if (session_.size() > 1) return on_rank(session_.communicator(), split);
    Outcome outcome;
    distributed::ThreadWorld{split.ranks}.run([&](Communicator& comm) {
      at::init_num_threads();
      auto mine = on_rank(comm, split);
      if (comm.rank() == 0) outcome = std::move(mine);
    });
    return outcome;
  }

  Outcome on_one_rank(const Split& split) {
    distributed::LoopbackCommunicator alone;
    return on_rank(alone, split);
  }

  /// One update at learning rate zero of a freshly loaded model.
  Outcome on_rank(Communicator& comm, const Split& split) {
    const auto model = load_model(folder_, {.dtype = dtype_, .with_masters = true});
    distributed::AllReduceGradientReducer reducer{comm};
    const collators::PackingCollator packing;
    const collators::Seq2SeqCollator padded_pairs{/*pad_id=*/0};
    const collators::PaddingCollator padded{/*pad_id=*/0, /*pad_to_multiple_of=*/8};
    const Collator* padding = &padded;
    if (model->shape().is_encoder_decoder) padding = &padded_pairs;
    const Collator& collator = split.layout == Layout::Packed ? packing : *padding;
    NullLogger log;
    const auto count = static_cast<std::int64_t>(samples_.input_ids.size());
    Trainer trainer{{.model = *model,
                     .communicator = comm,
                     .reducer = reducer,
                     .collator = collator,
                     .log = log,
                     .optimizer = nullptr,
                     .model_folder = {}},
                    {.max_length = options_.max_length,
                     .per_device_train_batch_size = split.rows_at_once == 0 ? count : split.rows_at_once,
                     .updates_per_step = "one",
                     .learning_rate = 0.0,
                     .max_grad_norm = 0.0,
                     .optim = "sgd"}};
    const auto stats = trainer.step(laid_out(samples_, split.layout, model->shape().is_encoder_decoder));
    Outcome outcome{.loss = stats.loss,
                    .grad_norm = stats.grad_norm,
                    .num_tokens = stats.num_tokens,
                    .gradients = {}};
    for (const auto& parameter : model->parameters().all()) {
      outcome.gradients.push_back(parameter.value.grad().detach().clone());
    }
    return outcome;
  }

  void add(const std::string& name, const Outcome& got, const Outcome& reference) {
    const auto off = differences(got, reference);
    const bool within =
        off[0] <= tolerance_[0] && off[1] <= tolerance_[1] && off[2] <= tolerance_[2];
    all_within_ = all_within_ && within;
    results_.push_back({{"split", name},
                        {"loss", got.loss},
                        {"grad_norm", got.grad_norm},
                        {"loss_difference", off[0]},
                        {"grad_norm_difference", off[1]},
                        {"gradient_difference", off[2]},
                        {"within_tolerance", within}});
  }

  std::string table() const {
    std::string text = std::to_string(samples_.input_ids.size()) + " samples, " + options_.dtype +
                       ", one update; differences are relative to the first line\n";
    char buffer[256];
    if (dtype_ != at::kDouble) {
      std::snprintf(buffer, sizeof buffer,
                    "%s itself is off float64 by %.1e in loss, %.1e in grad_norm, %.1e in gradients\n",
                    options_.dtype.c_str(), rounding_[0], rounding_[1], rounding_[2]);
      text += buffer;
    }
    for (const auto& line : results_) {
      std::snprintf(buffer, sizeof buffer,
                    "%-32s loss %.8f  grad_norm %.8f  off by %.1e %.1e, gradients %.1e%s\n",
                    line["split"].get<std::string>().c_str(), line["loss"].get<double>(),
                    line["grad_norm"].get<double>(), line["loss_difference"].get<double>(),
                    line["grad_norm_difference"].get<double>(),
                    line["gradient_difference"].get<double>(),
                    line["within_tolerance"].get<bool>() ? "" : "  TOO FAR");
      text += buffer;
    }
    return text + (all_within_ ? "the step does not depend on how it is split\n"
                               : "the step depends on how it is split: please report this\n");
  }

  Session& session_;
  const VerifyOptions& options_;
  at::ScalarType dtype_;
  std::filesystem::path folder_;
  Batch samples_;
  nlohmann::ordered_json results_ = nlohmann::ordered_json::array();
  Differences rounding_{}, tolerance_{1e-9, 1e-9, 1e-9};
  bool all_within_ = true;
};

}  // namespace

int run_verify(const CommandContext& context, Arguments arguments) {
  VerifyOptions options;
  OptionRegistry registry{"hone verify",
                          "Shows on your model and data that a step does not depend on ranks, "
                          "micro-batches and padding."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  if (options.model.bf16) options.dtype = "bfloat16";
  Session session{options.model.session_options(/*watch_signals=*/false), context.environment,
                  context.screen};
  return session.run([&] { return Verification{session, options}.run(); });
}

}  // namespace hone::launcher
