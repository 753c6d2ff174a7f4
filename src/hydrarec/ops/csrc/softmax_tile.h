// One tile of logits to base 2, ITEMS rows of EVENTS: into sums of exponentials, into probabilities.
#pragma once

#include "simd.h"

namespace {

constexpr int64_t ITEMS = 128, EVENTS = 128;
constexpr int32_t NONE = -1;
constexpr int64_t CACHED = 1 << 20;  // bytes of the second-level cache that hidden states may take

// 2^x for x <= 0, relative error below 3e-7; where the result is below the normal floats, it is not exact.
INLINE vf vexp2(vf x) {
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: the sum's low bits are round(x)
#if !defined(__AVX512F__)
  x = vmax(x, splat(-126.0f));
#endif
  const vf shifted = x + magic, n = shifted - magic;
  const vf r = x - n;
  vf p = splat(1.32765e-3f);
  p = p * r + splat(9.67554e-3f);
  p = p * r + splat(5.550713e-2f);
  p = p * r + splat(2.402212e-1f);
  p = p * r + splat(6.9314697e-1f);
  p = p * r + splat(1.0f);
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  return (vf)((vu)p + ((vu)shifted << 23));
#endif
}

// What a tile is told: once normalisers are known, probabilities are 2^(logit - highest - log_sum).
struct Given {
  const int32_t* own;  // the targets, or NONE
  int64_t first;       // the item of the tile's first row
  const float *highest, *log_sum;
  float share;  // of an event in the mean
  Given at(int64_t v, int64_t t) const { return {own + t, first + v, highest + t, log_sum + t, share}; }
};

// What a tile adds to: the sum of 2^(logit - highest), the target's logit.
struct Sums {
  float *highest, *total, *of_own;
  Sums at(int64_t t) const { return {highest + t, total + t, of_own + t}; }
};

// run(event, its place in the tile) for the events whose target is among the n items.
template <class Run>
INLINE void own_places(int64_t n, const Given& given, Run&& run) {
  const auto item = [&](int64_t e) { return static_cast<uint32_t>(given.own[e]) - static_cast<uint32_t>(given.first); };
  bool any = false;
  for (int64_t e = 0; e < EVENTS; e++) any |= item(e) < n;
  for (int64_t e = 0; any && e < EVENTS; e++)
    if (item(e) < n) run(e, item(e) * EVENTS + e);
}

// The sums of n rows; highest rises where a row has more.
inline void add_exponentials(int64_t n, const float* tile, const Sums& found) {
  for (int64_t e = 0; e < EVENTS; e += W) {
    const vf before = load(found.highest + e);
    vf most[2] = {before, before}, sum[2] = {};
    int64_t i = 0;
    for (; i + 2 <= n; i += 2)
      for (int j = 0; j < 2; j++) most[j] = vmax(most[j], load(tile + (i + j) * EVENTS + e));
    for (; i < n; i++) most[0] = vmax(most[0], load(tile + i * EVENTS + e));
    const vf now = vmax(most[0], most[1]);
    for (i = 0; i + 2 <= n; i += 2)
      for (int j = 0; j < 2; j++) sum[j] += vexp2(load(tile + (i + j) * EVENTS + e) - now);
    for (; i < n; i++) sum[0] += vexp2(load(tile + i * EVENTS + e) - now);
    store(found.total + e, load(found.total + e) * vexp2(before - now) + (sum[0] + sum[1]));
    store(found.highest + e, now);
  }
}

// The tile becomes the gradients of its logits.
inline void probabilities(int64_t n, float* tile, const Given& given) {
  for (int64_t e = 0; e < EVENTS; e += W) {
    const vf highest = load(given.highest + e), log_sum = load(given.log_sum + e);
    for (int64_t i = 0; i < n; i++)
      store(tile + i * EVENTS + e, vexp2((load(tile + i * EVENTS + e) - highest) - log_sum));
  }
  own_places(n, given, [&](int64_t, int64_t place) { tile[place] -= given.share; });
}

}  // namespace
