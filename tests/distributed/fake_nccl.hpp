#pragma once

#include "fakes/fake_nccl/fake_device.hpp"
#include "hone/distributed/nccl_api.hpp"

namespace hone::testing {

/// The fake NCCL.
inline const distributed::NcclApi& fake_nccl() {
  static const auto api = distributed::load_nccl(HONE_FAKE_NCCL);
  return api;
}

}  // namespace hone::testing
