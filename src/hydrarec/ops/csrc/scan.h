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

constexpr int64_t CHUNK = 64;  // events between two saved states

// The decays of some events turned into scales: with S = s R the update of R is one fused multiply-add. Events stand in
// the order of the visit. A run begins where the scale got small: it is folded into R and starts again at 1.
struct Plan {
  float scale[CHUNK], inverse[CHUNK];
  float fold[CHUNK + 2];  // what R is multiplied by before a run
  int64_t first[CHUNK + 2];
  int64_t runs;
  float last;  // scale at the last event

  // decay: `events` values, readable and writable up to a multiple of W.
  void make(int64_t events, float* decay) {
    constexpr float SMALL = 0x1p-40f, TINY = 0x1p-60f;
    for (int64_t i = events; i % W; i++) decay[i] = 1;
    runs = 0, last = 1;
    begin(0, 1);
    for (int64_t i = 0; i < events; i += W) {
      const vf products = prefix_products(load(decay + i));
      if (!(products[W - 1] > TINY && products[W - 1] < 1 / TINY)) {  // strong decay: every event is a run
        for (int64_t j = i; j < events && j < i + W; j++) begin(j, last * decay[j]), scale[j] = inverse[j] = last = 1;
        begin(i + W, 1);
        continue;
      }
      if (!(last > SMALL && last < 1 / SMALL)) begin(i, last), last = 1;
      const vf scales = products * splat(last);
      store(scale + i, scales);
      store(inverse + i, splat(1.0f) / scales);
      last = scales[W - 1];
    }
    first[runs] = events;
    if (runs && first[runs - 1] >= events) first[--runs] = events;
  }

 private:
  void begin(int64_t at, float factor) {
    if (runs && first[runs - 1] == at) {
      fold[runs - 1] *= factor;
      return;
    }
    first[runs] = at, fold[runs] = factor, runs++;
  }
};

template <int N>
struct Size {
  static constexpr int value = N;
};

struct Rows {
  const float* p;
  int64_t row;
};

// The state before the events and after them, rows of lanes; they may be the same.
struct Passage {
  const float* before;
  float* after;
  int64_t row;
};

// One block of P rows of the state and one vector of lanes, over all events. R in registers. scale, inverse: of the plan,
// or with a factor of every event's own in them.
template <int P, bool ADD, bool BEFORE>
INLINE void scan_block(int64_t events, bool backward, Rows v, Rows b, Rows c, const Plan& plan, const float* scale,
                       const float* inverse, float* out, int64_t out_row, Passage s) {
  vf R[P];
  for (int p = 0; p < P; p++) R[p] = load(s.before + p * s.row);
  const int64_t start = backward ? events - 1 : 0, step = backward ? -1 : 1;
  const float *vt = v.p + start * v.row, *bt = b.p + start * b.row, *ct = c.p + start * c.row;
  float* to = out + start * out_row;
  const int64_t v_step = step * v.row, b_step = step * b.row, c_step = step * c.row, to_step = step * out_row;
  for (int64_t run = 0; run < plan.runs; run++) {
    if (plan.fold[run] != 1) {
      const vf f = splat(plan.fold[run]);
      for (int p = 0; p < P; p++) R[p] *= f;
    }
    for (int64_t i = plan.first[run]; i < plan.first[run + 1]; i++) {
      const vf in = load(vt) * splat(inverse[i]);
      vf even{}, odd{};  // two sums: one would be a chain longer than the rest of the work
      for (int p = 0; p < P; p++) {
        vf& sum = p % 2 ? odd : even;
        if (BEFORE) sum += splat(ct[p]) * R[p];
        R[p] += splat(bt[p]) * in;
        if (!BEFORE) sum += splat(ct[p]) * R[p];
      }
      vf total = (even + odd) * splat(scale[i]);
      if (ADD) total += load(to);
      store(to, total);
      vt += v_step, bt += b_step, ct += c_step, to += to_step;
    }
  }
  const vf f = splat(plan.last);
  for (int p = 0; p < P; p++) store(s.after + p * s.row, R[p] * f);
}

// All lanes and rows. `v`, `out` and state rows are readable and writable up to a multiple of W lanes. Going back in time,
// the state enters as the gradient of the state after the last event, its decay already applied, and leaves as the gradient
// of the state after the first event, which the caller decays.
template <bool BEFORE>
inline void scan(int64_t events, bool backward, int64_t lanes, int64_t P, Rows v, Rows b, Rows c, const Plan& plan,
                 const float* scale, const float* inverse, float* out, int64_t out_row, Passage s) {
  constexpr int BLOCK = MANY_REGISTERS ? 16 : 8;
  for (int64_t l = 0; l < lanes; l += W) {
    int64_t p = 0;
    auto block = [&](auto size) {
      constexpr int SIZE = decltype(size)::value;
      const Rows vl{v.p + l, v.row}, bp{b.p + p, b.row}, cp{c.p + p, c.row};
      const Passage sp{s.before + p * s.row + l, s.after + p * s.row + l, s.row};
      if (p) scan_block<SIZE, true, BEFORE>(events, backward, vl, bp, cp, plan, scale, inverse, out + l, out_row, sp);
      else scan_block<SIZE, false, BEFORE>(events, backward, vl, bp, cp, plan, scale, inverse, out + l, out_row, sp);
      p += SIZE;
    };
    while (p + BLOCK <= P) block(Size<BLOCK>{});
    while (p + 4 <= P) block(Size<4>{});
    while (p < P) block(Size<1>{});
  }
}

}  // namespace
