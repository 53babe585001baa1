//! The Hugging Face formats for hone, behind the C ABI that `hone_hf.h` declares.
//!
//! Every function is safe to call under that header's contract: pointers are valid for their sizes,
//! handles come from this library and are freed once.
#![allow(clippy::missing_safety_doc)]

mod abi;
mod template;
mod template_json;
mod tokenizer;
mod weights;

use abi::{guard, slice, text, Buffer, Ids};
use template::ChatTemplate;
use tokenizer::LoadedTokenizer;

#[no_mangle]
pub unsafe extern "C" fn hone_hf_tokenizer_load(
    json: *const u8,
    json_size: usize,
    options: *const u8,
    options_size: usize,
    out: *mut *mut LoadedTokenizer,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        let loaded = LoadedTokenizer::load(text(json, json_size)?, text(options, options_size)?)?;
        Ok(Box::into_raw(Box::new(loaded)))
    })
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_tokenizer_free(tokenizer: *mut LoadedTokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_tokenizer_vocab_size(tokenizer: &LoadedTokenizer) -> u64 {
    tokenizer.vocab_size()
}

/// -1 where the vocabulary lacks the token.
#[no_mangle]
pub unsafe extern "C" fn hone_hf_tokenizer_id_of(
    tokenizer: &LoadedTokenizer,
    token: *const u8,
    token_size: usize,
    out: *mut i64,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        Ok(tokenizer
            .id_of(text(token, token_size)?)
            .map_or(-1, i64::from))
    })
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_tokenizer_encode(
    tokenizer: &LoadedTokenizer,
    input: *const u8,
    input_size: usize,
    add_special_tokens: bool,
    out: *mut Ids,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        Ok(tokenizer
            .encode(text(input, input_size)?, add_special_tokens)?
            .into())
    })
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_tokenizer_decode(
    tokenizer: &LoadedTokenizer,
    ids: *const u32,
    ids_size: usize,
    skip_special_tokens: bool,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        Ok(tokenizer
            .decode(slice(ids, ids_size), skip_special_tokens)?
            .into())
    })
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_template_compile(
    source: *const u8,
    source_size: usize,
    out: *mut *mut ChatTemplate,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        let template = ChatTemplate::compile(text(source, source_size)?)?;
        Ok(Box::into_raw(Box::new(template)))
    })
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_template_free(template: *mut ChatTemplate) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_template_render(
    template: &ChatTemplate,
    context: *const u8,
    context_size: usize,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        Ok(template.render(text(context, context_size)?)?.into())
    })
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_weights_read_layout(
    file: *const u8,
    file_size: usize,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        Ok(weights::read_layout(slice(file, file_size))?.into())
    })
}

#[no_mangle]
pub unsafe extern "C" fn hone_hf_weights_write_header(
    tensors: *const u8,
    tensors_size: usize,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    guard(out, error, || {
        Ok(weights::write_header(text(tensors, tensors_size)?)?.into())
    })
}
