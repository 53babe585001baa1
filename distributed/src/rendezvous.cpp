#include "rendezvous.hpp"

#include <algorithm>
#include <utility>

namespace hone::distributed::detail {
namespace {

/// "rank 1" or "ranks 0, 2".
std::string ranks_text(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  }
  return text;
}

std::vector<int> ranks_where(const std::vector<bool>& flags) {
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < flags.size(); ++rank) {
    if (flags[rank]) ranks.push_back(static_cast<int>(rank));
  }
  return ranks;
}

std::pair<std::string, ExitCode> text_and_code(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return {known.what(), known.exit_code()};
  } catch (const std::exception& known) {
    return {known.what(), ExitCode::Internal};
  } catch (...) {
    return {"an exception of unknown type", ExitCode::Internal};
  }
}

}  // namespace

Rendezvous::Rendezvous(int num_ranks)
    : postings_(static_cast<std::size_t>(num_ranks)),
      waiting_(static_cast<std::size_t>(num_ranks), false),
      left_(static_cast<std::size_t>(num_ranks), false) {}

void Rendezvous::meet(int rank, const Posting& posting) {
  std::unique_lock lock{mutex_};
  if (failure_) throw_failure();
  postings_[static_cast<std::size_t>(rank)] = posting;
  waiting_[static_cast<std::size_t>(rank)] = true;
  ++num_waiting_;
  if (std::find(left_.begin(), left_.end(), true) != left_.end()) {
    set_failure(desertion(), ExitCode::Internal);
  } else if (num_waiting_ == size()) {
    if (all_agree()) {
      num_waiting_ = 0;
      waiting_.assign(waiting_.size(), false);
      ++meetings_;
      changed_.notify_all();
      return;
    }
    set_failure(disagreement(), ExitCode::Internal);
  }
  const std::int64_t meeting = meetings_;
  changed_.wait(lock, [&] { return meetings_ != meeting || failure_.has_value(); });
  // Once all have met the collective goes on, whatever happened since: its peers count on this
  // rank.
  if (meetings_ == meeting) throw_failure();
}

void Rendezvous::part() noexcept {
  std::unique_lock lock{mutex_};
  if (++num_parting_ == size()) {
    num_parting_ = 0;
    ++partings_;
    changed_.notify_all();
    return;
  }
  const std::int64_t parting = partings_;
  changed_.wait(lock, [&] { return partings_ != parting; });
}

void Rendezvous::leave(int rank) noexcept {
  const std::lock_guard lock{mutex_};
  left_[static_cast<std::size_t>(rank)] = true;
  if (num_waiting_ > 0) set_failure(desertion(), ExitCode::Internal);
}

void Rendezvous::fail(int rank, std::exception_ptr error) noexcept {
  const std::lock_guard lock{mutex_};
  const auto [text, code] = text_and_code(error);
  set_failure("rank " + std::to_string(rank) + " failed before " + next_collective() + ": " + text,
              code);
  if (!first_error_) first_error_ = std::move(error);
}

void Rendezvous::abort(int rank, int exit_code) {
  const std::lock_guard lock{mutex_};
  aborted_ = true;
  set_failure("rank " + std::to_string(rank) + " aborted the job with exit code " +
                  std::to_string(exit_code) + " before " + next_collective(),
              static_cast<ExitCode>(exit_code));
}

void Rendezvous::rethrow_first_error() const {
  const std::lock_guard lock{mutex_};
  if (first_error_) std::rethrow_exception(first_error_);
  if (aborted_) throw_failure();
}

void Rendezvous::set_failure(std::string what, ExitCode code) {
  if (failure_) return;  // the first cause is the one to report
  failure_ = Failure{.what = std::move(what), .code = code};
  changed_.notify_all();
}

void Rendezvous::throw_failure() const { throw CommunicatorError{failure_->what, failure_->code}; }

std::string Rendezvous::next_collective() const {
  return "collective " + std::to_string(meetings_ + 1);
}

bool Rendezvous::all_agree() const {
  return std::all_of(postings_.begin(), postings_.end(), [&](const Posting& posting) {
    return posting.call == postings_.front().call;
  });
}

std::string Rendezvous::disagreement() const {
  std::vector<std::pair<CollectiveCall, std::vector<int>>> groups;
  for (int rank = 0; rank < size(); ++rank) {
    const auto& call = postings_[static_cast<std::size_t>(rank)].call;
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const auto& known) { return known.first == call; });
    if (group == groups.end()) group = groups.insert(groups.end(), {call, {}});
    group->second.push_back(rank);
  }
  std::string text = next_collective() + ": the ranks are out of step:";
  for (std::size_t i = 0; i < groups.size(); ++i) {
    text += (i == 0 ? " " : "; ") + ranks_text(groups[i].second) + " called " +
            describe(groups[i].first);
  }
  return text + ". All ranks must make the same calls in the same order with the same count, type "
                "and root.";
}

std::string Rendezvous::desertion() const {
  const auto waiting = ranks_where(waiting_);
  const auto& call = postings_[static_cast<std::size_t>(waiting.front())].call;
  return next_collective() + ": the ranks are out of step: " + ranks_text(ranks_where(left_)) +
         " returned after " + std::to_string(meetings_) + " collectives; " + ranks_text(waiting) +
         " called " + describe(call) + ". All ranks must make the same calls in the same order.";
}

}  // namespace hone::distributed::detail
