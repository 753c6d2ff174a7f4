// One Mamba-2 head, of one decay, over one chunk of a history: convolution, steps, scan, skip, gate and norm (Dao & Gu 2024).
#pragma once

#include "conv.h"
#include "mamba2.h"

namespace {

struct HeadSizes {
  ScanSizes scan;
  int64_t K;
  int64_t F() const { return scan.E + 2 * scan.N; }      // channels of the convolution: values, B, C
  int64_t in() const { return scan.E + F() + 1; }        // gate, convolution, step
  int64_t row() const { return pad(F()) + 16; }          // scratch; a vector may be read from anywhere in it
  int64_t in_row() const { return pad(in()) + 16; }
};

// Parameters and gradients of a head share this layout; rows are padded with zeros.
struct HeadParameters {
  float *conv, *conv_bias, *skip, *norm, *A, *dt_bias;  // [K][pad(F)], [pad(F)], [pad(E)], [pad(E)], [1], [1]
  void cut(Cutter& c, const HeadSizes& z) {
    conv = c.take(z.K * pad(z.F())), conv_bias = c.take(pad(z.F()));
    skip = c.take(pad(z.scan.E)), norm = c.take(pad(z.scan.E)), A = c.take(1), dt_bias = c.take(1);
  }
  Taps taps(const HeadSizes& z) const { return Taps{z.K, conv, pad(z.F()), conv_bias}; }
};

constexpr float HEAD_EPS = 1e-5f;

struct HeadScratch {
  ScanScratch scan;
  float *convolved, *slope;               // [CHUNK][row]; slope of SiLU where it was taken
  float *state, *later, *later_turned;    // scan.h's layouts
  float* turned;                          // the state again, transposed
  float* dconvolved;                      // [CHUNK + K - 1][row]
  float *dx, *dB, *dC;                    // [CHUNK][pad(E) + 16], [CHUNK][pad(N)] twice
  float *step, *ddt;                      // [CHUNK]
  void cut(Cutter& c, const HeadSizes& z) {
    scan.cut(c, z.scan);
    slope = c.take(CHUNK * z.row()), convolved = c.take(CHUNK * z.row());
    state = c.take(z.scan.forward_state()), turned = c.take(z.scan.turned_state());
    later = c.take(z.scan.forward_state()), later_turned = c.take(z.scan.turned_state());
    dconvolved = c.take((CHUNK + z.K - 1) * z.row()), dx = c.take(CHUNK * (pad(z.scan.E) + 16));
    dB = c.take(CHUNK * pad(z.scan.N)), dC = c.take(CHUNK * pad(z.scan.N));
    step = c.take(CHUNK), ddt = c.take(CHUNK);
  }
};

// p: rows of the input projection, K - 1 rows of context before the first event's.
struct Projected {
  float* rows;
  int64_t row, K;
  float* event(int64_t t) const { return rows + (t + K - 1) * row; }
};

// `slopes`: what the backward needs too.
inline void read_chunk(const HeadSizes& z, const HeadParameters& w, int64_t events, Projected p, bool slopes,
                       HeadScratch& s) {
  const int64_t E = z.scan.E, F = z.F();
  convolve(events, F, p.rows + E, p.row, w.taps(z), slopes ? s.slope : nullptr, s.convolved, z.row());
  for (int64_t t = 0; t < events; t++) s.step[t] = p.event(t)[E + F] + *w.dt_bias;
  for (int64_t t = 0; t < events; t += W) store(s.scan.dt + t, softplus(load(s.step + t)));
  decays(z.scan, events, w.A, s.scan);
}

// y (events, E) = scan + skip x. s.state moves on.
inline void scan_chunk(const HeadSizes& z, const HeadParameters& w, int64_t events, HeadScratch& s, float* y,
                       int64_t y_row) {
  const int64_t E = z.scan.E, row = z.row();
  const float* x = s.convolved;
  mamba2_forward(z.scan, events, Rows{x, row}, Rows{x + E, row}, Rows{x + E + z.scan.N, row}, s.scan, y, y_row, s.state);
  for (int64_t e = 0; e < E; e += W) {
    const vf skip = load(w.skip + e);
    for (int64_t t = 0; t < events; t++) store(y + t * y_row + e, load(y + t * y_row + e) + load(x + t * row + e) * skip);
  }
}

// normed = RMSNorm(y SiLU(gate)) of one event, zeros behind its E channels. Returns 1 / rms; `sigmoids` of the gate may be
// null.
INLINE float gate_and_norm(const HeadSizes& z, const HeadParameters& w, const float* y, const float* gate, float* sigmoids,
                           float* out) {
  const int64_t E = z.scan.E;
  vf squares{};
  for (int64_t e = 0; e < E; e += W) {
    const vf g = load(gate + e), s = sigmoid(g), gated = first_lanes(load(y + e) * g * s, E - e);
    if (sigmoids) store(sigmoids + e, s);
    store(out + e, gated);
    squares += gated * gated;
  }
  const float r = 1 / __builtin_sqrtf(sum(squares) / E + HEAD_EPS);
  for (int64_t e = 0; e < E; e += W) store(out + e, load(out + e) * splat(r) * load(w.norm + e));
  return r;
}

// From d(normed) of one event to dy and dgate; dnorm is added to. r, sigmoids: what gate_and_norm gave.
INLINE void gate_and_norm_backward(const HeadSizes& z, const HeadParameters& w, const float* y, const float* gate, float r,
                                   const float* sigmoids, const float* dnormed, float* dy, float* dgate, float* dnorm) {
  const int64_t E = z.scan.E;
  const vf rv = splat(r);
  vf along{};
  for (int64_t e = 0; e < E; e += W) {
    const vf gated = load(y + e) * load(gate + e) * load(sigmoids + e), d = load(dnormed + e);
    store(dnorm + e, load(dnorm + e) + first_lanes(d * gated * rv, E - e));
    along += first_lanes(gated * d * load(w.norm + e), E - e);
  }
  const vf pull = splat(sum(along) * r * r * r / E);
  for (int64_t e = 0; e < E; e += W) {
    const vf g = load(gate + e), yv = load(y + e), s = load(sigmoids + e), a = g * s;
    const vf dgated = load(dnormed + e) * load(w.norm + e) * rv - yv * a * pull;
    store(dy + e, first_lanes(dgated * a, E - e));
    store_some(dgate + e, dgated * yv * silu_slope_from(g, s), E - e);
  }
}

// Gradients of a chunk that read_chunk has read. dy: (events, E), zeros behind them. s.turned holds the state before
// the chunk; s.later* and the rows of s.dconvolved behind the chunk belong to the events after, and are replaced by this
// chunk's. dp gets the part of the convolution and of the steps; the gate's part is not touched.
inline void head_backward(const HeadSizes& z, const HeadParameters& w, int64_t events, Projected p, const float* dy,
                          int64_t dy_row, HeadScratch& s, float* dp, int64_t dp_row, HeadParameters& g) {
  const int64_t E = z.scan.E, N = z.scan.N, F = z.F(), row = z.row(), NP = pad(N), ER = pad(E) + 16;
  const float* x = s.convolved;
  mamba2_backward(z.scan, events, Rows{x, row}, Rows{x + E, row}, Rows{x + E + N, row}, Rows{dy, dy_row}, w.A, s.scan,
                  s.turned, s.later, s.later_turned, ScanGradients{s.dx, ER, s.dB, s.dC, NP, s.ddt, g.A});
  float* d = s.dconvolved;
  memmove(d + events * row, d, (z.K - 1) * row * sizeof(float));
  for (int64_t t = 0; t < events; t++) {
    const float *slope = s.slope + t * row, *xt = x + t * row, *dyt = dy + t * dy_row;
    float* dt = d + t * row;
    for (int64_t e = 0; e < E; e += W) {
      const vf dv = load(dyt + e);
      store(g.skip + e, load(g.skip + e) + first_lanes(dv * load(xt + e), E - e));
      store_some(dt + e, (load(s.dx + t * ER + e) + dv * load(w.skip + e)) * load(slope + e), E - e);
    }
    for (int64_t n = 0; n < N; n += W) {
      store_some(dt + E + n, load(s.dB + t * NP + n) * load(slope + E + n), N - n);
      store_some(dt + E + N + n, load(s.dC + t * NP + n) * load(slope + E + N + n), N - n);
    }
  }
  convolve_backward(events, F, p.rows + E, p.row, w.taps(z), d, row, dp + E, dp_row, g.conv, g.conv_bias);
  for (int64_t t = 0; t < events; t += W) store(s.ddt + t, load(s.ddt + t) * sigmoid(load(s.step + t)));
  for (int64_t t = 0; t < events; t++) dp[t * dp_row + E + F] = s.ddt[t], *g.dt_bias += s.ddt[t];
}

}  // namespace
