#include "hone/core/options/nearest_name.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

namespace hone {
namespace {

constexpr double kNotNear = 1.0;

std::string normalized(std::string_view name) {
  std::string text{name};
  for (char& c : text) {
    c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return text;
}

std::string_view last_part(std::string_view name) {
  const auto dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

std::vector<std::string_view> words_of(std::string_view name) {
  std::vector<std::string_view> words;
  while (!name.empty()) {
    const auto end = std::min(name.find_first_of("_."), name.size());
    if (end > 0) words.push_back(name.substr(0, end));
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return words;
}

/// Edits that turn one into the other: insert, drop, replace, swap two neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> older, previous, current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) current[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    older = std::move(previous);
    previous = current;
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], older[j - 2] + 1);
    }
  }
  return current[b.size()];
}

double slip_score(std::string_view unknown, std::string_view candidate) {
  const std::size_t length = std::max(unknown.size(), candidate.size());
  const std::size_t allowed = std::max<std::size_t>(1, std::min(unknown.size(), length) / 3);
  const std::size_t distance = edit_distance(unknown, candidate);
  if (distance > allowed || distance >= unknown.size()) return kNotNear;
  return 0.5 * static_cast<double>(distance) / static_cast<double>(length);
}

double initials_score(std::string_view unknown, std::string_view candidate) {
  const auto words = words_of(candidate);
  if (words.size() < 2 || words.size() != unknown.size()) return kNotNear;
  const bool equal = std::equal(words.begin(), words.end(), unknown.begin(),
                                [](std::string_view word, char c) { return word.front() == c; });
  return equal ? 0.3 : kNotNear;
}

/// Every word that was typed begins some word of the candidate, in order.
double shortening_score(std::string_view unknown, std::string_view candidate) {
  const auto typed = words_of(unknown);
  const auto words = words_of(candidate);
  std::size_t next = 0, typed_letters = 0;
  for (const auto word : typed) {
    if (word.size() < 3) return kNotNear;
    while (next < words.size() && !words[next].starts_with(word)) ++next;
    if (next == words.size()) return kNotNear;
    ++next;
    typed_letters += word.size();
  }
  if (typed_letters == 0) return kNotNear;
  return 0.9 - 0.5 * static_cast<double>(typed_letters) / static_cast<double>(candidate.size());
}

double score(std::string_view unknown, std::string_view candidate) {
  return std::min({slip_score(unknown, candidate), initials_score(unknown, candidate),
                   shortening_score(unknown, candidate)});
}

}  // namespace

std::optional<std::string> nearest_name(std::string_view unknown,
                                        std::span<const std::string> candidates) {
  constexpr double kWrongPlace = 0.05;  // the last part fits, what stands before it does not
  const std::string typed = normalized(unknown);
  double best = kNotNear;
  std::optional<std::string> nearest;
  for (const std::string& candidate : candidates) {
    const std::string name = normalized(candidate);
    const double parts = score(last_part(typed), last_part(name)) + kWrongPlace;
    const double candidate_score = std::min(score(typed, name), parts);
    if (candidate_score < best) {
      best = candidate_score;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace hone
