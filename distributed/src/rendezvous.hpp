#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hone/distributed/collective_call.hpp"
#include "hone/core/error.hpp"

namespace hone::distributed::detail {

/// Where the threads of a ThreadWorld meet. A collective is meet(), work on the buffers that all
/// ranks posted, part(). Between the two nobody can leave or fail, so peers' buffers stay alive.
///
/// Thread-safety: all methods; each rank from its own thread.
class Rendezvous {
 public:
  /// What a rank brings to a collective.
  struct Posting {
    CollectiveCall call;
    void* data = nullptr;
    std::span<const std::byte> bytes;
    std::span<const std::vector<std::byte>> parts = {};  ///< one for each rank
  };

  explicit Rendezvous(int num_ranks);

  int size() const { return static_cast<int>(postings_.size()); }

  /// Waits until every rank has posted the same call.
  /// Throws: CommunicatorError where they differ, or where a rank failed or left.
  void meet(int rank, const Posting& posting);

  /// What every rank posted, in rank order. Call: between meet() and part().
  const std::vector<Posting>& postings() const { return postings_; }

  /// Waits until every rank has finished its work on the postings. Cannot fail: whoever met, parts.
  void part() noexcept;

  /// The rank will call nothing more. Where others wait for it, they fail.
  void leave(int rank) noexcept;

  /// The rank's body threw; everybody else fails with it. The first such exception is kept.
  void fail(int rank, std::exception_ptr error) noexcept;

  /// Ends the world by request of `rank`: every waiting and later meet() throws.
  void abort(int rank, int exit_code);

  /// Call: after all ranks ended. Throws: what run() promises.
  void rethrow_first_error() const;

 private:
  struct Failure {
    std::string what;
    ExitCode code = ExitCode::Internal;
  };

  void set_failure(std::string what, ExitCode code);
  [[noreturn]] void throw_failure() const;
  std::string next_collective() const;
  bool all_agree() const;
  std::string disagreement() const;
  std::string desertion() const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Posting> postings_;
  std::vector<bool> waiting_;  ///< posted for the collective that is being gathered
  std::vector<bool> left_;
  int num_waiting_ = 0;
  int num_parting_ = 0;
  std::int64_t meetings_ = 0;  ///< collectives that every rank has entered
  std::int64_t partings_ = 0;
  std::optional<Failure> failure_;
  bool aborted_ = false;
  std::exception_ptr first_error_;
};

}  // namespace hone::distributed::detail
