// Mamba-2's recurrence for a chunk of events of one history and one head, forward and backward (Dao & Gu 2024).
#pragma once

#include "arena.h"
#include "scan.h"

namespace {

struct ScanSizes {
  int64_t E, N, m = 1;
  int64_t group() const { return E / m; }  // channels that share a decay
  int64_t lanes() const { return pad(group()); }
  int64_t forward_state() const { return m * N * lanes(); }  // [m][N][lanes]: lanes are channels
  int64_t turned_state() const { return E * pad(N); }        // [E][pad(N)]: lanes are states
};

// What a chunk needs beside its inputs.
struct ScanScratch {
  float *dt, *decay;                // [m][CHUNK]
  float *scaled, *plain;            // [CHUNK]: scales with the step size in them; the weights of mamba2_local
  float *dx, *dB, *dC;              // [CHUNK][lanes], [CHUNK][pad(N)] twice: what the scans give, one group's share
  float* past;                      // [group][pad(N)]: a state that nobody asks for
  void cut(Cutter& c, const ScanSizes& z) {
    dt = c.take(z.m * CHUNK), decay = c.take(z.m * CHUNK);
    scaled = c.take(CHUNK), plain = c.take(CHUNK);
    dx = c.take(CHUNK * z.lanes()), dC = c.take(CHUNK * pad(z.N)), dB = c.take(CHUNK * pad(z.N));
    past = c.take(z.group() * pad(z.N));
  }
};

// Between the caller's layout (E, N) and both of ours.
inline void to_forward(const ScanSizes& z, const float* state, float* out) {
  const int64_t P = z.group(), lanes = z.lanes();
  for (int64_t k = 0; k < z.m; k++) transpose(P, z.N, state + k * P * z.N, z.N, out + k * z.N * lanes, lanes, lanes);
}
inline void from_forward(const ScanSizes& z, const float* in, float* state) {
  const int64_t P = z.group(), lanes = z.lanes();
  for (int64_t k = 0; k < z.m; k++) transpose(z.N, P, in + k * z.N * lanes, lanes, state + k * P * z.N, z.N, z.N);
}
inline void forward_to_turned(const ScanSizes& z, const float* in, float* out) {
  const int64_t P = z.group(), lanes = z.lanes(), NP = pad(z.N);
  for (int64_t k = 0; k < z.m; k++) transpose(z.N, P, in + k * z.N * lanes, lanes, out + k * P * NP, NP, NP);
}

inline void decays(const ScanSizes& z, int64_t events, const float* A, ScanScratch& s) {
  for (int64_t k = 0; k < z.m; k++)
    for (int64_t t = 0; t < events; t += W)
      store(s.decay + k * CHUNK + t, vexp(load(s.dt + k * CHUNK + t) * splat(A[k])));
}

// out = values * dt.
INLINE void with_steps(int64_t events, const float* values, const float* dt, float* out) {
  for (int64_t i = 0; i < events; i += W) store(out + i, load(values + i) * load(dt + i));
}

// y (events, E) from s.dt, s.decay and the state, which moves on.
inline void mamba2_forward(const ScanSizes& z, int64_t events, Rows x, Rows B, Rows C, ScanScratch& s, float* y,
                           int64_t y_row, float* state) {
  Plan plan;
  for (int64_t k = 0; k < z.m; k++) {
    plan.make(events, s.decay + k * CHUNK);
    with_steps(events, plan.inverse, s.dt + k * CHUNK, s.scaled);
    float* of_group = state + k * z.N * z.lanes();
    scan<false>(events, false, z.group(), z.N, Rows{x.p + k * z.group(), x.row}, B, C, plan, plan.scale, s.scaled,
                Out{y + k * z.group(), y_row}, Passage{of_group, of_group, z.lanes()});
  }
}

struct ScanGradients {
  float* dx;  // rows of E
  int64_t dx_row;
  float *dB, *dC;  // rows of N
  int64_t row;
  float* ddt;  // [m][CHUNK]
  float* dA;   // [m], added to
};

// What the gradients of B, C, x and dt of some events still need when the scans are done, at most W events from t on. G:
// gradient of the log decay of event t, and then of the event behind the last.
inline void finish_events(const ScanSizes& z, int64_t k, int64_t t, int64_t events, Rows B, Rows C, Rows x, Rows dy,
                          const float* dt, float A, const ScanScratch& s, ScanGradients g, float& G) {
  const int64_t P = z.group(), NP = pad(z.N), lanes = z.lanes();
  vf change[W] = {}, input[W] = {}, own[W] = {};
  for (int64_t p = 0; p < P; p += W)
    for (int64_t i = 0; i < events; i++) {
      const vf xv = load(x.p + (t + i) * x.row + p);
      input[i] += first_lanes(load(s.dx + (t + i) * lanes + p) * xv, P - p);
      own[i] += first_lanes(load(dy.p + (t + i) * dy.row + p) * xv, P - p);
    }
  for (int64_t n = 0; n < z.N; n += W)
    for (int64_t i = 0; i < events; i++) {
      const int64_t at = (t + i) * NP + n;
      const vf b = load(B.p + (t + i) * B.row + n), c = load(C.p + (t + i) * C.row + n);
      change[i] += first_lanes(load(s.dC + at) * c - load(s.dB + at) * b, z.N - n);
    }
  const vf changes = sums<W>(change), inputs = sums<W>(input), selves = sums<W>(own) * load(dt + t);
  for (int64_t i = 0; i < events; i++) {
    g.ddt[k * CHUNK + t + i] = inputs[i] + G * A;
    g.dA[k] += G * dt[t + i];
    G -= changes[i];
    const vf step = splat(dt[t + i]), self = splat(selves[i]);
    float *dx = g.dx + (t + i) * g.dx_row + k * P, *dB = g.dB + (t + i) * g.row, *dC = g.dC + (t + i) * g.row;
    for (int64_t p = 0; p < P; p += W) store_some(dx + p, load(s.dx + (t + i) * lanes + p) * step, P - p);
    for (int64_t n = 0; n < z.N; n += W) {
      const vf from_C = load(s.dC + (t + i) * NP + n) + self * load(B.from(t + i).p + n);
      const vf from_B = load(s.dB + (t + i) * NP + n) + self * load(C.from(t + i).p + n);
      store_some(dC + n, k ? load_some(dC + n, z.N - n) + from_C : from_C, z.N - n);
      store_some(dB + n, k ? load_some(dB + n, z.N - n) + from_B : from_B, z.N - n);
    }
  }
}

// state: [E][pad(N)] before the chunk. later, later_turned: gradient of the state after the chunk in both layouts; leave as
// the gradient of the state before it.
inline void mamba2_backward(const ScanSizes& z, int64_t events, Rows x, Rows B, Rows C, Rows dy, const float* A,
                            ScanScratch& s, const float* state, float* later, float* later_turned, ScanGradients g) {
  const int64_t P = z.group(), NP = pad(z.N), size = P * NP, lanes = z.N * z.lanes();
  Plan plan;
  for (int64_t k = 0; k < z.m; k++) {
    const float *dt = s.dt + k * CHUNK, *before = state + k * size;
    float *of_group = later + k * lanes, *turned = later_turned + k * size;
    const Rows xk{x.p + k * P, x.row}, dyk{dy.p + k * P, dy.row};
    plan.make(events, s.decay + k * CHUNK);
    with_steps(events, plan.inverse, dt, s.scaled);
    scan<false>(events, true, P, z.N, dyk, C, B, plan, plan.inverse, plan.scale, Out{s.dx, z.lanes()},
                Passage{of_group, of_group, z.lanes()});
    scan<true>(events, false, z.N, P, B, xk, dyk, plan, plan.scale, s.scaled, Out{s.dC, NP}, Passage{before, s.past, NP});
    scan<true>(events, true, z.N, P, C, dyk, xk, plan, s.scaled, plan.scale, Out{s.dB, NP}, Passage{turned, turned, NP});

    // Gradient of log decay, G_t = <gradient of h_t, a_t h_{t-1}>, satisfies G_{t+1} = G_t - dC_t . C_t + dB_t . B_t. Both
    // products contain what event t gives itself, (dy_t . dt x_t) (B_t . C_t); without it nothing large cancels. Errors add
    // up along the sum, so it begins afresh with every chunk: at its start, where all that counts has decayed already.
    vf both{};
    for (int64_t p = 0; p < P; p++)
      for (int64_t n = 0; n < z.N; n += W)
        both += first_lanes(load(before + p * NP + n) * load(turned + p * NP + n), z.N - n);
    float G = sum(both);
    for (int64_t t = 0; t < events; t += W)
      finish_events(z, k, t, events - t < W ? events - t : W, B, C, xk, dyk, dt, A[k], s, g, G);
  }
}

}  // namespace
