#pragma once

#include <filesystem>
#include <memory>

#include "hone/core/tokenizer.hpp"

namespace hone {

/// The tokenizer of a Hugging Face folder.
///
/// Reads tokenizer.json and, where they are, tokenizer_config.json, special_tokens_map.json and
/// chat_template.jinja (else `chat_template` of tokenizer_config.json, a text or a list in which
/// the entry named "default" counts). Ids of bos, eos and pad come from the tokens that
/// tokenizer_config.json names, else from generation_config.json or config.json (the first, where
/// they list several). Whether ids get a BOS or EOS is tokenizer.json's to say (`add_bos_token` of
/// the configuration is ignored); truncation and padding that it may hold are not applied.
///
/// A template that does not compile is reported by apply_chat_template, not here: the model still
/// serves for plain texts. Ids beyond the vocabulary decode to nothing; negative ones throw.
///
/// Source: transformers' `PreTrainedTokenizerFast`, chat templates as in `apply_chat_template`.
/// Throws: MissingInputError where the folder or tokenizer.json is missing, InputError naming file
/// and reason where one is malformed; encode throws InputError where the text is not UTF-8.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace hone
