#include "hone/launcher/control_channel.hpp"

#include <algorithm>
#include <sstream>
#include <vector>

#include "address.hpp"
#include "hone/core/error.hpp"
#include "hub.hpp"
#include "spoke.hpp"

namespace hone::launcher {
namespace {

constexpr std::chrono::seconds kRendezvous{30};
/// For all ranks to find that they have not met: they may begin and give up at different times.
constexpr std::chrono::seconds kAgreement{15};

}  // namespace

WatchdogMode parse_watchdog_mode(std::string_view name) {
  if (name == "abort") return WatchdogMode::Abort;
  if (name == "report") return WatchdogMode::Report;
  if (name == "off") return WatchdogMode::Off;
  throw ConfigError{"watchdog must be abort, report or off, got \"" + std::string{name} + "\""};
}

std::unique_ptr<ControlChannel> open_control_channel(Communicator& comm, const std::string& name,
                                                     const std::string& host,
                                                     const distributed::FlightRecorder& recorder,
                                                     ControlOptions options, ControlHooks hooks) {
  const auto names = all_gather_strings(comm, name);
  const auto hosts = all_gather_strings(comm, host);
  const bool one_host =
      std::ranges::all_of(hosts, [&](const auto& other) { return other == host; });
  std::unique_ptr<control::Hub> hub;
  std::string card;
  run_agreed(comm, [&] {
    if (comm.rank() != 0) return;
    const auto address = control::control_address(one_host, options.interface);
    hub = std::make_unique<control::Hub>(names, address, recorder, options, hooks);
    card = address + ' ' + std::to_string(hub->port()) + ' ' + control::to_hex(hub->secret());
  });
  std::istringstream fields{broadcast_string(comm, card)};
  std::unique_ptr<control::Spoke> spoke;
  run_agreed(comm, [&] {
    if (hub) return hub->wait_for_all(kRendezvous, kAgreement);
    std::string address, secret;
    unsigned short port = 0;
    fields >> address >> port >> secret;
    spoke = std::make_unique<control::Spoke>(comm.rank(), names[0], recorder, std::move(options),
                                             std::move(hooks));
    spoke->connect(address, port, control::secret_of(secret), kRendezvous, kAgreement);
  });
  if (hub) return hub;
  spoke->arm();
  return spoke;
}

}  // namespace hone::launcher
