#pragma once

#include <mpi.h>

#include <string>

#include "hone/core/error.hpp"

namespace hone::distributed::detail {

/// MPI's own text for a return code, e.g. "MPI_ERR_TRUNCATE: message truncated".
inline std::string mpi_error_text(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) {
    return "MPI error " + std::to_string(code);
  }
  return std::string(text, static_cast<std::size_t>(length));
}

/// Throws: CommunicatorError with the function's name and MPI's text, unless `code` is MPI_SUCCESS.
inline void require_success(int code, const char* function) {
  if (code == MPI_SUCCESS) return;
  throw CommunicatorError{std::string{function} + " failed: " + mpi_error_text(code)};
}

}  // namespace hone::distributed::detail
