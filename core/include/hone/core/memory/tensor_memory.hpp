#pragma once

namespace hone {

/// From now on large tensors of the host lie in memory that is kept for the next ones (PageHeap)
/// instead of being mapped anew each time, which costs a training step a quarter of its time or
/// more. Of this process; before its first tensor, and once: later calls do nothing.
void keep_tensor_memory();

/// Gives what is kept and free back to the system.
void release_tensor_memory();

}  // namespace hone
