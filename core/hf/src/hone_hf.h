/* The C ABI of the Rust archive (core/hf/rust).
 *
 * Text is UTF-8 with its size in bytes, never NUL-terminated; a null pointer with size 0 is empty.
 * Functions that take `error` return a status: on HONE_HF_OK `out` is written, else `error` is (a
 * message), and whichever was written belongs to the caller. Nothing throws, aborts or prints.
 * Handles may be used from several threads at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  HONE_HF_OK = 0,
  HONE_HF_INVALID = 1,  /* the input is at fault */
  HONE_HF_PANICKED = 2, /* a bug */
};

typedef struct {
  uint8_t* data;
  size_t size;
} hone_hf_buffer;

typedef struct {
  uint32_t* data;
  size_t size;
} hone_hf_ids;

typedef struct hone_hf_tokenizer hone_hf_tokenizer;
typedef struct hone_hf_template hone_hf_template;

void hone_hf_buffer_free(hone_hf_buffer buffer);
void hone_hf_ids_free(hone_hf_ids ids);

/* `json` is tokenizer.json, `options` the JSON form of `Options` in tokenizer.rs. */
int hone_hf_tokenizer_load(const char* json, size_t json_size, const char* options,
                           size_t options_size, hone_hf_tokenizer** out, hone_hf_buffer* error);
void hone_hf_tokenizer_free(hone_hf_tokenizer* tokenizer);
/* One more than the highest id. */
uint64_t hone_hf_tokenizer_vocab_size(const hone_hf_tokenizer* tokenizer);
/* Writes -1 where the vocabulary lacks the token. */
int hone_hf_tokenizer_id_of(const hone_hf_tokenizer* tokenizer, const char* token,
                            size_t token_size, int64_t* out, hone_hf_buffer* error);
int hone_hf_tokenizer_encode(const hone_hf_tokenizer* tokenizer, const char* input,
                             size_t input_size, bool add_special_tokens, hone_hf_ids* out,
                             hone_hf_buffer* error);
int hone_hf_tokenizer_decode(const hone_hf_tokenizer* tokenizer, const uint32_t* ids,
                             size_t ids_size, bool skip_special_tokens, hone_hf_buffer* out,
                             hone_hf_buffer* error);

int hone_hf_template_compile(const char* source, size_t source_size, hone_hf_template** out,
                             hone_hf_buffer* error);
void hone_hf_template_free(hone_hf_template* chat_template);
/* `context` is a JSON object of the template's variables. */
int hone_hf_template_render(const hone_hf_template* chat_template, const char* context,
                            size_t context_size, hone_hf_buffer* out, hone_hf_buffer* error);

/* Checks a whole safetensors file; writes a JSON list of {name, dtype, shape, begin, end}. */
int hone_hf_weights_read_layout(const uint8_t* file, size_t file_size, hone_hf_buffer* out,
                                hone_hf_buffer* error);
/* `tensors` is a JSON list of {name, dtype, shape, bytes}; writes what precedes their data. */
int hone_hf_weights_write_header(const char* tensors, size_t tensors_size, hone_hf_buffer* out,
                                 hone_hf_buffer* error);

#ifdef __cplusplus
}
#endif
