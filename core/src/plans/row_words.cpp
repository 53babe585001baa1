#include "plans/row_words.hpp"

#include <bit>
#include <cstring>
#include <utility>

namespace hone::detail {

void append(const TokenRow& row, Words& words) {
  words.push_back(row.length());
  words.push_back(row.source_length());
  words.push_back(std::bit_cast<std::int64_t>(row.weight));
  for (const auto* list : {&row.ids, &row.labels, &row.source_ids}) {
    words.insert(words.end(), list->begin(), list->end());
  }
}

TokenRow take_row(std::span<const std::int64_t>& words) {
  const auto length = static_cast<std::size_t>(words[0]);
  const auto source_length = static_cast<std::size_t>(words[1]);
  TokenRow row{.weight = std::bit_cast<double>(words[2])};
  words = words.subspan(3);
  for (const auto& [list, count] : {std::pair{&row.ids, length}, {&row.labels, length},
                                    {&row.source_ids, source_length}}) {
    const auto part = words.first(count);
    list->assign(part.begin(), part.end());
    words = words.subspan(count);
  }
  return row;
}

std::int64_t digest(std::span<const std::int64_t> words) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const auto word : words) hash = (hash ^ static_cast<std::uint64_t>(word)) * 0x100000001b3ULL;
  return static_cast<std::int64_t>(hash);
}

Words words_of(std::span<const std::byte> bytes) {
  Words words(bytes.size() / sizeof(std::int64_t));
  if (!bytes.empty()) std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

}  // namespace hone::detail
