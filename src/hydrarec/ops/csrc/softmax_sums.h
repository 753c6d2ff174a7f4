// From sums of digits to sums of exponentials, and to gradients of logits in halves.
#pragma once

#include "amx_multiply.h"
#include "amx_split.h"
#include "softmax_tile.h"

#if defined(HYDRAREC_AMX)
namespace {

// The logits of an item, to base 2 once they are multiplied by both steps.
INLINE vf digits(const float* sums) {
  const auto place = [&](int64_t k) { return __builtin_convertvector((vi)load(sums + k * TILE), vf); };
  return place(0) * splat(65536.0f) + (place(1) * splat(256.0f) + place(2));
}
INLINE const float* sums_of(const float* sums, int64_t v) { return sums + v / 16 * 3 * TILE + v % 16 * 16; }

// Exponentials are measured against a reference that is not far below the highest logit so far: it rises seldom, so that
// most logits are looked at once.
inline void add_exponentials(int64_t n, const float* sums, const float* item_steps, const float* event_steps,
                             const Sums& found) {
  const vf of_events = load(event_steps);
  const auto logit = [&](int64_t v) { return digits(sums_of(sums, v)) * (of_events * splat(item_steps[v])); };
  const vf before = load(found.highest);
  vf most = before, sum{};
  for (int64_t v = 0; v < n; v++) {
    const vf x = logit(v);
    most = vmax(most, x), sum += vexp2(x - before);
  }
  vf total = load(found.total);
  if (_mm512_cmp_ps_mask((__m512)(most - before), _mm512_set1_ps(8), _CMP_GT_OQ)) {
    total *= vexp2(before - most), sum = vf{};
    for (int64_t v = 0; v < n; v++) sum += vexp2(logit(v) - most);
    store(found.highest, most);
  }
  store(found.total, total + sum);
}

INLINE vi targets(const int32_t* own) { return (vi)_mm512_loadu_si512(own); }
// Which of 16 events have a target among 32 items.
inline uint32_t among(const int32_t* own, int64_t first) {
  const vi item = targets(own) - static_cast<int32_t>(first);
  return _mm512_cmplt_epu32_mask((__m512i)item, _mm512_set1_epi32(32));
}
// The logits of those targets.
inline void find_own(const int32_t* own, int64_t first, const float* sums, const float* item_steps,
                     const float* event_steps, float* of_own) {
  const uint32_t events = among(own, first);
  for (int64_t t = 0; events && t < 16; t++) {
    if (!(events >> t & 1)) continue;
    const int64_t v = own[t] - first;
    of_own[t] = digits(sums_of(sums, v))[t] * (event_steps[t] * item_steps[v]);
  }
}

// The sums of 32 items and 32 events into gradients of their logits, as halves; OWNED: there are targets among them.
// Returns whether any is so large that what its lower half does to lower halves can be seen in an event's gradient.
template <bool OWNED>
inline bool split(int64_t n, const float* sums, const float* item_steps, const float* event_steps, const Given& given,
                  float* for_items, float* for_events) {
  constexpr int64_t next_item = EVENTS / 32 * 2 * TILE, next_event = ITEMS / 32 * 2 * TILE;
  const vf step[2] = {load(event_steps), load(event_steps + 16)};
  const vf highest[2] = {load(given.highest), load(given.highest + 16)};
  const vf log_sum[2] = {load(given.log_sum), load(given.log_sum + 16)};
  const vi own[2] = {targets(given.own), targets(given.own + 16)};
  vf most{};
  const auto gradient = [&](int64_t v, int64_t t) {
    if (v >= n) return Halves{};
    const vf logit = digits(sums_of(sums + t * SUMS * TILE, v)) * (step[t] * splat(item_steps[v]));
    const vf p = vexp2((logit - highest[t]) - log_sum[t]);
    most = vmax(most, p);
    if (!OWNED) return split_halves(p);
    return split_halves(own[t] == vi{} + static_cast<int32_t>(given.first + v) ? p - splat(given.share) : p);
  };
  for (int64_t r = 0; r < 16; r++, for_items += 16, for_events += 16) {
    const Halves a = gradient(r, 0), b = gradient(r, 1), c = gradient(r + 16, 0), e = gradient(r + 16, 1);
    store_pairs(a, b, for_items, for_items + TILE);
    store_pairs(c, e, for_items + next_item, for_items + next_item + TILE);
    store_pairs(a, c, for_events, for_events + TILE);
    store_pairs(b, e, for_events + next_event, for_events + next_event + TILE);
  }
  return _mm512_cmp_ps_mask((__m512)most, _mm512_set1_ps(given.share / 8), _CMP_GT_OQ);
}

}  // namespace
#endif
