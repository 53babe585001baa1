#include "hone/distributed/pulse.hpp"

#include <cstring>

#include "hone/core/error.hpp"

namespace hone::distributed {
namespace {

constexpr std::size_t kMaxPhase = 64;

template <typename Number>
void put(std::string& bytes, Number number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename Number>
  Number take() {
    Number number;
    std::memcpy(&number, text(sizeof number).data(), sizeof number);
    return number;
  }
  std::string_view text(std::size_t size) {
    if (size > bytes_.size()) refuse();
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  bool at_end() const { return bytes_.empty(); }

  [[noreturn]] static void refuse() { throw InputError{"a heartbeat that is none"}; }

 private:
  std::string_view bytes_;
};

template <typename Enum>
Enum checked(std::uint8_t value, Enum last) {
  if (value > static_cast<std::uint8_t>(last)) Reader::refuse();
  return static_cast<Enum>(value);
}

CollectiveCall take_call(Reader& reader) {
  CollectiveCall call;
  call.operation = checked(reader.take<std::uint8_t>(), Operation::Wait);
  call.dtype = checked(reader.take<std::uint8_t>(), DType::Float16);
  call.reduce_op = checked(reader.take<std::uint8_t>(), ReduceOp::Max);
  call.root = reader.take<std::int32_t>();
  call.count = reader.take<std::int64_t>();
  return call;
}

}  // namespace

std::string to_bytes(const Pulse& pulse) {
  std::string bytes;
  const auto phase = pulse.phase.substr(0, kMaxPhase);
  put(bytes, static_cast<std::uint8_t>(phase.size()));
  bytes += phase;
  put(bytes, pulse.phase_p99);
  put(bytes, pulse.num_phases);
  put(bytes, pulse.step);
  put(bytes, pulse.sequence);
  put(bytes, static_cast<std::uint8_t>(pulse.in_collective ? 1 : 0));
  put(bytes, static_cast<std::uint8_t>(pulse.is_leaving ? 1 : 0));
  put(bytes, static_cast<std::uint16_t>(pulse.recent.size()));
  for (const auto& call : pulse.recent) {
    put(bytes, static_cast<std::uint8_t>(call.operation));
    put(bytes, static_cast<std::uint8_t>(call.dtype));
    put(bytes, static_cast<std::uint8_t>(call.reduce_op));
    put(bytes, static_cast<std::int32_t>(call.root));
    put(bytes, call.count);
  }
  return bytes;
}

Pulse pulse_of(std::string_view bytes) {
  Reader reader{bytes};
  Pulse pulse;
  const auto size = reader.take<std::uint8_t>();
  if (size > kMaxPhase) Reader::refuse();
  pulse.phase = reader.text(size);
  pulse.phase_p99 = reader.take<double>();
  pulse.num_phases = reader.take<std::int64_t>();
  pulse.step = reader.take<std::int64_t>();
  pulse.sequence = reader.take<std::int64_t>();
  pulse.in_collective = reader.take<std::uint8_t>() != 0;
  pulse.is_leaving = reader.take<std::uint8_t>() != 0;
  const auto count = reader.take<std::uint16_t>();
  if (count > kRecentCalls || count > pulse.sequence) Reader::refuse();
  for (std::uint16_t i = 0; i < count; ++i) pulse.recent.push_back(take_call(reader));
  if (!reader.at_end()) Reader::refuse();
  return pulse;
}

}  // namespace hone::distributed
