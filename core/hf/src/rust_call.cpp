#include "rust_call.hpp"

#include "hone/core/error.hpp"

namespace hone::detail {

void check_rust(int status, const RustBuffer& error, std::string_view where) {
  if (status == HONE_HF_OK) return;
  const std::string message = std::string{where} + ": " + error.str();
  if (status == HONE_HF_INVALID) throw InputError{message};
  throw Error{ExitCode::Internal, message + " (a bug in hone: please report it)"};
}

}  // namespace hone::detail
