#pragma once

#include <string>

namespace hone::distributed {

/// MPI for the lifetime of this object, and where this process stands in it. Initialises MPI where
/// nobody has, and finalizes only what it initialised. One per process.
///
/// Collective: construction, finalize() and destruction, over all processes of the job.
/// Thread-safety: construct, finalize and destroy from the same thread; queries from any thread.
class MpiEnvironment {
 public:
  /// Throws: LaunchError where the MPI library cannot take calls from more than one thread, one at
  /// a time (MPI_THREAD_SERIALIZED), or was already finalized.
  MpiEnvironment();

  /// Finalizes, silently, unless finalize() did. While an exception unwinds this ends the whole job
  /// through MPI_Abort(70) instead: MPI_Finalize would wait for peers that wait for this rank. (A
  /// world of one has no peers and finalizes.) So handle errors inside the scope of this object:
  /// report, then Communicator::abort(code), or agree on the error and return.
  ~MpiEnvironment();

  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

  /// Finalizes MPI now if this object initialised it; later calls do nothing. Communicators made
  /// from it must not communicate any more.
  /// Throws: LaunchError where MPI reports a failure.
  void finalize();

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Position among the ranks that share this machine's memory, in rank order, and their number.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  const std::string& host_name() const { return host_name_; }
  /// Name and version of the MPI library, e.g. "Open MPI v4.1.4".
  const std::string& library_version() const { return library_version_; }

 private:
  void require_threads() const;
  void query_world();

  bool owns_ = false;  ///< initialised here and not yet finalized
  int exceptions_at_start_ = 0;
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  std::string host_name_;
  std::string library_version_;
};

}  // namespace hone::distributed
