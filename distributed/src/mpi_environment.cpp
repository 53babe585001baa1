#include "hone/distributed/mpi_environment.hpp"

#include <mpi.h>

#include <exception>

#include "hone/core/error.hpp"
#include "mpi_error.hpp"

namespace hone::distributed {
namespace {

void require_success(int code, const char* function) {
  if (code == MPI_SUCCESS) return;
  throw LaunchError{std::string{function} + " failed: " + detail::mpi_error_text(code)};
}

bool is_initialized() {
  int flag = 0;
  MPI_Initialized(&flag);
  return flag != 0;
}

bool is_finalized() {
  int flag = 0;
  MPI_Finalized(&flag);
  return flag != 0;
}

std::string host_name() {
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  require_success(MPI_Get_processor_name(name, &length), "MPI_Get_processor_name");
  return std::string(name, static_cast<std::size_t>(length));
}

/// The library's text up to its first comma: the rest is build details.
std::string library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  require_success(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
  const std::string whole(text, static_cast<std::size_t>(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

}  // namespace

MpiEnvironment::MpiEnvironment() : exceptions_at_start_(std::uncaught_exceptions()) {
  if (is_finalized()) {
    throw LaunchError{"MPI was already finalized in this process and cannot be started again"};
  }
  if (!is_initialized()) {
    int provided = MPI_THREAD_SINGLE;
    require_success(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided),
                    "MPI_Init_thread");
    owns_ = true;
  }
  try {
    require_threads();
    query_world();
  } catch (...) {
    if (owns_) MPI_Finalize();  // the library is the same for all ranks: all of them come here
    throw;
  }
}

MpiEnvironment::~MpiEnvironment() {
  if (!owns_ || is_finalized()) return;
  if (size_ > 1 && std::uncaught_exceptions() > exceptions_at_start_) {
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(ExitCode::Internal));
  }
  MPI_Finalize();
}

void MpiEnvironment::finalize() {
  if (!owns_ || is_finalized()) return;
  owns_ = false;
  require_success(MPI_Finalize(), "MPI_Finalize");
}

void MpiEnvironment::require_threads() const {
  int provided = MPI_THREAD_SINGLE;
  require_success(MPI_Query_thread(&provided), "MPI_Query_thread");
  if (provided >= MPI_THREAD_SERIALIZED) return;
  throw LaunchError{
      "MPI was initialised for calls from one thread only (level " + std::to_string(provided) +
      "); hone needs MPI_THREAD_SERIALIZED (" + std::to_string(MPI_THREAD_SERIALIZED) +
      ") or more: use an MPI library built with thread support, or let hone initialise MPI"};
}

void MpiEnvironment::query_world() {
  require_success(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  require_success(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
  MPI_Comm node = MPI_COMM_NULL;
  require_success(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL,
                                      &node),
                  "MPI_Comm_split_type");
  require_success(MPI_Comm_rank(node, &local_rank_), "MPI_Comm_rank");
  require_success(MPI_Comm_size(node, &local_size_), "MPI_Comm_size");
  require_success(MPI_Comm_free(&node), "MPI_Comm_free");
  host_name_ = distributed::host_name();
  library_version_ = distributed::library_version();
}

}  // namespace hone::distributed
