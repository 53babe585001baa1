// Times of a save and of a load by the shipping store, for tests/bench/checkpoint.py.
//
//   checkpoint_bench RUN_DIRECTORY BYTES        a line of JSON for each line "save", "stall", "load" or
//                                               "read" on standard input; {} when it is ready
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/core/logger.hpp"
#include "hone/distributed/loopback_communicator.hpp"

namespace {

using namespace hone;
namespace fs = std::filesystem;

constexpr std::int64_t kNumTensors = 100;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Float32 tensors of so many bytes together, all of it touched.
class State {
 public:
  explicit State(std::int64_t bytes)
      : elements_(bytes / kNumTensors / 4),
        memory_(std::make_unique<float[]>(static_cast<std::size_t>(elements_ * kNumTensors))) {
    for (std::int64_t i = 0; i < elements_ * kNumTensors; ++i) {
      memory_[static_cast<std::size_t>(i)] = static_cast<float>(i % 9973) * 0.37F;
    }
  }
  std::span<std::byte> bytes() {
    return std::as_writable_bytes(
        std::span{memory_.get(), static_cast<std::size_t>(elements_ * kNumTensors)});
  }
  std::vector<TensorBytes> views() {
    std::vector<TensorBytes> views;
    const auto size = static_cast<std::size_t>(elements_ * 4);
    for (std::int64_t i = 0; i < kNumTensors; ++i) {
      views.push_back({"model/layer." + std::to_string(i) + ".weight", DType::Float32, {elements_},
                       bytes().subspan(static_cast<std::size_t>(i) * size, size)});
    }
    return views;
  }

 private:
  std::int64_t elements_;
  std::unique_ptr<float[]> memory_;
};

/// Into memory that is there already, one thread, as much at once as the store reads.
double plain_read(const fs::path& folder, std::span<std::byte> memory) {
  constexpr std::size_t kChunk = std::size_t{4} << 20;
  const auto start = std::chrono::steady_clock::now();
  for (const auto& entry : fs::recursive_directory_iterator{folder}) {
    const int file = ::open(entry.path().c_str(), O_RDONLY);
    if (file < 0) continue;
    std::size_t at = 0;
    for (ssize_t count = 1; count > 0; at += static_cast<std::size_t>(count)) {
      at = at + kChunk <= memory.size() ? at : 0;
      count = ::read(file, memory.data() + at, kChunk);
    }
    ::close(file);
  }
  return seconds_since(start);
}

/// So that what is read comes from the disk.
void forget_cached(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator{folder}) {
    const int file = ::open(entry.path().c_str(), O_RDONLY);
    if (file < 0) continue;
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  const fs::path run = argv[1];
  State state{std::stoll(argv[2])};
  distributed::LoopbackCommunicator alone;
  NullLogger log;
  std::int64_t step = 0;
  checkpoints::Hdf5CheckpointStore store{alone, log, {.run_directory = run}};
  store.prepare_saves(state.views());  // kept from save to save, as by a trainer
  std::puts("{}");
  std::fflush(stdout);
  for (std::string order; std::getline(std::cin, order);) {
    double seconds = 0.0, beside = 0.0, stall = 0.0;
    const CheckpointContent content{
        .step = ++step, .tensors = state.views(), .state_json = "{}", .add_files = {}};
    if (order == "save") {
      {
        std::vector<std::byte> copy(state.bytes().size());
        const auto start = std::chrono::steady_clock::now();
        std::memcpy(copy.data(), state.bytes().data(), copy.size());
        beside = seconds_since(start);
      }
      fs::remove_all(run);
      ::sync();
      const auto start = std::chrono::steady_clock::now();
      store.save(content);
      seconds = seconds_since(start);
    } else if (order == "stall") {
      fs::remove_all(run);
      ::sync();
      const auto start = std::chrono::steady_clock::now();
      store.start_save(content);
      stall = seconds_since(start);
      store.finish_save();
      seconds = seconds_since(start);
    } else if (order == "read") {
      forget_cached(run);
      seconds = plain_read(run, state.bytes());
    } else {
      std::memset(state.bytes().data(), 0, state.bytes().size());
      forget_cached(run);
      const auto start = std::chrono::steady_clock::now();
      const auto load = [&](const fs::path& newest) { store.load_tensors(newest, state.views()); };
      if (!store.load_newest(load)) return 1;
      seconds = seconds_since(start);
    }
    std::printf("{\"seconds\": %.6f, \"beside\": %.6f, \"stall\": %.6f}\n", seconds, beside, stall);
    std::fflush(stdout);
  }
}
