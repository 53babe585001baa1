#pragma once

#include <string>

namespace hone {
class Communicator;
}

namespace hone::launcher {

/// Compute threads of this process, and where its tensors lie (keep_tensor_memory()). Before
/// anything computes.
void prepare_torch(int num_threads);

/// Sends float32 matrix products to oneDNN where the bundled MKL takes its slow path (it does on
/// all but Intel processors, at half the speed) and oneDNN keeps full accuracy here: the setting
/// would also *permit* bfloat16 products, so a product is compared with float64 first. Decided by
/// the processor and that check, never by a timing: a resumed run must compute with the same
/// library. All ranks use what all of them can. Returns the library's name, for the log.
/// Collective.
std::string choose_matmul_library(Communicator& comm);

}  // namespace hone::launcher
