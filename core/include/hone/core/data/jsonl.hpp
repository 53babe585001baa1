#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "hone/core/data/line_reader.hpp"
#include "hone/core/tokenizer.hpp"

namespace hone {

/// Plain text, or the turns of a conversation that the chat template makes text of.
using TextOrMessages = std::variant<std::string, std::vector<ChatMessage>>;

/// {"text": "..."}: every token is a target.
struct TextRow {
  std::string text;
};

/// {"prompt": ..., "completion": ...}: both strings or both message lists.
struct CompletionRow {
  TextOrMessages prompt;
  TextOrMessages completion;
};

/// {"messages": [{"role": "user", "content": "..."}, ...]}, at least one.
struct MessagesRow {
  std::vector<ChatMessage> messages;
};

/// {"input_ids": [...], "attention_mask"?: [...], "labels"?: [...]}: ids in [0, 2^31), as many mask
/// entries of 0 or 1, labels an id or -100 (no target).
struct TokensRow {
  std::vector<std::int64_t> input_ids;
  std::optional<std::vector<std::int64_t>> attention_mask;
  std::optional<std::vector<std::int64_t>> labels;
};

using DataRow = std::variant<TextRow, CompletionRow, MessagesRow, TokensRow>;

/// One sample of a training file. Any form may have a "weight" beside its own keys: a number >= 0.
struct TrainingRow {
  DataRow data;
  double weight = 1.0;
  std::string where;  ///< "train.jsonl:12", for messages about it
};

/// One prompt to complete.
struct PromptRow {
  TextOrMessages prompt;
  std::string json;   ///< the whole line, for rewards that need its other fields
  std::string where;  ///< "train.jsonl:12", for messages about it
};

/// Reads training data: one JSON object a line, the same form in the whole file, blank lines
/// skipped. Keys beyond the form's own and "weight" are ignored, except beside input_ids, where a
/// misspelt "labels" would silently train something else.
/// Throws: MissingInputError; InputError that names file:line, the keys expected and those found,
/// for anything else, an empty file included.
std::vector<TrainingRow> read_training_rows(const std::filesystem::path& path, LineLimits limits = {});

/// Reads prompts: {"prompt": "..." or [{role, content}, ...], and anything else}. Throws: as above.
std::vector<PromptRow> read_prompts(const std::filesystem::path& path, LineLimits limits = {});

}  // namespace hone
