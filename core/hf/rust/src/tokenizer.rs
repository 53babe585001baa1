//! tokenizer.json as transformers loads it: the file itself, then what tokenizer_config.json adds.
//! Source: transformers' `TokenizersBackend.__init__` and `_decode`.

use std::panic::catch_unwind;

use serde::Deserialize;
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedToken, Tokenizer};

use crate::abi::last_panic;

/// What the other files of the folder say; C++ reads them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `added_tokens_decoder` of tokenizer_config.json, in id order.
    added_tokens: Vec<AddedToken>,
    /// Named and extra special tokens.
    special_tokens: Vec<String>,
    split_special_tokens: bool,
    clean_up_tokenization_spaces: bool,
}

pub struct LoadedTokenizer {
    tokenizer: Tokenizer,
    clean_up: bool,
    vocab_size: u64,
}

impl LoadedTokenizer {
    pub fn load(json: &str, options: &str) -> Result<Self, String> {
        let mut tokenizer = parse(json)?;
        let options: Options = serde_json::from_str(options).map_err(|error| error.to_string())?;

        // A call decides about length and padding, not the state the file was saved in.
        tokenizer.with_truncation(None).map_err(describe)?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(options.split_special_tokens);
        add_tokens(&mut tokenizer, options.added_tokens, options.special_tokens)?;

        // The clean-up is for word pieces: on BPE it would eat spaces that the text really has.
        let is_bpe = matches!(tokenizer.get_model(), ModelWrapper::BPE(_));
        let highest = tokenizer.get_vocab(true).into_values().max();
        Ok(Self {
            tokenizer,
            clean_up: options.clean_up_tokenization_spaces && !is_bpe,
            vocab_size: highest.map_or(0, |id| u64::from(id) + 1),
        })
    }

    pub fn vocab_size(&self) -> u64 {
        self.vocab_size
    }

    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, String> {
        let encoding = self
            .tokenizer
            .encode_fast(text, add_special_tokens)
            .map_err(describe)?;
        Ok(encoding.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, String> {
        let text = self
            .tokenizer
            .decode(ids, skip_special_tokens)
            .map_err(describe)?;
        Ok(if self.clean_up { clean_up(&text) } else { text })
    }
}

/// The crate panics on some files, as on one that is nested too deep: that is the file's fault.
fn parse(json: &str) -> Result<Tokenizer, String> {
    match catch_unwind(|| json.parse()) {
        Ok(parsed) => parsed.map_err(describe),
        Err(_) => Err(last_panic()),
    }
}

fn describe(error: tokenizers::Error) -> String {
    error.to_string()
}

/// Tokens that the configuration names and tokenizer.json lacks still have to exist.
fn add_tokens(
    tokenizer: &mut Tokenizer,
    added: Vec<AddedToken>,
    special: Vec<String>,
) -> Result<(), String> {
    tokenizer.add_tokens(added).map_err(describe)?;
    let known = tokenizer.get_added_tokens_decoder();
    let missing: Vec<AddedToken> = special
        .into_iter()
        .filter(|content| known.values().all(|token| token.content != *content))
        .map(|content| AddedToken::from(content, true))
        .collect();
    tokenizer.add_tokens(missing).map_err(describe)?;
    Ok(())
}

/// Source: transformers' `clean_up_tokenization`.
fn clean_up(text: &str) -> String {
    const REPLACEMENTS: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    REPLACEMENTS
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
