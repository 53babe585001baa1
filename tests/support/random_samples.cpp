#include "support/random_samples.hpp"

#include <algorithm>
#include <ostream>

namespace hone::testing {
namespace {

rc::Gen<std::int64_t> between(std::int64_t least, std::int64_t most) {
  return rc::gen::inRange<std::int64_t>(least, most + 1);
}

rc::Gen<std::int64_t> length() {
  return rc::gen::oneOf(between(1, 40), between(1, 3), between(30, 40));
}

TokenIds random_ids(std::int64_t count) {
  return *rc::gen::container<TokenIds>(static_cast<std::size_t>(count), between(0, 36));
}

/// Sets some run of `values`, maybe none and maybe all, to `value`.
void set_a_run(TokenIds& values, std::int64_t value) {
  const auto size = static_cast<std::int64_t>(values.size());
  const auto begin = *between(0, size);
  std::fill(values.begin() + begin, values.begin() + *between(begin, size), value);
}

TokenIds labels_for(const TokenIds& ids) {
  switch (*rc::gen::weightedElement<int>({{4, 0}, {1, 1}, {2, 2}, {3, 3}})) {
    case 0: return ids;
    case 1: return TokenIds(ids.size(), kIgnoredLabel);
    case 2: return random_ids(static_cast<std::int64_t>(ids.size()));
    default: break;
  }
  auto labels = ids;
  set_a_run(labels, kIgnoredLabel);
  return labels;
}

/// Padding of any ids and labels in front of, behind or, rarely, between the tokens.
void pad(RandomSample& sample) {
  const auto size = static_cast<std::int64_t>(sample.ids.size());
  const auto at = *rc::gen::weightedOneOf<std::int64_t>(
      {{2, rc::gen::just<std::int64_t>(0)}, {2, rc::gen::just(size)}, {1, between(0, size)}});
  const auto count = *between(0, 9);
  const auto ids = random_ids(count), labels = random_ids(count);
  sample.ids.insert(sample.ids.begin() + at, ids.begin(), ids.end());
  sample.labels.insert(sample.labels.begin() + at, labels.begin(), labels.end());
  sample.mask.insert(sample.mask.begin() + at, static_cast<std::size_t>(count), 0);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const RandomSample& sample) {
  const auto list = [&](const char* name, const TokenIds& values) {
    out << name << " [";
    for (const auto value : values) out << ' ' << value;
    out << " ] ";
  };
  list("ids", sample.ids);
  list("labels", sample.labels);
  list("mask", sample.mask);
  return out << "weight " << sample.weight;
}

rc::Gen<RandomSample> random_sample(bool weighted) {
  return rc::gen::exec([=] {
    RandomSample sample{.ids = random_ids(*length())};
    sample.labels = labels_for(sample.ids);
    sample.mask.assign(sample.ids.size(), 1);
    if (weighted) sample.weight = *rc::gen::element(1.0, 0.0, 0.5, 3.25, 1e-3);
    pad(sample);
    pad(sample);
    return sample;
  });
}

rc::Gen<std::vector<RandomSample>> random_samples(std::size_t most) {
  return rc::gen::mapcat(rc::gen::inRange<std::size_t>(1, most + 1), [](std::size_t count) {
    const auto samples = [=](bool weighted) {
      return rc::gen::container<std::vector<RandomSample>>(count, random_sample(weighted));
    };
    return rc::gen::oneOf(samples(false), samples(true));
  });
}

TokenRow without_padding(const RandomSample& sample) {
  TokenRow row{.weight = sample.weight};
  bool follows_padding = false;
  for (std::size_t i = 0; i < sample.ids.size(); ++i) {
    const bool real = sample.mask[i] == 1;
    if (real) row.ids.push_back(sample.ids[i]);
    if (real) row.labels.push_back(follows_padding ? kIgnoredLabel : sample.labels[i]);
    follows_padding = !real;
  }
  return row;
}

Batch with_masks(const std::vector<RandomSample>& samples) {
  Batch batch;
  for (const auto& sample : samples) {
    batch.input_ids.push_back(sample.ids);
    batch.labels.push_back(sample.labels);
    batch.attention_mask.push_back(sample.mask);
    batch.weights.push_back(sample.weight);
  }
  return batch;
}

Batch without_masks(const std::vector<RandomSample>& samples) {
  Batch batch;
  for (const auto& sample : samples) {
    auto row = without_padding(sample);
    batch.input_ids.push_back(std::move(row.ids));
    batch.labels.push_back(std::move(row.labels));
    batch.weights.push_back(row.weight);
  }
  return batch;
}

}  // namespace hone::testing
