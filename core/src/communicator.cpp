#include "hone/core/communicator.hpp"

#include <cstring>

#include "hone/core/error.hpp"

namespace hone {
namespace {

/// The type that the code stands for, so that handlers by type serve for agreed failures too.
[[noreturn]] void throw_by_code(ExitCode code, const std::string& message) {
  switch (code) {
    case ExitCode::Usage: throw ConfigError{message};
    case ExitCode::InvalidData: throw InputError{message};
    case ExitCode::MissingInput: throw MissingInputError{message};
    case ExitCode::Environment: throw LaunchError{message};
    case ExitCode::Diverged: throw DivergedError{message};
    default: throw Error{code, message};
  }
}

}  // namespace

void Communicator::all_gathers(std::span<const RankBlocks> all) {
  for (const auto& each : all) all_gather(each.data, each.block, each.dtype);
}

void Communicator::start_all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) {
  all_reduce(data, count, dtype, op);
}

void Communicator::start_reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) {
  reduce_scatter(data, block, dtype, op);
}

std::shared_ptr<std::byte> Communicator::allocate(std::int64_t) { return nullptr; }

bool all_true(Communicator& comm, bool mine) {
  std::int64_t flag = mine ? 1 : 0;
  comm.all_reduce(&flag, 1, DType::Int64, ReduceOp::Min);
  return flag == 1;
}

void all_reduce_sum(Communicator& comm, std::span<double> values) {
  comm.all_reduce(values.data(), static_cast<std::int64_t>(values.size()), DType::Float64,
                  ReduceOp::Sum);
}

void all_reduce_sum(Communicator& comm, std::span<std::int64_t> values) {
  comm.all_reduce(values.data(), static_cast<std::int64_t>(values.size()), DType::Int64,
                  ReduceOp::Sum);
}

std::vector<std::string> all_gather_strings(Communicator& comm, std::string_view mine) {
  const auto gathered = comm.all_gather_bytes(std::as_bytes(std::span{mine.data(), mine.size()}));
  std::vector<std::string> texts;
  texts.reserve(gathered.size());
  for (const auto& bytes : gathered) {
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return texts;
}

std::string broadcast_string(Communicator& comm, std::string_view mine, int root) {
  auto length = static_cast<std::int64_t>(mine.size());
  comm.broadcast(&length, 1, DType::Int64, root);
  std::string text = comm.rank() == root ? std::string{mine}
                                         : std::string(static_cast<std::size_t>(length), '\0');
  comm.broadcast(text.data(), length, DType::UInt8, root);
  return text;
}

void agree_or_throw(Communicator& comm, const LocalFailure& failure) {
  if (all_true(comm, !failure.happened())) return;
  // The slow path: only now does anybody pay for moving text.
  const std::string mine =
      failure.happened()
          ? std::to_string(static_cast<int>(failure.code)) + ' ' + failure.message
          : std::string{};
  const auto all = all_gather_strings(comm, mine);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    const auto space = all[rank].find(' ');
    const auto code = static_cast<ExitCode>(std::stoi(all[rank].substr(0, space)));
    const std::string where =
        comm.size() == 1 ? std::string{} : "[rank " + std::to_string(rank) + "] ";
    throw_by_code(code, where + all[rank].substr(space + 1));
  }
}

}  // namespace hone
