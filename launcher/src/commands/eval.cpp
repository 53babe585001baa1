#include <cmath>
#include <nlohmann/json.hpp>

#include "hone/core/data/encoding.hpp"
#include "hone/core/data/jsonl.hpp"
#include "hone/core/training/evaluate.hpp"
#include "hone/core/training/row_rules.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/training_job.hpp"
#include "job/equal_options.hpp"
#include "job/evaluated_file.hpp"

namespace hone::launcher {
namespace {

struct EvalCommandOptions {
  ModelOptions model;
  EncodingOptions encoding;
  std::filesystem::path eval_file;
  std::int64_t per_device_eval_batch_size = 8;
  std::optional<std::int64_t> max_length;
  bool json = false;

  void bind(OptionRegistry& registry) {
    registry.add_config_option();
    model.bind(registry);
    auto data = registry.group("Data");
    data.add("eval_file", &eval_file,
             "JSON lines: {text} | {prompt, completion} | {messages} | {input_ids, ...}.")
        .required();
    data.add("completion_only_loss", &encoding.completion_only_loss,
             "Of a prompt and its completion, score the completion alone.");
    data.add("append_eos", &encoding.append_eos, "Add the end token to every {text}.");
    data.add("max_length", &max_length, "Tokens a sample keeps (its end); null: the model's maximum.",
             at_least(1));
    data.add("per_device_eval_batch_size", &per_device_eval_batch_size,
             "Samples that a rank evaluates at once.", at_least(1));
    registry.group("Output").add("json", &json, "JSON to standard output.");
  }
};

}  // namespace

int run_eval(const CommandContext& context, Arguments arguments) {
  EvalCommandOptions options;
  OptionRegistry registry{"hone eval", "The loss of a model on a file of samples."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  Session session{options.model.session_options(/*watch_signals=*/false), context.environment,
                  context.screen};
  return session.run([&] {
    require_equal_options(session.communicator(), registry.dump_yaml());
    const auto loaded =
        load_for_session(session, options.model.folder({}), options.model.load_options());
    const auto& shape = loaded.model->shape();
    options.encoding.is_encoder_decoder = shape.is_encoder_decoder;
    options.encoding.vocab_size = shape.vocab_size;
    Batch batch;
    run_agreed(session.communicator(), [&] {
      batch = encode_rows(*loaded.tokenizer, read_training_rows(options.eval_file),
                          options.encoding);
    });
    const collators::PackingCollator collator;
    auto& comm = session.communicator();
    auto rows = agreed_rows(comm, batch, row_rules_of(shape, options.max_length));
    const auto stats = evaluate(*loaded.model, comm, Sharding::of_ranks(comm), collator, rows,
                                options.per_device_eval_batch_size);
    require_targets(stats, options.eval_file);
    const nlohmann::ordered_json result{{"eval_loss", stats.loss},
                                        {"eval_perplexity", std::exp(stats.loss)},
                                        {"eval_samples", stats.num_samples},
                                        {"eval_tokens", stats.num_tokens},
                                        {"eval_truncated", stats.truncated},
                                        {"eval_runtime", stats.seconds}};
    std::string text = options.json ? result.dump(2) + '\n' : "";
    if (!options.json) {
      for (const auto& [key, value] : result.items()) text += key + "=" + value.dump() + '\n';
    }
    session.screen().print(text);
    return 0;
  });
}

}  // namespace hone::launcher
