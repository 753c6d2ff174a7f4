// The products of the full softmax in float32.
#pragma once

#include "gemm.h"
#include "softmax_tile.h"

namespace {

class FloatProducts {
 public:
  struct Session {};
  explicit FloatProducts(int64_t d) : d(d), row(pad(d)) {}
  int64_t width() const { return row; }
  int64_t packed_size() const { return 2 * EVENTS * row; }  // panels of log2(e) h^T, and h
  int64_t strip_size() const { return ITEMS * row; }

  void read_hidden(int64_t n, const float* from, int64_t from_row, float* packed) const {
    float* rows = packed + EVENTS * row;
    copy(n, EVENTS, from, from_row, rows);
    pack(rows, 1, row, d, EVENTS, packed);
    for (int64_t i = 0; i < d * EVENTS; i++) packed[i] *= 1.44269504088896341f;
  }
  void read_strip(int64_t n, const float* from, int64_t from_row, bool, float* strip) const {
    copy(n, ITEMS, from, from_row, strip);
  }
  void normalise(int64_t n, const float* packed, const float* strip, const Given& given, const Sums& found) const {
    alignas(64) float tile[ITEMS * EVENTS];
    logits(n, packed, strip, tile);
    add_exponentials(n, tile, found);
    own_places(n, given, [&](int64_t event, int64_t place) { found.of_own[event] = tile[place]; });
  }

  // d_events (EVENTS x d) += P strip, d_items (n x d) += P^T h, for the gradients P of logits.
  void accumulate(int64_t n, const float* packed, const float* strip, const Given& given, float* d_events,
                  float* d_items) const {
    alignas(64) float tile[ITEMS * EVENTS];
    logits(n, packed, strip, tile);
    probabilities(n, tile, given);
    accumulate_outer(EVENTS, row, n, tile, EVENTS, strip, row, d_events, row);
    product<true>(n, row, EVENTS, tile, EVENTS, 1, packed + EVENTS * row, row, false, d_items, row);
  }
  void write_hidden(int64_t n, const float* d_events, float* to) const {
    for (int64_t t = 0; t < n; t++) memcpy(to + t * d, d_events + t * row, d * sizeof(float));
  }

 private:
  int64_t d, row;
  // tile (n x EVENTS): logits to base 2.
  void logits(int64_t n, const float* packed, const float* strip, float* tile) const {
    multiply(n, EVENTS, d, strip, row, packed, tile, EVENTS);
  }
  void copy(int64_t n, int64_t rows, const float* from, int64_t from_row, float* to) const {
    for (int64_t t = 0; t < rows; t++)
      for (int64_t i = 0; i < row; i += W)
        store(to + t * row + i, t < n && i < d ? load_some(from + t * from_row + i, d - i) : vf{});
  }
};

}  // namespace
