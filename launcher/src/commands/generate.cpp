#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "hone/core/data/encoding.hpp"
#include "hone/core/data/jsonl.hpp"
#include "hone/core/error.hpp"
#include "hone/core/files/published_file.hpp"
#include "hone/core/generation/generator.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/training_job.hpp"
#include "job/equal_options.hpp"
#include "job/prompt_room.hpp"

namespace hone::launcher {
namespace {

struct GenerateOptions {
  ModelOptions model;
  GenerationOptions generation;
  std::filesystem::path prompts_file, output_file;
  std::int64_t seed = 42;

  void bind(OptionRegistry& registry) {
    registry.add_config_option();
    model.bind(registry);
    auto files = registry.group("Files");
    files.add("prompts_file", &prompts_file, "JSON lines with \"prompt\": text or messages.")
        .required();
    files.add("output_file", &output_file,
              "JSON lines, one a completion; empty: standard output. A file is replaced when all are "
              "there.");
    register_generation_options(registry, generation);
    registry.group("Run").add("seed", &seed, "Keys what is sampled.", non_negative());
  }
};

std::string json_line(const hone::Completion& completion, const std::string& prompt) {
  const nlohmann::ordered_json json{{"prompt_index", completion.prompt_index},
                                    {"k", completion.k},
                                    {"prompt", prompt},
                                    {"completion", completion.text},
                                    {"completion_ids", completion.ids},
                                    {"log_probs", completion.log_probs},
                                    {"finish_reason", name_of(completion.finish_reason)}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

/// Where the lines go: standard output, a file that takes its name only when complete, or what
/// stands there already that is no plain file (/dev/null, a pipe). Nothing on ranks that do not
/// write.
class Output {
 public:
  /// Opened before any work is done for it. Collective.
  Output(Session& session, const std::filesystem::path& path) : session_(session), path_(path) {
    run_agreed(session.communicator(), [&] {
      if (session.is_root() && !path.empty()) open();
    });
  }

  void write(std::string_view text) {
    if (path_.empty()) return session_.screen().print(std::string{text});
    if (special_.is_open()) {
      if (const int reason = write_all(special_.get(), text)) {
        throw file_error(path_, "writing", reason);
      }
      return;
    }
    file_->write(text);
    file_->finish();
    file_->publish();
  }

 private:
  void open() {
    namespace fs = std::filesystem;
    std::error_code error;
    const auto status = fs::status(path_, error);
    if (fs::is_directory(status)) {
      throw ConfigError{"output_file " + path_.string() + " is a folder; name a file in it"};
    }
    if (!fs::exists(status) || fs::is_regular_file(status)) {
      file_.emplace(fs::weakly_canonical(path_));  // a link stays one, and its file is replaced
      return;
    }
    special_ = FileDescriptor{::open(path_.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!special_.is_open()) throw file_error(path_, "opening", errno);
  }

  Session& session_;
  std::filesystem::path path_;
  std::optional<PublishedFile> file_;
  FileDescriptor special_;
};

/// Prompts go to ranks by length; what they made comes back in the prompts' order.
class Generation {
 public:
  Generation(Session& session, const GenerateOptions& options)
      : session_(session),
        options_(options),
        output_(session, options.output_file),
        rows_(read()),
        loaded_(load_for_session(session, options.model.folder({}),
                                 options.model.load_options())) {}

  int run() {
    auto& comm = session_.communicator();
    require_room(comm, loaded_, rows_, options_.generation.max_new_tokens);
    run_agreed(comm, [&] { encode(); });
    const auto seed = static_cast<std::uint64_t>(options_.seed);
    std::string lines;
    for (const auto& completion :
         generate_share(*loaded_.model, comm, Sharding::of_ranks(comm), loaded_.tokenizer.get(),
                        prompts_, options_.generation, seed, 0)) {
      lines += json_line(completion, texts_[static_cast<std::size_t>(completion.prompt_index)]);
    }
    const auto all = all_gather_strings(session_.communicator(), lines);
    run_agreed(session_.communicator(), [&] {
      if (session_.is_root()) write(all);
    });
    return static_cast<int>(ExitCode::Success);
  }

 private:
  /// Before the model is loaded: a file that is not there costs no time.
  std::vector<PromptRow> read() const {
    std::vector<PromptRow> rows;
    run_agreed(session_.communicator(), [&] { rows = read_prompts(options_.prompts_file); });
    return rows;
  }

  void encode() {
    for (const auto& row : rows_) {
      texts_.push_back(render_prompt(*loaded_.tokenizer, row.prompt));
      prompts_.push_back({encode_prompt(*loaded_.tokenizer, row.prompt),
                          static_cast<std::int64_t>(prompts_.size())});
    }
  }

  void write(const std::vector<std::string>& parts) {
    std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, std::string>> lines;
    for (const auto& part : parts) {
      for (std::size_t begin = 0; begin < part.size();) {
        const auto end = part.find('\n', begin) + 1;
        auto line = part.substr(begin, end - begin);
        const auto json = nlohmann::json::parse(line);
        lines.push_back({{json.at("prompt_index"), json.at("k")}, std::move(line)});
        begin = end;
      }
    }
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const auto& [key, line] : lines) text += line;
    output_.write(text);
  }

  Session& session_;
  const GenerateOptions& options_;
  Output output_;
  std::vector<PromptRow> rows_;
  LoadedModel loaded_;
  std::vector<std::string> texts_;
  std::vector<PromptTokens> prompts_;
};

}  // namespace

int run_generate(const CommandContext& context, Arguments arguments) {
  GenerateOptions options;
  OptionRegistry registry{"hone generate", "Completes a file of prompts."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  options.generation.validate();
  Session session{options.model.session_options(/*watch_signals=*/false), context.environment,
                  context.screen};
  return session.run([&] {
    require_equal_options(session.communicator(), registry.dump_yaml());
    return Generation{session, options}.run();
  });
}

}  // namespace hone::launcher
