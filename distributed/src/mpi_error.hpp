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

/// Wrong calls and lengths that do not fit are bugs or ranks out of step; whatever else MPI
/// reports, a lost peer or network, a new start may cure.
inline ExitCode mpi_exit_code(int code) {
  int error_class = MPI_ERR_UNKNOWN;
  MPI_Error_class(code, &error_class);
  switch (error_class) {
    case MPI_ERR_NO_MEM: return ExitCode::OutOfMemory;
    case MPI_ERR_ARG:
    case MPI_ERR_BUFFER:
    case MPI_ERR_COMM:
    case MPI_ERR_COUNT:
    case MPI_ERR_OP:
    case MPI_ERR_RANK:
    case MPI_ERR_ROOT:
    case MPI_ERR_TRUNCATE:
    case MPI_ERR_TYPE: return ExitCode::Internal;
    default: return ExitCode::Stopped;
  }
}

/// Throws: CommunicatorError with the function's name and MPI's text, unless `code` is MPI_SUCCESS.
inline void require_success(int code, const char* function) {
  if (code == MPI_SUCCESS) return;
  throw CommunicatorError{std::string{function} + " failed: " + mpi_error_text(code),
                          mpi_exit_code(code)};
}

}  // namespace hone::distributed::detail
