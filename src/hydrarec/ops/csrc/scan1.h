// The Mamba-1 scan: one head over one history or a stretch of it (Gu & Dao 2023). Every channel and state has a decay of its own:
//
//   h_t[e][n] = exp(dt_t[e] A[e][n]) h_{t-1}[e][n] + dt_t[e] x_t[e] B_t[n],   y_t[e] = sum_n h_t[e][n] C_t[n]
//
// Lanes are channels; a block of states stands in registers. The backward walks a chunk once more, keeps its states and
// decays, and goes back.
#pragma once

#include <initializer_list>

#include "scan_call.h"

namespace {

constexpr int STATES = MANY_REGISTERS ? 16 : 8;  // states of a block; a multiple of W

struct Scan1 {
  static constexpr int64_t LOCAL = 65, LOCAL_BACK = 40;  // see Stretches::cost
  const ScanCall& m;
  int64_t e_row, n_row;
  Padded x, dt, B, C, dy;
  float *A, *dA, *state, *later;                  // [n_row][e_row]
  float *y, *dx, *ddt, *dB, *dC;                  // [CHUNK][e_row] or [CHUNK][n_row]
  float *states, *decays;                         // [CHUNK][STATES][W]
  float* elapsed;                                 // [e_row]

  explicit Scan1(const ScanCall& call) : m(call), e_row(pad(call.z.E)), n_row(pad(call.z.N)) {}
  void cut(Cutter& c) {
    for (Padded* p : {&x, &dt, &dy}) *p = Padded{c.take(CHUNK * e_row), e_row};
    for (Padded* p : {&B, &C}) *p = Padded{c.take(CHUNK * n_row), n_row};
    for (float** p : {&A, &dA, &state, &later}) *p = c.take(n_row * e_row);
    for (float** p : {&y, &dx, &ddt}) *p = c.take(CHUNK * e_row);
    for (float** p : {&dB, &dC}) *p = c.take(CHUNK * n_row);
    for (float** p : {&states, &decays}) *p = c.take(CHUNK * STATES * W);
    elapsed = c.take(e_row);
  }
  // (E, N) and [n_row][e_row], zeros around.
  void turn_in(const float* from, float* to) const {
    for (int64_t n = 0; n < n_row; n++)
      for (int64_t e = 0; e < e_row; e++) to[n * e_row + e] = n < m.z.N && e < m.z.E ? from[e * m.z.N + n] : 0.0f;
  }
  void turn_out(const float* from, float* to) const {
    for (int64_t e = 0; e < m.z.E; e++)
      for (int64_t n = 0; n < m.z.N; n++) to[e * m.z.N + n] = from[n * e_row + e];
  }
  int64_t passing() const { return n_row * e_row; }
  void begin(const float* states_given, const Stretch& part, float* to) const {
    if (part.entering) memcpy(to, part.entering, passing() * sizeof(float));
    else if (states_given) turn_in(m.state_of(states_given, part.u, part.g), to);
    else memset(to, 0, passing() * sizeof(float));
  }

  // W channels and STATES states over a chunk; `keep` fills states and decays, otherwise y is added to.
  template <bool KEEP>
  INLINE void walk(int64_t events, Rows xr, Rows dtr, Rows Br, Rows Cr, int64_t e, int64_t n) {
    vf h[STATES];
    const float* a = A + n * e_row + e;
    float* s = state + n * e_row + e;
    for (int j = 0; j < STATES; j++) h[j] = load(s + j * e_row);
    for (int64_t t = 0; t < events; t++) {
      const vf step = load(dtr.p + t * dtr.row + e), in = step * load(xr.p + t * xr.row + e);
      const float *b = Br.p + t * Br.row + n, *c = Cr.p + t * Cr.row + n;
      vf out{};
      for (int j = 0; j < STATES; j++) {
        const vf decay = vexp(step * load(a + j * e_row));
        h[j] = decay * h[j] + in * splat(b[j]);
        if (KEEP) store(decays + (t * STATES + j) * W, decay), store(states + (t * STATES + j) * W, h[j]);
        else out += h[j] * splat(c[j]);
      }
      if (!KEEP) store(y + t * e_row + e, (n ? load(y + t * e_row + e) : vf{}) + out);
    }
    for (int j = 0; j < STATES; j++) store(s + j * e_row, h[j]);
  }

  void forward(const Stretch& part) {
    const ScanSizes& z = m.z;
    const int64_t g = part.g, u = part.u;
    turn_in(m.A + g * z.E * z.N, A);
    begin(m.state, part, state);
    for (int64_t first = part.begin, k = m.chunk_of(u, first); first < part.end; first += CHUNK, k++) {
      const int64_t left = part.end - first, events = left < CHUNK ? left : CHUNK;
      if (m.bounds) turn_out(state, m.bounds + (k * m.G + g) * z.E * z.N);
      const Rows xr = x.of(m.x, z.E, W, first, g, events), dtr = dt.of(m.dt, z.E, W, first, g, events);
      const Rows Br = B.of(m.B, z.N, W, first, g, events), Cr = C.of(m.C, z.N, W, first, g, events);
      for (int64_t e = 0; e < z.E; e += W)
        for (int64_t n = 0; n < z.N; n += STATES) walk<false>(events, xr, dtr, Br, Cr, e, n);
      write_rows(m.y + (first * m.G + g) * z.E, m.G * z.E, y, e_row, z.E, events);
    }
    if (part.leaving) memcpy(part.leaving, state, passing() * sizeof(float));
    if (part.end == m.offsets[u + 1]) turn_out(state, m.final + (u * m.G + g) * z.E * z.N);
  }

  // Back over a chunk that `walk` has kept; `before` is the state it began with.
  INLINE void walk_back(int64_t events, Rows xr, Rows dtr, Rows Br, Rows Cr, Rows dyr, int64_t e, int64_t n,
                        const vf* before) {
    vf dh[STATES], gA[STATES];
    const float* a = A + n * e_row + e;
    float* l = later + n * e_row + e;
    for (int j = 0; j < STATES; j++) dh[j] = load(l + j * e_row), gA[j] = load(dA + (n + j) * e_row + e);
    for (int64_t t = events - 1; t >= 0; t--) {
      const vf step = load(dtr.p + t * dtr.row + e), xv = load(xr.p + t * xr.row + e), in = step * xv;
      const vf dyv = load(dyr.p + t * dyr.row + e);
      const float *b = Br.p + t * Br.row + n, *c = Cr.p + t * Cr.row + n;
      const float *h = states + t * STATES * W, *decay = decays + t * STATES * W;
      vf dinput{}, dstep{}, forB[STATES], forC[STATES];
      for (int j = 0; j < STATES; j++) {
        const vf previous = t ? load(h - (STATES - j) * W) : before[j];
        forC[j] = dyv * load(h + j * W);
        dh[j] += dyv * splat(c[j]);
        forB[j] = dh[j] * in;
        dinput += dh[j] * splat(b[j]);
        dh[j] *= load(decay + j * W);
        const vf rate = dh[j] * previous;  // gradient of dt A
        dstep += rate * load(a + j * e_row);
        gA[j] += rate * step;
      }
      for (int j = 0; j < STATES; j += W) {
        float *outB = dB + t * n_row + n + j, *outC = dC + t * n_row + n + j;
        store(outB, (e ? load(outB) : vf{}) + sums<W>(forB + j));
        store(outC, (e ? load(outC) : vf{}) + sums<W>(forC + j));
      }
      float *outx = dx + t * e_row + e, *outdt = ddt + t * e_row + e;
      store(outx, (n ? load(outx) : vf{}) + dinput * step);
      store(outdt, (n ? load(outdt) : vf{}) + dinput * xv + dstep);
    }
    for (int j = 0; j < STATES; j++) store(l + j * e_row, dh[j]), store(dA + (n + j) * e_row + e, gA[j]);
  }

  void backward(const Stretch& part, float* dA_out) {
    const ScanSizes& z = m.z;
    const int64_t g = part.g, u = part.u;
    turn_in(m.A + g * z.E * z.N, A);
    turn_in(dA_out, dA);
    begin(m.dfinal, part, later);
    for (int64_t k = part.chunks() - 1; k >= 0; k--) {
      const auto [first, events] = part.chunk(k);
      turn_in(m.bounds + (m.chunk_of(u, first) * m.G + g) * z.E * z.N, state);
      const Rows xr = x.of(m.x, z.E, W, first, g, events), dtr = dt.of(m.dt, z.E, W, first, g, events);
      const Rows Br = B.of(m.B, z.N, W, first, g, events), Cr = C.of(m.C, z.N, W, first, g, events);
      const Rows dyr = dy.of(m.dy, z.E, W, first, g, events);
      for (int64_t e = 0; e < z.E; e += W)
        for (int64_t n = 0; n < z.N; n += STATES) {
          vf before[STATES];
          for (int j = 0; j < STATES; j++) before[j] = load(state + (n + j) * e_row + e);
          walk<true>(events, xr, dtr, Br, Cr, e, n);
          walk_back(events, xr, dtr, Br, Cr, dyr, e, n, before);
        }
      write_rows(m.dx + (first * m.G + g) * z.E, m.G * z.E, dx, e_row, z.E, events);
      write_rows(m.ddt + (first * m.G + g) * z.E, m.G * z.E, ddt, e_row, z.E, events);
      write_rows(m.dB + (first * m.G + g) * z.N, m.G * z.N, dB, n_row, z.N, events);
      write_rows(m.dC + (first * m.G + g) * z.N, m.G * z.N, dC, n_row, z.N, events);
    }
    turn_out(dA, dA_out);
    if (part.leaving) memcpy(part.leaving, later, passing() * sizeof(float));
    if (part.begin == m.offsets[u]) turn_out(later, m.dstate + (u * m.G + g) * z.E * z.N);
  }

  // `passes` [n_row][e_row] goes through a chunk: the state, or with BACK the gradient of the state. Forward v = x, b = B;
  // back v = dy, b = C. See stretches.h.
  template <bool BACK>
  INLINE void pass(int64_t events, Rows vr, Rows dtr, Rows br, int64_t e, int64_t n, float* passes) {
    vf h[STATES];
    const float* a = A + n * e_row + e;
    for (int j = 0; j < STATES; j++) h[j] = load(passes + (n + j) * e_row + e);
    for (int64_t i = 0; i < events; i++) {
      const int64_t t = BACK ? events - 1 - i : i;
      const vf step = load(dtr.p + t * dtr.row + e), v = load(vr.p + t * vr.row + e), in = BACK ? v : step * v;
      for (int j = 0; j < STATES; j++) {
        const vf decay = vexp(step * load(a + j * e_row)), own = in * splat(br.p[t * br.row + n + j]);
        h[j] = BACK ? decay * (h[j] + own) : decay * h[j] + own;
      }
    }
    for (int j = 0; j < STATES; j++) store(passes + (n + j) * e_row + e, h[j]);
  }
  void local(const Stretch& part, bool back) {
    const ScanSizes& z = m.z;
    const int64_t g = part.g, chunks = part.chunks();
    turn_in(m.A + g * z.E * z.N, A);
    memset(part.leaving, 0, passing() * sizeof(float));
    memset(elapsed, 0, e_row * sizeof(float));
    for (int64_t i = 0; i < chunks; i++) {
      const auto [first, events] = part.chunk(back ? chunks - 1 - i : i);
      const Rows vr = back ? dy.of(m.dy, z.E, W, first, g, events) : x.of(m.x, z.E, W, first, g, events);
      const Rows br = back ? C.of(m.C, z.N, W, first, g, events) : B.of(m.B, z.N, W, first, g, events);
      const Rows dtr = dt.of(m.dt, z.E, W, first, g, events);
      for (int64_t e = 0; e < z.E; e += W) {
        for (int64_t n = 0; n < z.N; n += STATES)
          if (back) pass<true>(events, vr, dtr, br, e, n, part.leaving);
          else pass<false>(events, vr, dtr, br, e, n, part.leaving);
        vf time{};
        for (int64_t t = 0; t < events; t++) time += load(dtr.p + t * dtr.row + e);
        store(elapsed + e, load(elapsed + e) + time);
      }
    }
    for (int64_t n = 0; n < n_row; n++)
      for (int64_t e = 0; e < e_row; e += W)
        store(part.kept + n * e_row + e, vexp(load(A + n * e_row + e) * load(elapsed + e)));
  }
};

}  // namespace
