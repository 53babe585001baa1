#pragma once

#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

#include "hone/core/data/line_reader.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::detail {

/// Makes a JSON value of what the JSON library reads, in linear time and within limits. The library's
/// own parser with callbacks looks through an object's or array's items at the end of each of them;
/// without callbacks it has no limits, and keeps the last of the values that a key has.
template <typename Json>
class JsonBuilder final : public nlohmann::json_sax<Json> {
 public:
  /// Of a list in the outermost object: whether it takes the object `item` away.
  using Take = std::function<bool(const Json& outermost, const std::string& list, Json& item)>;
  /// Makes the error of a text that is not JSON. `byte`: counted from 1; 0 where it does not matter.
  using Explain = std::function<InputError(const nlohmann::json::exception&, std::size_t byte)>;

  JsonBuilder(std::string where, const LineLimits& limits, Explain explain, Take take = {})
      : where_(std::move(where)),
        limits_(limits),
        explain_(std::move(explain)),
        take_(std::move(take)) {}

  Json result() && { return std::move(root_); }

  bool null() override { return add_value(nullptr); }
  bool boolean(bool value) override { return add_value(value); }
  bool number_integer(typename Json::number_integer_t value) override { return add_value(value); }
  bool number_unsigned(typename Json::number_unsigned_t value) override { return add_value(value); }
  bool number_float(typename Json::number_float_t value, const std::string&) override {
    return add_value(value);
  }
  bool string(std::string& value) override { return add_value(std::move(value)); }
  bool binary(typename Json::binary_t&) override { return false; }  // no JSON text has it

  bool start_object(std::size_t) override {
    open(Json::object());
    keys_.emplace_back();
    return true;
  }
  bool start_array(std::size_t) override { return open(Json::array()); }

  bool key(std::string& name) override {
    count_member();
    if (!keys_.back().insert(name).second) {
      refuse("the key \"" + printable(name, 60) + "\" comes twice");
    }
    if (open_.size() == 1) list_ = name;
    name_ = std::move(name);
    return true;
  }

  bool end_object() override {
    keys_.pop_back();
    Json& item = *open_.back();
    open_.pop_back();
    if (!take_ || open_.size() != 2 || !open_.back()->is_array()) return true;
    if (!take_(root_, list_, item)) return true;
    open_.back()->template get_ref<typename Json::array_t&>().pop_back();
    num_values_ = values_before_item_;
    num_members_ = members_before_item_;
    return true;
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }

  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::json::exception& error) override {
    constexpr int kFirstOfNumbers = 400;  // which are where they are, but out of range
    throw explain_(error, error.id < kFirstOfNumbers ? byte : 0);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { throw InputError{where_ + ": " + what}; }

  template <typename Value>
  bool add_value(Value&& value) {
    if (++num_values_ > limits_.max_values) {
      refuse("more than " + std::to_string(limits_.max_values) + " values");
    }
    add(std::forward<Value>(value));
    return true;
  }

  void count_member() {
    if (++num_members_ > limits_.max_members) {
      refuse("more than " + std::to_string(limits_.max_members) + " keys, objects and arrays");
    }
  }

  bool open(Json empty) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth) {
      refuse("nested more than " + std::to_string(limits_.max_depth) + " levels deep");
    }
    if (open_.size() == 2) {
      values_before_item_ = num_values_;
      members_before_item_ = num_members_;
    }
    count_member();
    open_.push_back(&add(std::move(empty)));
    return true;
  }

  template <typename Value>
  Json& add(Value&& value) {
    if (open_.empty()) return root_ = std::forward<Value>(value);
    Json& into = *open_.back();
    if (into.is_array()) {
      auto& items = into.template get_ref<typename Json::array_t&>();
      items.emplace_back(std::forward<Value>(value));
      return items.back();
    }
    auto& members = into.template get_ref<typename Json::object_t&>();
    // An ordered object is a vector that would be searched for the key, which is known to be new.
    if constexpr (requires { members.emplace_back(name_, nullptr); }) {
      members.emplace_back(std::move(name_), std::forward<Value>(value));
      return members.back().second;
    } else {
      return members.emplace(std::move(name_), std::forward<Value>(value)).first->second;
    }
  }

  const std::string where_;
  const LineLimits limits_;
  const Explain explain_;
  const Take take_;
  Json root_;
  std::vector<Json*> open_;  // from the outermost on; each the last of the one before it
  std::vector<std::unordered_set<std::string>> keys_;
  std::string name_, list_;
  std::size_t num_values_ = 0, num_members_ = 0;
  std::size_t values_before_item_ = 0, members_before_item_ = 0;
};

}  // namespace hone::detail
