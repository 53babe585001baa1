#include "hone/distributed/device.hpp"

namespace hone::distributed {
namespace {

class CpuDevice final : public Device {
 public:
  std::string_view kind() const override { return "cpu"; }
  int index() const override { return 0; }
  std::string uuid() const override { return {}; }
  NcclStream communication_stream() override { return nullptr; }
  void communication_after_computing() override {}
  void computing_after_communication() override {}
  bool communication_is_done() override { return true; }
};

}  // namespace

std::unique_ptr<Device> make_cpu_device() { return std::make_unique<CpuDevice>(); }

}  // namespace hone::distributed
