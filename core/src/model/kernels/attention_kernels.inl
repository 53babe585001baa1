// The loops of AttentionKernels: kAttentionKernels in the namespace HONE_KERNELS.
//
// A block of queries meets a span of keys: scores become weights where they lie, and products with
// these follow at once. Rows go by kGroupRows, whose sums stay in registers; for each such group of
// rows only as many keys are multiplied as its last row may see, so that the half that is masked
// costs hardly anything. All that is multiplied is float with rows of `width` numbers, a whole number of
// vectors, and what is beyond a head's last row or number is zero.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "model/kernels/attention_kernels.hpp"
#include "model/kernels/numbers.inl"

namespace hone::detail::HONE_KERNELS {
namespace {

/// With a tile's sums in registers there is room for one vector of each column and one number.
constexpr int kGroupRows = 6;
constexpr int kPanelVectors = kVectorBytes == 64 ? 4 : 2;
constexpr std::int64_t kPanelKeys = kPanelVectors * kLanes;
constexpr std::int64_t kBlockQueries = 8 * kGroupRows;
/// Keys: scores and their gradients for a block are 221 KB. Whole blocks and whole panels.
constexpr std::int64_t kSpanKeys = 576;
static_assert(kSpanKeys % kBlockQueries == 0 && kSpanKeys % kPanelKeys == 0);

constexpr std::int64_t rounded_up(std::int64_t count, std::int64_t to) {
  return (count + to - 1) / to * to;
}

/// Numbers of which row r has its i-th at `data + r * row + i * step`.
struct Factor {
  const float* data;
  std::int64_t row, step;
};

/// out = or += a b for kGroupRows rows of a and kVectors vectors of columns.
/// Shape: a (kGroupRows, depth), b (depth, columns) and out (kGroupRows, columns) with rows `b_row`
/// and `out_row` apart.
template <int kVectors>
void attention_tile(Factor a, const float* b, std::int64_t b_row, std::int64_t depth, float* out,
                    std::int64_t out_row, bool adds) {
  Floats sums[kGroupRows][kVectors] = {};
  if (adds) {
#pragma GCC unroll 6
    for (int r = 0; r < kGroupRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = load_floats(out + r * out_row + v * kLanes);
    }
  }
  for (std::int64_t i = 0; i < depth; ++i, a.data += a.step, b += b_row) {
    Floats columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = load_floats(b + v * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < kGroupRows; ++r) {
      const float value = a.data[r * a.row];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] += value * columns[v];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kGroupRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_floats(sums[r][v], out + r * out_row + v * kLanes);
  }
}

/// The same for 1 to kPanelVectors vectors.
inline void attention_tile(std::int64_t vectors, Factor a, const float* b, std::int64_t b_row,
                           std::int64_t depth, float* out, std::int64_t out_row, bool adds) {
  if constexpr (kPanelVectors == 4) {
    if (vectors == 4) return attention_tile<4>(a, b, b_row, depth, out, out_row, adds);
    if (vectors == 3) return attention_tile<3>(a, b, b_row, depth, out, out_row, adds);
  }
  if (vectors == 2) return attention_tile<2>(a, b, b_row, depth, out, out_row, adds);
  attention_tile<1>(a, b, b_row, depth, out, out_row, adds);
}

/// out += a b for kGroupRows rows. Shape: b and out have rows of `width`.
inline void add_product(Factor a, const float* b, std::int64_t depth, std::int64_t width,
                        float* out) {
  for (std::int64_t column = 0; column < width; column += kPanelKeys) {
    const auto vectors = std::min(kPanelKeys, width - column) / kLanes;
    attention_tile(vectors, a, b + column, width, depth, out + column, width, true);
  }
}

/// Products of kGroupRows queries with the first `keys` keys of a span, rounded up to whole
/// vectors. Shape: queries (kGroupRows, width); panels as transpose() makes them, from the span's
/// first key on; out (kGroupRows, keys) with rows `out_row` apart.
inline void multiply_by_keys(const float* queries, const float* panels, std::int64_t keys,
                             std::int64_t width, float* out, std::int64_t out_row) {
  for (std::int64_t key = 0; key < keys; key += kPanelKeys) {
    const auto vectors = std::min(kPanelKeys, rounded_up(keys - key, kLanes)) / kLanes;
    attention_tile(vectors, Factor{queries, width, 1}, panels + key * width, kPanelKeys, width,
                   out + key, out_row, false);
  }
}

/// Copies rows into rows of `width` floats, times `factor`; zeros behind them up to `padded` rows.
template <typename T>
void widen(HeadRows<const T> from, std::int64_t rows, std::int64_t dim, float factor,
             std::int64_t padded, std::int64_t width, float* out) {
  for (std::int64_t i = 0; i < padded; ++i, out += width) {
    const auto count = i < rows ? dim : 0;
    for (std::int64_t d = 0; d < count; ++d) out[d] = factor * load(from.row(i)[d]);
    std::fill(out + count, out + width, 0.0F);
  }
}

/// Panels of kPanelKeys rows, each panel transposed: (panels, width, kPanelKeys), zeros behind the
/// rows up to `padded` of them.
template <typename T>
void transpose(HeadRows<const T> from, std::int64_t rows, std::int64_t dim, std::int64_t padded,
                std::int64_t width, float* out) {
  std::fill_n(out, rounded_up(padded, kPanelKeys) * width, 0.0F);
  for (std::int64_t i = 0; i < rows; ++i) {
    float* const column = out + i / kPanelKeys * kPanelKeys * width + i % kPanelKeys;
    for (std::int64_t d = 0; d < dim; ++d) column[d * kPanelKeys] = load(from.row(i)[d]);
  }
}

template <typename T>
void narrow(const float* from, std::int64_t rows, std::int64_t dim, std::int64_t width,
              float factor, HeadRows<T> out) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t d = 0; d < dim; ++d) out.row(i)[d] = store<T>(factor * from[i * width + d]);
  }
}

/// Where a block of queries and a span of keys meet.
struct Meeting {
  std::int64_t block, span, span_end;

  /// Keys of the span that any of the kGroupRows queries from `query` of the block on may see.
  std::int64_t keys_of_group(std::int64_t query) const {
    return std::min(block + query + kGroupRows, span_end) - span;
  }
  /// Keys of the span that one query of the block may see.
  std::int64_t keys_of(std::int64_t query) const {
    return std::min(block + query + 1, span_end) - span;
  }
};

/// Calls `meet` with each span that the block at `block` may see.
template <typename Meet>
void over_spans(std::int64_t block, std::int64_t padded, Meet meet) {
  for (std::int64_t span = 0; span < block + kBlockQueries; span += kSpanKeys) {
    meet(Meeting{block, span, std::min(span + kSpanKeys, padded)});
  }
}

/// Deals out scratch; without any it only counts.
struct Cursor {
  float* base = nullptr;
  std::int64_t used = 0;

  float* take(std::int64_t count) {
    float* const taken = base == nullptr ? nullptr : base + used;
    used += count;
    return taken;
  }
};

/// What forward() works in.
struct ForwardScratch {
  std::int64_t room;  ///< of a row of scores
  float *keys, *values, *queries, *scores, *sums, *largest, *masses;

  ForwardScratch(Cursor& cursor, std::int64_t padded, std::int64_t width)
      : room(std::min(kSpanKeys, padded)),
        keys(cursor.take(rounded_up(padded, kPanelKeys) * width)),
        values(cursor.take(padded * width)),
        queries(cursor.take(kBlockQueries * width)),
        scores(cursor.take(kBlockQueries * room)),
        sums(cursor.take(kBlockQueries * width)),
        largest(cursor.take(kBlockQueries)),
        masses(cursor.take(kBlockQueries)) {}
};

/// The vector's numbers where its lanes are among the first `count`, else `otherwise`.
inline Floats first_of(Floats vector, std::int64_t count, float otherwise) {
  constexpr auto kEach = []<int... kLane>(std::integer_sequence<int, kLane...>) {
    return Integers{kLane...};
  }(std::make_integer_sequence<int, kLanes>{});
  return kEach < static_cast<std::int32_t>(count) ? vector : Floats{} + otherwise;
}

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

/// Scores of `count` keys become e^(score - largest so far), zero in the rest of `whole`. What was
/// summed up before is scaled to the new largest.
inline void add_weights(float* scores, std::int64_t count, std::int64_t whole, std::int64_t width,
                        float* __restrict sums, float& largest, float& mass) {
  const float before = largest;
  Floats each = Floats{} + before;
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    const auto seen = first_of(load_floats(scores + j), count - j, kUnseen);
    each = seen > each ? seen : each;
  }
  largest = largest_of(each);
  Floats added = {};
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    const auto below = first_of(load_floats(scores + j) - largest, count - j, kUnseen);
    const auto weights = exp_of_negative(below);
    store_floats(weights, scores + j);
    added += weights;
  }
  if (mass > 0.0F) {
    const float faded = exp_of_negative(before - largest);
    for (std::int64_t d = 0; d < width; ++d) sums[d] *= faded;
    mass *= faded;
  }
  mass += sum_of(added);
}

/// One block of `rows` of one head's queries over all keys that it may see: the scratch's sums, not
/// yet divided by its masses.
inline void attend_block(const ForwardScratch& s, std::int64_t rows, std::int64_t block,
                         std::int64_t padded, std::int64_t width) {
  std::fill_n(s.sums, kBlockQueries * width, 0.0F);
  std::fill_n(s.largest, kBlockQueries, kUnseen);
  std::fill_n(s.masses, kBlockQueries, 0.0F);
  over_spans(block, padded, [&](const Meeting& meeting) {
    for (std::int64_t row = 0; row < rows; row += kGroupRows) {
      const auto keys = meeting.keys_of_group(row);
      const auto whole = rounded_up(keys, kLanes);
      float* const scores = s.scores + row * s.room;
      multiply_by_keys(s.queries + row * width, s.keys + meeting.span * width, keys, width, scores,
                       s.room);
      for (std::int64_t r = row; r < row + kGroupRows; ++r) {
        add_weights(s.scores + r * s.room, meeting.keys_of(r), whole, width,
                    s.sums + r * width, s.largest[r], s.masses[r]);
      }
      add_product({scores, s.room, 1}, s.values + meeting.span * width, keys, width,
                  s.sums + row * width);
    }
  });
}

template <typename T>
void attention_forward(const AttentionTask<T>& task, float* scratch, HeadRows<T> out,
                       float* normalizers, std::int64_t normalizers_stride) {
  const auto length = task.length, dim = task.dim, width = rounded_up(dim, kLanes);
  const auto padded = rounded_up(length, kBlockQueries);
  Cursor cursor{scratch};
  const ForwardScratch s{cursor, padded, width};
  transpose(task.k, length, dim, padded, width, s.keys);
  widen(task.v, length, dim, 1.0F, padded, width, s.values);
  for (std::int64_t head = 0; head < task.group; ++head) {
    const auto q = task.q.head(head, dim);
    const auto into = out.head(head, dim);
    for (std::int64_t block = 0; block < length; block += kBlockQueries) {
      const auto rows = std::min(kBlockQueries, length - block);
      widen<T>({q.row(block), q.stride}, rows, dim, task.scale, kBlockQueries, width, s.queries);
      attend_block(s, rows, block, padded, width);
      for (std::int64_t i = 0; i < rows; ++i) {
        narrow<T>(s.sums + i * width, 1, dim, width, 1.0F / s.masses[i],
                    {into.row(block + i), into.stride});
        normalizers[head * normalizers_stride + block + i] = s.largest[i] + std::log(s.masses[i]);
      }
    }
  }
}

/// What backward() works in.
struct BackwardScratch {
  std::int64_t room;  ///< of a row of scores
  float *keys, *transposed_keys, *transposed_values, *of_keys, *of_values, *of_queries;
  float *queries, *of_out, *weights, *of_scores, *dots;

  BackwardScratch(Cursor& cursor, std::int64_t padded, std::int64_t width)
      : room(std::min(kSpanKeys, padded)),
        keys(cursor.take(padded * width)),
        transposed_keys(cursor.take(rounded_up(padded, kPanelKeys) * width)),
        transposed_values(cursor.take(rounded_up(padded, kPanelKeys) * width)),
        of_keys(cursor.take(padded * width)),
        of_values(cursor.take(padded * width)),
        of_queries(cursor.take(kBlockQueries * width)),
        queries(cursor.take(kBlockQueries * width)),
        of_out(cursor.take(kBlockQueries * width)),
        weights(cursor.take(kBlockQueries * room)),
        of_scores(cursor.take(kBlockQueries * room)),
        dots(cursor.take(kBlockQueries)) {}
};

/// Scores become weights, gradients of weights those of scores; zero beyond `count`.
inline void weights_backward(float* scores, float* of_weights, std::int64_t count,
                             std::int64_t whole, float normalizer, float dot) {
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    const auto below = first_of(load_floats(scores + j) - normalizer, count - j, kUnseen);
    const auto weights = exp_of_negative(below);
    const auto of_scores = weights * (load_floats(of_weights + j) - dot);
    store_floats(weights, scores + j);
    store_floats(first_of(of_scores, count - j, 0.0F), of_weights + j);
  }
}

/// Adds what one block of queries and the keys that it may see give to all gradients.
inline void block_backward(const BackwardScratch& s, const float* normalizers, std::int64_t rows,
                           std::int64_t block, std::int64_t padded, std::int64_t width) {
  const auto whole_rows = rounded_up(rows, kGroupRows);
  std::fill_n(s.of_queries, kBlockQueries * width, 0.0F);
  over_spans(block, padded, [&](const Meeting& meeting) {
    const auto from = meeting.span * width;
    for (std::int64_t row = 0; row < whole_rows; row += kGroupRows) {
      const auto keys = meeting.keys_of_group(row);
      const auto whole = rounded_up(keys, kLanes);
      float* const of_scores = s.of_scores + row * s.room;
      multiply_by_keys(s.queries + row * width, s.transposed_keys + from, keys, width,
                       s.weights + row * s.room, s.room);
      multiply_by_keys(s.of_out + row * width, s.transposed_values + from, keys, width, of_scores,
                       s.room);
      for (std::int64_t r = row; r < row + kGroupRows; ++r) {
        weights_backward(s.weights + r * s.room, s.of_scores + r * s.room, meeting.keys_of(r),
                         whole, r < rows ? normalizers[r] : 0.0F, s.dots[r]);
      }
      add_product({of_scores, s.room, 1}, s.keys + from, keys, width, s.of_queries + row * width);
    }
    const auto keys = meeting.keys_of_group(whole_rows - kGroupRows);
    for (std::int64_t key = 0; key < keys; key += kGroupRows) {
      // Queries before the first of these keys do not see them.
      const auto first = std::max<std::int64_t>(0, meeting.span + key - block);
      const auto depth = whole_rows - first;
      const auto into = (meeting.span + key) * width;
      add_product({s.weights + first * s.room + key, 1, s.room}, s.of_out + first * width, depth,
                  width, s.of_values + into);
      add_product({s.of_scores + first * s.room + key, 1, s.room}, s.queries + first * width, depth,
                  width, s.of_keys + into);
    }
  });
}

template <typename T>
float dot_of(const T* a, const T* b, std::int64_t count) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += load(a[i]) * load(b[i]);
  return sum;
}

template <typename T>
void attention_backward(const AttentionTask<T>& task, float* scratch, const float* normalizers,
                        std::int64_t normalizers_stride, const AttentionGradients<T>& gradients) {
  const auto length = task.length, dim = task.dim, width = rounded_up(dim, kLanes);
  const auto padded = rounded_up(length, kBlockQueries);
  Cursor cursor{scratch};
  const BackwardScratch s{cursor, padded, width};
  widen(task.k, length, dim, 1.0F, padded, width, s.keys);
  transpose(task.k, length, dim, padded, width, s.transposed_keys);
  transpose(task.v, length, dim, padded, width, s.transposed_values);
  std::fill_n(s.of_keys, padded * width, 0.0F);
  std::fill_n(s.of_values, padded * width, 0.0F);
  for (std::int64_t head = 0; head < task.group; ++head) {
    const auto q = task.q.head(head, dim), out = gradients.out.head(head, dim),
               of_out = gradients.of_out.head(head, dim);
    const auto of_q = gradients.of_q.head(head, dim);
    for (std::int64_t block = 0; block < length; block += kBlockQueries) {
      const auto rows = std::min(kBlockQueries, length - block);
      widen<T>({q.row(block), q.stride}, rows, dim, task.scale, kBlockQueries, width, s.queries);
      widen<T>({of_out.row(block), of_out.stride}, rows, dim, 1.0F, kBlockQueries, width,
                 s.of_out);
      std::fill_n(s.dots, kBlockQueries, 0.0F);
      for (std::int64_t i = 0; i < rows; ++i) {
        s.dots[i] = dot_of(out.row(block + i), of_out.row(block + i), dim);
      }
      block_backward(s, normalizers + head * normalizers_stride + block, rows, block, padded,
                     width);
      narrow<T>(s.of_queries, rows, dim, width, task.scale, {of_q.row(block), of_q.stride});
    }
  }
  narrow(s.of_keys, length, dim, width, 1.0F, gradients.of_k);
  narrow(s.of_values, length, dim, width, 1.0F, gradients.of_v);
}

inline std::int64_t attention_scratch(std::int64_t length, std::int64_t dim) {
  const auto padded = rounded_up(length, kBlockQueries), width = rounded_up(dim, kLanes);
  Cursor forward, backward;
  ForwardScratch{forward, padded, width};
  BackwardScratch{backward, padded, width};
  return std::max(forward.used, backward.used);
}

template <typename T>
constexpr AttentionKernels<T> kAttentionKernels{.scratch = attention_scratch,
                                                .forward = attention_forward<T>,
                                                .backward = attention_backward<T>};

}  // namespace
}  // namespace hone::detail::HONE_KERNELS
