// Mamba-2's recurrence for a chunk of events of one history and one head, forward and backward (Dao & Gu 2024).
#pragma once

#include "arena.h"
#include "scan.h"

namespace {

constexpr int64_t PIECE = 16;  // events after which the gradient of the decay is computed afresh

struct ScanSizes {
  int64_t E, N, m;
  int64_t group() const { return E / m; }  // channels that share a decay
  int64_t lanes() const { return pad(group()); }
  int64_t forward_state() const { return m * N * lanes(); }  // [m][N][lanes]: lanes are channels
  int64_t turned_state() const { return E * pad(N); }        // [E][pad(N)]: lanes are states
};

// What a chunk needs beside its inputs.
struct ScanScratch {
  float *dt, *decay;                // [m][CHUNK]
  float *visited, *scaled, *plain;  // [CHUNK]: decays in the order of the visit, scales with the step size in them, step
  float* dC;                        // [CHUNK][pad(N)], one group's share
  float* dB;
  float* states;                    // [CHUNK / PIECE + 1][group][pad(N)], transposed
  void cut(Cutter& c, const ScanSizes& z) {
    dt = c.take(z.m * CHUNK), decay = c.take(z.m * CHUNK);
    visited = c.take(CHUNK), scaled = c.take(CHUNK), plain = c.take(CHUNK);
    dC = c.take(CHUNK * pad(z.N)), dB = c.take(CHUNK * pad(z.N));
    states = c.take((CHUNK / PIECE + 1) * z.group() * pad(z.N));
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

// The plan of a visit from `end` back to `first`: the state decays by the event after; what leaves the last event decays by
// nothing. `steps` gets the step sizes in the same order.
INLINE void plan_back(int64_t first, int64_t end, const float* decay, const float* dt, ScanScratch& s, Plan& plan) {
  s.visited[0] = 1;
  for (int64_t i = 0; i < end - first; i++) {
    if (i) s.visited[i] = decay[end - i];
    s.plain[i] = dt[end - 1 - i];
  }
  plan.make(end - first, s.visited);
}

// y (events, E) from s.dt, s.decay and the state, which moves on.
inline void mamba2_forward(const ScanSizes& z, int64_t events, Rows x, Rows B, Rows C, ScanScratch& s, float* y,
                           int64_t y_row, float* state) {
  Plan plan;
  for (int64_t k = 0; k < z.m; k++) {
    plan.make(events, s.decay + k * CHUNK);
    with_steps(events, plan.inverse, s.dt + k * CHUNK, s.scaled);
    float* of_group = state + k * z.N * z.lanes();
    scan<false>(z.group(), z.N, Rows{x.p + k * z.group(), x.row}, B, C, plan, plan.scale, s.scaled,
                Out{y + k * z.group(), y_row}, Passage{of_group, of_group, z.lanes()});
  }
}

struct ScanGradients {
  float* dx;  // d(dt x) on the way, then dx
  int64_t dx_row;
  float *dB, *dC;
  int64_t row;
  float* ddt;  // [m][CHUNK]
  float* dA;   // [m], added to
};

// What event t's gradients of B, C, x and dt still need when the scans are done. G: gradient of its log decay.
inline void finish_event(const ScanSizes& z, int64_t k, int64_t t, const float* B, const float* C, const float* x,
                         const float* dy, float dt, float A, const ScanScratch& s, ScanGradients g, float& G) {
  const int64_t P = z.group(), NP = pad(z.N);
  float* dx = g.dx + k * P + t * g.dx_row;
  vf change{}, input{}, own{};
  for (int64_t p = 0; p < P; p += W) {
    const vf d = load(dx + p), xv = load(x + p);
    input += first_lanes(d * xv, P - p);
    own += first_lanes(load(dy + p) * xv, P - p);
    store_some(dx + p, d * splat(dt), P - p);
  }
  const vf self = splat(sum(own) * dt);
  for (int64_t n = 0; n < z.N; n += W) {
    const vf from_C = load(s.dC + t * NP + n), from_B = load(s.dB + t * NP + n), b = load(B + n), c = load(C + n);
    change += first_lanes(from_C * c - from_B * b, z.N - n);
    float *dC = g.dC + t * g.row + n, *dB = g.dB + t * g.row + n;
    store(dC, (k ? load(dC) : vf{}) + from_C + self * b);
    store(dB, (k ? load(dB) : vf{}) + from_B + self * c);
  }
  G += sum(change);
  g.ddt[k * CHUNK + t] = sum(input) + G * A;
  g.dA[k] += G * dt;
}

// state: [E][pad(N)] before the chunk. later, later_turned: gradient of the state after the chunk in both layouts; leave as
// the gradient of the state before it.
inline void mamba2_backward(const ScanSizes& z, int64_t events, Rows x, Rows B, Rows C, Rows dy, const float* A,
                            ScanScratch& s, const float* state, float* later, float* later_turned, ScanGradients g) {
  const int64_t P = z.group(), NP = pad(z.N), size = P * NP, lanes = z.N * z.lanes();
  Plan plan;
  for (int64_t k = 0; k < z.m; k++) {
    float *dt = s.dt + k * CHUNK, *decay = s.decay + k * CHUNK;
    const Rows xk{x.p + k * P, x.row}, dyk{dy.p + k * P, dy.row};

    plan_back(0, events, decay, dt, s, plan);
    scan<false>(P, z.N, dyk.back(events), C.back(events), B.back(events), plan, plan.scale, plan.inverse,
                Out{g.dx + k * P, g.dx_row}.back(events), Passage{later + k * lanes, later + k * lanes, z.lanes()});
    for (int64_t i = 0; i < lanes; i++) later[k * lanes + i] *= decay[0];

    const float* before = state + k * size;
    for (int64_t t = 0; t < events; t += PIECE) {
      const int64_t some = events - t < PIECE ? events - t : PIECE;
      float visited[PIECE];
      memcpy(visited, decay + t, some * sizeof(float));
      plan.make(some, visited);
      with_steps(some, plan.inverse, dt + t, s.scaled);
      float* after = s.states + (t / PIECE + 1) * size;
      scan<true>(z.N, P, B.from(t), xk.from(t), dyk.from(t), plan, plan.scale, s.scaled, Out{s.dC + t * NP, NP},
                 Passage{before, after, NP});
      before = after;
    }

    // Gradient of log decay, G_t = <gradient of h_t, a_t h_{t-1}>, satisfies G_t = G_{t+1} + dC_t . C_t - dB_t . B_t. Both
    // products contain what event t gives itself, (dy_t . dt x_t) (B_t . C_t); without it nothing large cancels. Errors add
    // up along the sum, so it begins afresh with every piece.
    float* after = later_turned + k * size;
    for (int64_t end = events; end > 0; end = (end - 1) / PIECE * PIECE) {
      const int64_t t = (end - 1) / PIECE * PIECE;
      const float* reached = s.states + (t / PIECE + 1) * size;
      vf sum_after{};
      for (int64_t p = 0; p < P; p++)
        for (int64_t n = 0; n < z.N; n += W)
          sum_after += first_lanes(load(reached + p * NP + n) * load(after + p * NP + n), z.N - n);
      float G = sum(sum_after);
      plan_back(t, end, decay, dt, s, plan);
      with_steps(end - t, plan.scale, s.plain, s.scaled);
      auto back = [&](Rows r) { return r.from(t).back(end - t); };
      scan<true>(z.N, P, back(C), back(dyk), back(xk), plan, s.scaled, plan.inverse, Out{s.dB + t * NP, NP}.back(end - t),
                 Passage{after, after, NP});
      for (int64_t i = end - 1; i >= t; i--)
        finish_event(z, k, i, B.p + i * B.row, C.p + i * C.row, xk.p + i * xk.row, dyk.p + i * dyk.row, dt[i], A[k], s, g, G);
      for (int64_t i = 0; i < size; i++) after[i] *= decay[t];
    }
  }
}

}  // namespace
