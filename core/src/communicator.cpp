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

// Every rank gets everything and keeps its own: enough for few ranks and tests.
std::vector<std::vector<std::byte>> Communicator::all_to_all_bytes(
    std::span<const std::vector<std::byte>> to) {
  require_one_for_each_rank(to);
  std::vector<std::byte> packed;
  for (const auto& part : to) {
    const auto length = static_cast<std::int64_t>(part.size());
    const auto header = std::as_bytes(std::span{&length, 1});
    packed.insert(packed.end(), header.begin(), header.end());
    packed.insert(packed.end(), part.begin(), part.end());
  }
  std::vector<std::vector<std::byte>> from;
  for (const auto& bytes : all_gather_bytes(packed)) {
    std::size_t begin = 0;
    std::int64_t length = 0;
    for (int receiver = 0; receiver <= rank(); ++receiver) {
      begin += static_cast<std::size_t>(length);
      std::memcpy(&length, bytes.data() + begin, sizeof length);
      begin += sizeof length;
    }
    const auto part = std::span{bytes}.subspan(begin, static_cast<std::size_t>(length));
    from.emplace_back(part.begin(), part.end());
  }
  return from;
}

void Communicator::require_one_for_each_rank(std::span<const std::vector<std::byte>> to) const {
  if (to.size() == static_cast<std::size_t>(size())) return;
  throw CommunicatorError{"all_to_all_bytes(): bytes for " + std::to_string(to.size()) +
                          " ranks were given, and there are " + std::to_string(size()) +
                          "; nothing was communicated"};
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
