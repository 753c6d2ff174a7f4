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

// The decays of some events turned into scales: with S = s R the update of R is one fused multiply-add. A run begins where the scale got small: it is folded into R and starts again at 1.
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

template <int L, int P>
struct Size {
  static constexpr int vectors = L, rows = P;
};

// Rows of events, in the order of the visit: back in time, `row` is negative.
struct Rows {
  const float* p;
  int64_t row;
  Rows from(int64_t i) const { return Rows{p + i * row, row}; }
  Rows back(int64_t events) const { return Rows{p + (events - 1) * row, -row}; }
};

struct Out {
  float* p;
  int64_t row;
  Out back(int64_t events) const { return Out{p + (events - 1) * row, -row}; }
};

// The state before the events and after them, rows of lanes; they may be the same.
struct Passage {
  const float* before;
  float* after;
  int64_t row;
};

// One block of P rows of the state and L vectors of lanes, over all events. R in registers. scale, inverse: of the plan, or
// with a factor of every event's own in them. ADD: to what other rows gave. LAST: no rows follow.
template <int L, int P, bool ADD, bool LAST, bool BEFORE>
INLINE void scan_block(bool back, Rows v, Rows b, Rows c, const Plan& plan, const float* scale, const float* inverse,
                       Rows others, Out out, Passage s) {
  vf R[P][L];
  const vf entering = splat(back ? plan.last : 1), leaving = splat(back ? 1 : plan.last);
  for (int p = 0; p < P; p++)
    for (int l = 0; l < L; l++) R[p][l] = load(s.before + p * s.row + l * W) * entering;
  auto fold = [&](int64_t run) {
    if (plan.fold[run] == 1) return;
    const vf f = splat(plan.fold[run]);
    for (int p = 0; p < P; p++)
      for (int l = 0; l < L; l++) R[p][l] *= f;
  };
  for (int64_t r = 0; r < plan.runs; r++) {
    const int64_t run = back ? plan.runs - 1 - r : r, first = plan.first[run], end = plan.first[run + 1];
    if (!back) fold(run);
    for (int64_t n = first, i = back ? end - 1 : first, step = back ? -1 : 1; n < end; n++, i += step) {
      constexpr int SUMS = P > 8 ? 2 : 1;  // one would be a chain longer than the rest of the work
      vf in[L], sum[SUMS][L] = {};
      for (int l = 0; l < L; l++) {
        in[l] = load(v.p + l * W) * splat(inverse[i]);
        if (ADD) sum[0][l] = load(others.p + l * W);
      }
      for (int p = 0; p < P; p++) {
        const vf bp = splat(b.p[p]), cp = splat(c.p[p]);
        for (int l = 0; l < L; l++) {
          vf& of = sum[p % SUMS][l];
          if (BEFORE) of += cp * R[p][l];
          R[p][l] += bp * in[l];
          if (!BEFORE) of += cp * R[p][l];
        }
      }
      for (int l = 0; l < L; l++) {
        if (SUMS == 2) sum[0][l] += sum[1][l];
        store(out.p + l * W, LAST ? sum[0][l] * splat(scale[i]) : sum[0][l]);
      }
      v.p += v.row, b.p += b.row, c.p += c.row, others.p += others.row, out.p += out.row;
    }
    if (back) fold(run);
  }
  for (int p = 0; p < P; p++)
    for (int l = 0; l < L; l++) store(s.after + p * s.row + l * W, R[p][l] * leaving);
}

// All lanes and rows. `v`, `out` and state rows are readable and writable up to a multiple of W lanes. Going back in time,
// the gradient of the state after the last event enters, and that of the state before the first leaves. Everything is the
// forward's transpose, so the plan is the forward's: its runs from the last to the first, scale and inverse in each
// other's place.
template <bool BEFORE>
inline void scan(int64_t events, bool back, int64_t lanes, int64_t P, Rows v, Rows b, Rows c, const Plan& plan,
                 const float* scale, const float* inverse, Out out, Passage s) {
  if (back) v = v.back(events), b = b.back(events), c = c.back(events), out = out.back(events);
  constexpr int CELLS = MANY_REGISTERS ? 16 : 8;  // two vectors of lanes side by side: b and c are fetched half as often
  // What the first rows give waits here: in a caller's tensor it could push v out of the cache, a head's rows lie there at
  // large powers of two.
  alignas(64) float waiting[CHUNK * 2 * W];
  int64_t l = 0, p;
  auto block = [&](auto size) {
    constexpr int L = decltype(size)::vectors, SIZE = decltype(size)::rows;
    const Rows vl{v.p + l, v.row}, bp{b.p + p, b.row}, cp{c.p + p, c.row}, others{waiting, L * W};
    const Out to{out.p + l, out.row}, wait{waiting, L * W};
    const Passage sp{s.before + p * s.row + l, s.after + p * s.row + l, s.row};
    const bool last = p + SIZE == P;
    if (p && last) scan_block<L, SIZE, true, true, BEFORE>(back, vl, bp, cp, plan, scale, inverse, others, to, sp);
    else if (p) scan_block<L, SIZE, true, false, BEFORE>(back, vl, bp, cp, plan, scale, inverse, others, wait, sp);
    else if (last) scan_block<L, SIZE, false, true, BEFORE>(back, vl, bp, cp, plan, scale, inverse, others, to, sp);
    else scan_block<L, SIZE, false, false, BEFORE>(back, vl, bp, cp, plan, scale, inverse, others, wait, sp);
    p += SIZE;
  };
  auto columns = [&](auto vectors) {
    constexpr int L = decltype(vectors)::vectors;
    p = 0;
    while (p + CELLS / L <= P) block(Size<L, CELLS / L>{});
    while (p + 4 <= P) block(Size<L, 4>{});
    while (p < P) block(Size<L, 1>{});
    l += L * W;
  };
  while (l + W < lanes) columns(Size<2, 0>{});
  if (l < lanes) columns(Size<1, 0>{});
}

}  // namespace
