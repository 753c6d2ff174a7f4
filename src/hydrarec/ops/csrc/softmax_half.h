// The products of the full softmax in matrix tiles, of operands rounded to bfloat16: logits with an error of about
// 2^-8 of |h| |c| / sqrt(d). Sums, exponentials and normalisers are in float32.
#pragma once

#include "softmax_sums.h"

#if defined(HYDRAREC_AMX)
namespace {

// Where things lie in a packed tile of EVENTS hidden states: log2(e) h^T [event / 16][d / 32], h [event / 32][d / 16].
// In a strip of ITEMS: rows [item / 16][d / 32], their transpose [d / 16][item / 32].
class HalfProducts {
 public:
  using Session = TileSession;
  explicit HalfProducts(int64_t d) : d(d), row(round_up(d, 32)) {}
  int64_t width() const { return row; }
  int64_t packed_size() const { return EVENTS * row; }
  int64_t strip_size() const { return ITEMS * row + ITEMS * EVENTS; }

  void read_hidden(int64_t n, const float* from, int64_t from_row, float* packed) const {
    for (int64_t t = 0; t < EVENTS; t += 16)
      for (int64_t i = 0; i < row; i += 32, packed += TILE) {
        read_rows(n - t, from + t * from_row, from_row, i, 1.44269504088896341f, packed);
        turn(packed);
      }
    for (int64_t t = 0; t < EVENTS; t += 32)
      for (int64_t i = 0; i < row; i += 16, packed += TILE) read_pairs(n - t, from + t * from_row, from_row, i, packed);
  }

  void read_strip(int64_t n, const float* from, int64_t from_row, bool whole, float* strip) const {
    for (int64_t v = 0; v < ITEMS; v += 16)
      for (int64_t i = 0; i < row; i += 32, strip += TILE) read_rows(n - v, from + v * from_row, from_row, i, 1, strip);
    for (int64_t i = 0; whole && i < row; i += 16)
      for (int64_t v = 0; v < ITEMS; v += 32, strip += TILE) {
        read_pairs(n - v, from + v * from_row, from_row, i, strip);
        turn(strip);
      }
  }

  void normalise(int64_t n, const float* packed, const float* strip, const Given& given, const Sums& found) const {
    alignas(64) float tile[ITEMS * EVENTS];
    logits(n, packed, strip, tile);
    add_exponentials(n, tile, found);
    own_places(n, given, [&](int64_t event, int64_t place) { found.of_own[event] = tile[place]; });
  }

  TILES void accumulate(int64_t n, const float* packed, float* strip, const Given& given, float* d_events,
                        float* d_items) const {
    constexpr int64_t next_item = EVENTS / 32 * TILE, next_event = ITEMS / 32 * TILE;
    alignas(64) float tile[ITEMS * EVENTS];
    float *for_items = strip + ITEMS * row, *for_events = for_items + ITEMS * EVENTS / 2;
    logits(n, packed, strip, tile);
    for (int64_t v = 0; v < ITEMS; v += 32)
      for (int64_t t = 0; t < EVENTS; t += 32)
        round_gradients(n - v, tile + v * EVENTS + t, given.at(v, t), for_items + v / 16 * next_item + t / 32 * TILE,
                        for_events + t / 16 * next_event + v / 32 * TILE);
    TILE_FENCE();
    const float *h = packed + EVENTS * row / 2, *c = strip + ITEMS * row / 2;
    for (int64_t v = 0; v < ITEMS; v += 32)
      for (int64_t i = 0; i < row; i += 32)
        multiply_pairs<true>(EVENTS / 32, {for_items + v / 16 * next_item, next_item, TILE},
                             {h + i / 16 * TILE, TILE, row / 16 * TILE}, d_items + v * row + i, row);
    for (int64_t i = 0; i < row; i += 32)
      for (int64_t t = 0; t < EVENTS; t += 32)
        multiply_pairs<true>(ITEMS / 32, {c + i / 16 * next_event, next_event, TILE},
                             {for_events + t / 16 * next_event, next_event, TILE}, d_events + i * EVENTS + t, EVENTS);
    TILE_FENCE();
  }

  void write_hidden(int64_t n, const float* d_events, float* to) const { transpose(d, n, d_events, EVENTS, to, d, d); }

 private:
  int64_t d, row;

  // tile (n x EVENTS): logits to base 2. Rows from n to the next 32 are zeros.
  TILES void logits(int64_t n, const float* packed, const float* strip, float* tile) const {
    const int64_t deep = row / 32;
    TILE_FENCE();
    for (int64_t v = 0; v < n; v += 32)
      for (int64_t t = 0; t < EVENTS; t += 32)
        multiply_pairs<false>(deep, {strip + v / 16 * deep * TILE, deep * TILE, TILE},
                              {packed + t / 16 * deep * TILE, deep * TILE, TILE}, tile + v * EVENTS + t, EVENTS);
    TILE_FENCE();
  }

  // Logits of 32 items and 32 events into gradients, once for the items and once for the events; zeros from n on.
  static void round_gradients(int64_t n, const float* logits, const Given& given, float* for_items, float* for_events) {
    constexpr int64_t next_item = EVENTS / 32 * TILE, next_event = ITEMS / 32 * TILE;
    const vf highest[2] = {load(given.highest), load(given.highest + 16)};
    const vf log_sum[2] = {load(given.log_sum), load(given.log_sum + 16)};
    const vi own[2] = {targets(given.own), targets(given.own + 16)};
    const auto gradient = [&](int64_t v, int64_t t) {
      if (v >= n) return vu{};
      const vf p = vexp2((load(logits + v * EVENTS + 16 * t) - highest[t]) - log_sum[t]);
      return round_up_half(own[t] == vi{} + static_cast<int32_t>(given.first + v) ? p - splat(given.share) : p);
    };
    for (int64_t r = 0; r < 16; r++, for_items += 16, for_events += 16) {
      const vu a = gradient(r, 0), b = gradient(r, 1), c = gradient(r + 16, 0), e = gradient(r + 16, 1);
      store(for_items, pair(a, b)), store(for_items + next_item, pair(c, e));
      store(for_events, pair(a, c)), store(for_events + next_event, pair(b, e));
    }
  }
  // The upper half of this float is x in bfloat16.
  static vu round_up_half(vf x) { return (vu)x + 0x8000u; }

  vf read(int64_t left, const float* from, int64_t i) const {
    return left > 0 && i < d ? load_some(from + i, d - i) : vf{};
  }
  // 32 columns of 16 rows, of which n are left; a lane pairs two columns 16 apart.
  void read_rows(int64_t n, const float* from, int64_t from_row, int64_t i, float factor, float* tile) const {
    for (int64_t r = 0; r < 16; r++, from += from_row, tile += 16) {
      const vf a = read(n - r, from, i) * splat(factor), b = read(n - r, from, i + 16) * splat(factor);
      store(tile, pair(round_up_half(a), round_up_half(b)));
    }
  }
  // 16 columns of 32 rows; a lane pairs two rows 16 apart.
  void read_pairs(int64_t n, const float* from, int64_t from_row, int64_t i, float* tile) const {
    for (int64_t r = 0; r < 16; r++, from += from_row, tile += 16)
      store(tile, pair(round_up_half(read(n - r, from, i)), round_up_half(read(n - r - 16, from + 16 * from_row, i))));
  }
};

}  // namespace
#endif
