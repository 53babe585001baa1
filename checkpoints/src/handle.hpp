#pragma once

#include <optional>
#include <utility>

namespace hone::checkpoints::detail {

/// A resource with one owner. `Release` is called with the value: once by close(), which lets its
/// exception out, or by the destructor, which does not.
template <typename Value, typename Release>
class Handle {
 public:
  Handle(Value value, Release release) : value_(std::move(value)), release_(std::move(release)) {}
  Handle(Handle&& other) noexcept
      : value_(std::exchange(other.value_, std::nullopt)), release_(std::move(other.release_)) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    try {
      close();
    } catch (...) {
      // Whoever needs to know calls close(): here an exception may already be under way.
    }
  }

  const Value& get() const { return *value_; }

  void close() {
    if (auto value = std::exchange(value_, std::nullopt)) release_(*value);
  }

 private:
  std::optional<Value> value_;
  Release release_;
};

}  // namespace hone::checkpoints::detail
