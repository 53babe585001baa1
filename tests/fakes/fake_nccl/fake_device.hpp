#pragma once

#include "fake_stream.hpp"
#include "hone/distributed/device.hpp"

namespace hone::testing {

/// A device whose memory is the host's and whose communication stream is the fake NCCL's.
class FakeDevice : public distributed::CpuDevice {
 public:
  std::string_view kind() const override { return "fake"; }
  distributed::NcclStream communication_stream() override {
    return reinterpret_cast<distributed::NcclStream>(&stream_);
  }
  void communication_after_computing() override { stream_.after_computing = true; }
  void computing_after_communication() override { ++num_joins_; }
  bool communication_is_done() override { return stream_.done == stream_.launched; }

  /// How often the computing stream was told to wait.
  int num_joins() const { return num_joins_; }

 private:
  FakeStream stream_;
  int num_joins_ = 0;
};

}  // namespace hone::testing
