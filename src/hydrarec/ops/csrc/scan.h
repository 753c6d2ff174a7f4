// The recurrence of Mamba-2 for one head, and by symmetry all of its gradients.
//
//   S_t = a_t S_{t-1} + b_t v_t^T      S: (P, lanes), b: (P), v: (lanes)
//   out_t = c_t^T S_t                  c: (P), out: (lanes)
//
// y   : forward in time,  v = dt x, b = B,    c = C
// dC  : forward in time,  v = B,    b = dt x, c = dy     (the state transposed)
// d(dt x): back in time,  v = dy,   b = C,    c = B
// dB  : back in time,     v = C,    b = dy,   c = dt x   (the state transposed)
// So nothing is ever summed across the lanes of a vector, and no state but the first is needed. dC and dB are read before
// the state takes the event in: what an event gives itself cancels in the gradient of the decay, see mamba2.h.
#pragma once

#include "simd.h"

namespace {

// The decays of a chunk, turned into scales: with S_t = s_t R_t the update of R is one fused multiply-add. The scale is
// folded into R and starts again at 1 when it gets small, so that nothing overflows.
struct Scales {
  float *scale, *inverse, *fold;  // (events) each; fold[t] != 1: multiply R by it before event t
};

// Returns the scale at the last event visited.
inline float make_scales(int64_t events, const float* decay, bool backward, Scales s) {
  float scale = 1;
  for (int64_t i = 0; i < events; i++) {
    const int64_t t = backward ? events - 1 - i : i;
    // Back in time the state decays by the event after: what leaves the last event decays by nothing here.
    const float a = backward ? (i == 0 ? 1.0f : decay[t + 1]) : decay[t];
    scale *= a;
    s.fold[t] = 1;
    if (!(scale > 0x1p-20f && scale < 0x1p20f)) {
      s.fold[t] = scale;
      scale = 1;
    }
    s.scale[t] = scale;
    s.inverse[t] = 1 / scale;
  }
  return scale;
}

struct Rows {
  const float* p;
  int64_t row;
};

// One block of P rows of the state and one vector of lanes, over all events. R in registers.
template <int P, bool ADD, bool BEFORE>
INLINE void scan_block(int64_t events, bool backward, Rows v, Rows b, Rows c, Scales s, float last_scale, float* out,
                       int64_t out_row, float* state, int64_t state_row) {
  vf R[P];
  for (int p = 0; p < P; p++) R[p] = load(state + p * state_row);
  const int64_t step = backward ? -1 : 1;
  int64_t t = backward ? events - 1 : 0;
  for (int64_t i = 0; i < events; i++, t += step) {
    if (__builtin_expect(s.fold[t] != 1, 0)) {
      const vf f = splat(s.fold[t]);
      for (int p = 0; p < P; p++) R[p] *= f;
    }
    const vf in = load(v.p + t * v.row) * splat(s.inverse[t]);
    const float *bt = b.p + t * b.row, *ct = c.p + t * c.row;
    constexpr int CHAINS = P < 4 ? P : 4;
    vf y[CHAINS] = {};
    for (int p = 0; p < P; p++) {
      if (BEFORE) y[p % CHAINS] += splat(ct[p]) * R[p];
      R[p] += splat(bt[p]) * in;
      if (!BEFORE) y[p % CHAINS] += splat(ct[p]) * R[p];
    }
    vf total = y[0];
    for (int j = 1; j < CHAINS; j++) total += y[j];
    total *= splat(s.scale[t]);
    if (ADD) total += load(out + t * out_row);
    store(out + t * out_row, total);
  }
  const vf f = splat(last_scale);
  for (int p = 0; p < P; p++) store(state + p * state_row, R[p] * f);
}

template <bool BEFORE>
INLINE void scan_rows(int64_t events, bool backward, int64_t P, Rows v, Rows b, Rows c, Scales s, float last_scale,
                      float* out, int64_t out_row, float* state, int64_t state_row) {
  constexpr int BLOCK = MANY_REGISTERS ? 16 : 8;
  int64_t p = 0;
  bool first = true;
#define BLOCKS_OF(SIZE)                                                                                           \
  for (; p + SIZE <= P; p += SIZE) {                                                                              \
    const Rows bp{b.p + p, b.row}, cp{c.p + p, c.row};                                                            \
    float* sp = state + p * state_row;                                                                            \
    if (first)                                                                                                    \
      scan_block<SIZE, false, BEFORE>(events, backward, v, bp, cp, s, last_scale, out, out_row, sp, state_row);   \
    else                                                                                                          \
      scan_block<SIZE, true, BEFORE>(events, backward, v, bp, cp, s, last_scale, out, out_row, sp, state_row);    \
    first = false;                                                                                                \
  }
  BLOCKS_OF(BLOCK)
  BLOCKS_OF(4)
  BLOCKS_OF(1)
#undef BLOCKS_OF
}

// All lanes and rows. `v`, `out` and `state` rows are readable and writable up to a multiple of W lanes.
// `last` is the scale at the last event visited. Going back in time, `state` enters as the gradient of the state after
// the last event, its decay already applied, and leaves as the gradient of the state after the first event, which the caller decays.
template <bool BEFORE>
inline void scan(int64_t events, bool backward, int64_t lanes, int64_t P, Rows v, Rows b, Rows c, Scales s, float last,
                 float* out, int64_t out_row, float* state, int64_t state_row) {
  for (int64_t l = 0; l < lanes; l += W)
    scan_rows<BEFORE>(events, backward, P, Rows{v.p + l, v.row}, b, c, s, last, out + l, out_row, state + l, state_row);
}

}  // namespace
