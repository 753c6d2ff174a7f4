// The products of the full softmax in matrix tiles.
#pragma once

#include "softmax_sums.h"

#if defined(HYDRAREC_AMX)
namespace {

// Where things lie in a packed tile of EVENTS hidden states: h^T as bytes [event / 16][d / 64][digit], h as halves
// [event / 32][d / 16][half], steps of the events. In a strip of ITEMS: rows as bytes [item / 16][d / 64][digit], their
// transpose as halves [d / 16][item / 32][half], steps of the items.
class AmxProducts {
 public:
  using Session = TileSession;
  explicit AmxProducts(int64_t d) : d(d), row(round_up(d, 32)), deep(round_up(d, 64) / 64) {}
  int64_t width() const { return row; }
  int64_t packed_size() const { return bytes_size(EVENTS) + halves_size(EVENTS) + EVENTS; }
  int64_t strip_size() const { return bytes_size(ITEMS) + halves_size(ITEMS) + ITEMS + (PAIRED + 2 * SUMS) * TILE; }

  void read_hidden(int64_t n, const float* from, int64_t from_row, float* packed) const {
    float* steps = const_cast<float*>(event_steps(packed));
    for (int64_t t = 0; t < EVENTS; t += 16) {
      float* tiles = packed + t / 16 * deep * 3 * TILE;
      read_bytes(n - t, from + t * from_row, from_row, tiles, steps + t);
      for (int64_t k = 0; k < deep * 3; k++) turn(tiles + k * TILE);
      store(steps + t, load(steps + t) * splat(1.44269504088896341f * 65536));  // to base 2, in units of the last place
    }
    float* halves = packed + bytes_size(EVENTS);
    for (int64_t t = 0; t < EVENTS; t += 32)
      for (int64_t i = 0; i < row; i += 16, halves += 2 * TILE) read_halves(n - t, from + t * from_row, from_row, i, halves);
  }

  void read_strip(int64_t n, const float* from, int64_t from_row, bool whole, float* strip) const {
    float* steps = const_cast<float*>(item_steps(strip));
    for (int64_t v = 0; v < ITEMS; v += 16)
      read_bytes(n - v, from + v * from_row, from_row, strip + v / 16 * deep * 3 * TILE, steps + v);
    float* halves = strip + bytes_size(ITEMS);
    for (int64_t i = 0; whole && i < row; i += 16)
      for (int64_t v = 0; v < ITEMS; v += 32, halves += 2 * TILE) {
        read_halves(n - v, from + v * from_row, from_row, i, halves);
        turn(halves), turn(halves + TILE);
      }
  }

  TILES void normalise(int64_t n, const float* packed, float* strip, const Given& given, const Sums& found) const {
    const float *events = event_steps(packed), *items = item_steps(strip);
    float* sums = scratch(strip);
    TILE_FENCE();
    for (int64_t v = 0; v < n; v += 32)
      for (int64_t t = 0; t < EVENTS; t += 16) {
        multiply_bytes(deep, bytes_of(strip, v), bytes_of(packed, t));
        store_sums(sums);
        add_exponentials(n - v < 32 ? n - v : 32, sums, items + v, events + t, found.at(t));
        find_own(given.own + t, given.first + v, sums, items + v, events + t, found.of_own + t);
      }
  }

  TILES void accumulate(int64_t n, const float* packed, float* strip, const Given& given, float* d_events,
                        float* d_items) const {
    float *sums = scratch(strip), *for_items = sums + 2 * SUMS * TILE, *for_events = for_items + PAIRED / 2 * TILE;
    constexpr int64_t next_item = EVENTS / 32 * 2 * TILE, next_event = ITEMS / 32 * 2 * TILE;
    bool large[ITEMS / 32][EVENTS / 32];
    TILE_FENCE();
    for (int64_t v = 0; v < ITEMS; v += 32)
      for (int64_t t = 0; t < EVENTS; t += 32) {
        for (int64_t i = 0; i < 2; i++) {
          multiply_bytes(deep, bytes_of(strip, v), bytes_of(packed, t + 16 * i));
          store_sums(sums + i * SUMS * TILE);
        }
        const Given part = given.at(v, t);
        const bool owned = among(part.own, part.first) | among(part.own + 16, part.first);
        const auto run = owned ? split<true> : split<false>;
        large[v / 32][t / 32] = run(n - v, sums, item_steps(strip) + v, event_steps(packed) + t, part,
                                    for_items + v / 16 * next_item + t / 32 * 2 * TILE,
                                    for_events + t / 16 * next_event + v / 32 * 2 * TILE);
      }
    TILE_FENCE();
    const float *h = packed + bytes_size(EVENTS), *c = strip + bytes_size(ITEMS);
    for (int64_t v = 0; v < ITEMS; v += 32)
      for (int64_t i = 0; i < row; i += 32)
        multiply_halves(EVENTS / 32, Halved{for_items + v / 16 * next_item, next_item, 2 * TILE},
                        Halved{h + i / 16 * 2 * TILE, 2 * TILE, row / 16 * 2 * TILE}, d_items + v * row + i, row,
                        large[v / 32], 1);
    for (int64_t i = 0; i < row; i += 32)
      for (int64_t t = 0; t < EVENTS; t += 32)
        multiply_halves(ITEMS / 32, Halved{c + i / 16 * next_event, next_event, 2 * TILE},
                        Halved{for_events + t / 16 * next_event, next_event, 2 * TILE}, d_events + i * EVENTS + t, EVENTS,
                        large[0] + t / 32, EVENTS / 32);
    TILE_FENCE();
  }

  void write_hidden(int64_t n, const float* d_events, float* to) const { transpose(d, n, d_events, EVENTS, to, d, d); }

 private:
  static constexpr int64_t PAIRED = 2 * 2 * ITEMS * EVENTS / 512;  // tiles that hold gradients of logits
  int64_t d, row, deep;
  int64_t bytes_size(int64_t n) const { return n / 16 * deep * 3 * TILE; }
  int64_t halves_size(int64_t n) const { return n / 32 * (row / 16) * 2 * TILE; }
  const float* bytes_of(const float* packed, int64_t first) const { return packed + bytes_size(first); }
  const float* event_steps(const float* packed) const { return packed + bytes_size(EVENTS) + halves_size(EVENTS); }
  const float* item_steps(const float* strip) const { return strip + bytes_size(ITEMS) + halves_size(ITEMS); }
  float* scratch(float* strip) const { return strip + bytes_size(ITEMS) + halves_size(ITEMS) + ITEMS; }

  // 16 rows from the n that are left, zeros behind them.
  void read_bytes(int64_t n, const float* from, int64_t from_row, float* tiles, float* steps) const {
    for (int64_t r = 0; r < 16; r++)
      steps[r] = split_bytes(from + r * from_row, r < n ? d : 0, deep * 64, reinterpret_cast<int8_t*>(tiles + r * 16));
  }
  // 16 columns of 32 rows; a lane pairs two rows 16 apart.
  void read_halves(int64_t n, const float* from, int64_t from_row, int64_t i, float* tiles) const {
    const auto read = [&](int64_t r) { return r < n && i < d ? load_some(from + r * from_row + i, d - i) : vf{}; };
    for (int64_t r = 0; r < 16; r++)
      store_pairs(split_halves(read(r)), split_halves(read(r + 16)), tiles + r * 16, tiles + TILE + r * 16);
  }
};

}  // namespace
#endif
