// Mamba-2's recurrence for a chunk of events of one history and one head, forward and backward (Dao & Gu 2024).
#pragma once

#include "arena.h"
#include "scan.h"

namespace {

constexpr int64_t CHUNK = 64;  // events between two saved states

struct ScanSizes {
  int64_t E, N, m;
  int64_t group() const { return E / m; }  // channels that share a decay
  int64_t lanes() const { return pad(group()); }
  int64_t forward_state() const { return m * N * lanes(); }  // [m][N][lanes]: lanes are channels
  int64_t turned_state() const { return E * pad(N); }        // [E][pad(N)]: lanes are states
};

// What a chunk needs beside its inputs.
struct ScanScratch {
  float *dt, *decay;                                      // [m][CHUNK]
  float *scale, *scale_dt, *inverse, *inverse_dt, *fold;  // [CHUNK]
  float *dC, *dB;                                         // [CHUNK][pad(N)], one group's share
  void cut(Cutter& c, const ScanSizes& z) {
    dt = c.take(z.m * CHUNK), decay = c.take(z.m * CHUNK);
    scale = c.take(CHUNK), scale_dt = c.take(CHUNK), inverse = c.take(CHUNK), inverse_dt = c.take(CHUNK);
    fold = c.take(CHUNK);
    dC = c.take(CHUNK * pad(z.N)), dB = c.take(CHUNK * pad(z.N));
  }
};

// Between the caller's layout (E, N) and both of ours.
inline void to_forward(const ScanSizes& z, const float* state, float* out) {
  const int64_t P = z.group(), lanes = z.lanes();
  for (int64_t k = 0; k < z.m; k++, state += P * z.N, out += z.N * lanes)
    for (int64_t n = 0; n < z.N; n++)
      for (int64_t p = 0; p < lanes; p++) out[n * lanes + p] = p < P ? state[p * z.N + n] : 0.0f;
}
inline void from_forward(const ScanSizes& z, const float* in, float* state) {
  const int64_t P = z.group(), lanes = z.lanes();
  for (int64_t k = 0; k < z.m; k++, state += P * z.N, in += z.N * lanes)
    for (int64_t p = 0; p < P; p++)
      for (int64_t n = 0; n < z.N; n++) state[p * z.N + n] = in[n * lanes + p];
}
inline void forward_to_turned(const ScanSizes& z, const float* in, float* out) {
  const int64_t P = z.group(), lanes = z.lanes(), NP = pad(z.N);
  for (int64_t k = 0; k < z.m; k++, in += z.N * lanes, out += P * NP)
    for (int64_t n = 0; n < NP; n++)
      for (int64_t p = 0; p < P; p++) out[p * NP + n] = n < z.N ? in[n * lanes + p] : 0.0f;
}

inline void decays(const ScanSizes& z, int64_t events, const float* A, ScanScratch& s) {
  for (int64_t k = 0; k < z.m; k++)
    for (int64_t t = 0; t < events; t += W)
      store(s.decay + k * CHUNK + t, vexp(load(s.dt + k * CHUNK + t) * splat(A[k])));
}

// y (events, E) from s.dt, s.decay and the state, which moves on.
inline void mamba2_forward(const ScanSizes& z, int64_t events, Rows x, Rows B, Rows C, ScanScratch& s, float* y,
                           int64_t y_row, float* state) {
  for (int64_t k = 0; k < z.m; k++) {
    const float last = make_scales(events, s.decay + k * CHUNK, false, Scales{s.scale, s.inverse, s.fold});
    for (int64_t t = 0; t < events; t += W)
      store(s.inverse_dt + t, load(s.inverse + t) * load(s.dt + k * CHUNK + t));
    const Scales scales{s.scale, s.inverse_dt, s.fold};
    scan<false>(events, false, z.group(), z.N, Rows{x.p + k * z.group(), x.row}, B, C, scales, last, y + k * z.group(), y_row,
         state + k * z.N * z.lanes(), z.lanes());
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

// state: [E][pad(N)] before the chunk, moved on. later, later_turned: gradient of the state after the chunk in both
// layouts; leave as the gradient of the state before it.
inline void mamba2_backward(const ScanSizes& z, int64_t events, Rows x, Rows B, Rows C, Rows dy, const float* A,
                            ScanScratch& s, float* state, float* later, float* later_turned, ScanGradients g) {
  const int64_t P = z.group(), NP = pad(z.N);
  for (int64_t k = 0; k < z.m; k++) {
    const float *dt = s.dt + k * CHUNK, *decay = s.decay + k * CHUNK;
    const Rows xk{x.p + k * P, x.row}, dyk{dy.p + k * P, dy.row};
    float *dC = z.m == 1 ? g.dC : s.dC, *dB = z.m == 1 ? g.dB : s.dB, *ddt = g.ddt + k * CHUNK;
    const int64_t row = z.m == 1 ? g.row : NP;
    float *before = state + k * P * NP, *after = later_turned + k * P * NP;

    float last = make_scales(events, decay, false, Scales{s.scale, s.inverse, s.fold});
    for (int64_t t = 0; t < events; t += W) store(s.inverse_dt + t, load(s.inverse + t) * load(dt + t));
    scan<true>(events, false, z.N, P, B, xk, dyk, Scales{s.scale, s.inverse_dt, s.fold}, last, dC, row, before, NP);

    // Gradient of log decay, G_t = <gradient of h_t, a_t h_{t-1}>, satisfies G_t = G_{t+1} + dC_t . C_t - dB_t . B_t. Both
    // products contain what event t gives itself, (dy_t . dt x_t) (B_t . C_t); without it nothing large cancels.
    vf sum_after{};
    for (int64_t p = 0; p < P; p++)
      for (int64_t n = 0; n < z.N; n += W)
        sum_after += first_lanes(load(before + p * NP + n) * load(after + p * NP + n), z.N - n);
    float G = sum(sum_after);

    last = make_scales(events, decay, true, Scales{s.scale, s.inverse, s.fold});
    for (int64_t t = 0; t < events; t += W) store(s.scale_dt + t, load(s.scale + t) * load(dt + t));
    scan<false>(events, true, P, z.N, dyk, C, B, Scales{s.scale, s.inverse, s.fold}, last, g.dx + k * P, g.dx_row,
         later + k * z.N * z.lanes(), z.lanes());
    scan<true>(events, true, z.N, P, C, dyk, xk, Scales{s.scale_dt, s.inverse, s.fold}, last, dB, row, after, NP);

    float dA = 0;
    for (int64_t t = events - 1; t >= 0; t--) {
      const float *Bt = B.p + t * B.row, *Ct = C.p + t * C.row, *xt = xk.p + t * xk.row, *dyt = dyk.p + t * dyk.row;
      vf change{}, input{}, own{};
      float* dx = g.dx + k * P + t * g.dx_row;
      for (int64_t p = 0; p < P; p += W) {
        const vf d = load(dx + p);
        input += first_lanes(d * load(xt + p), P - p);
        own += first_lanes(load(dyt + p) * load(xt + p), P - p);
        store_some(dx + p, d * splat(dt[t]), P - p);
      }
      const vf self = splat(sum(own) * dt[t]);
      for (int64_t n = 0; n < z.N; n += W) {
        float *dCt = dC + t * row + n, *dBt = dB + t * row + n;
        const vf from_C = load(dCt), from_B = load(dBt), b = load(Bt + n), c = load(Ct + n);
        change += first_lanes(from_C * c - from_B * b, z.N - n);
        vf all_C = from_C + self * b, all_B = from_B + self * c;
        if (z.m > 1 && k) all_C += load(g.dC + t * g.row + n), all_B += load(g.dB + t * g.row + n);
        store(g.dC + t * g.row + n, all_C), store(g.dB + t * g.row + n, all_B);
      }
      G += sum(change);
      ddt[t] = sum(input) + G * A[k];
      dA += G * dt[t];
    }
    g.dA[k] += dA;
    for (int64_t i = 0; i < P * NP; i++) after[i] *= decay[0];
    float* lanes = later + k * z.N * z.lanes();
    for (int64_t i = 0; i < z.N * z.lanes(); i++) lanes[i] *= decay[0];
  }
}

}  // namespace
