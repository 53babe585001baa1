#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hone_hf.h"

namespace hone::detail {

/// What a call into the Rust archive wrote: bytes that are freed there.
class RustBuffer {
 public:
  RustBuffer() = default;
  RustBuffer(const RustBuffer&) = delete;
  RustBuffer& operator=(const RustBuffer&) = delete;
  ~RustBuffer() { hone_hf_buffer_free(raw_); }

  /// Where a call writes; once per object.
  hone_hf_buffer* out() { return &raw_; }
  std::string_view view() const { return {reinterpret_cast<const char*>(raw_.data), raw_.size}; }
  std::string str() const { return std::string{view()}; }

 private:
  hone_hf_buffer raw_{nullptr, 0};
};

/// Throws unless `status` is OK: InputError "<where>: <message>", or Error (Internal) for a panic.
void check_rust(int status, const RustBuffer& error, std::string_view where);

struct FreeTokenizer {
  void operator()(hone_hf_tokenizer* handle) const { hone_hf_tokenizer_free(handle); }
};
struct FreeTemplate {
  void operator()(hone_hf_template* handle) const { hone_hf_template_free(handle); }
};
using TokenizerHandle = std::unique_ptr<hone_hf_tokenizer, FreeTokenizer>;
using TemplateHandle = std::unique_ptr<hone_hf_template, FreeTemplate>;

}  // namespace hone::detail
