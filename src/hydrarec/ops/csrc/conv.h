// Causal depthwise convolution of one piece of a history, and SiLU behind it.
#pragma once

#include "simd.h"

namespace {

// raw begins K - 1 rows before the first event; weight[k] weighs raw[t + k] at event t. Rows may be read up to a
// multiple of W channels.
struct Taps {
  int64_t K;
  const float* weight;  // [K][row]
  int64_t row;
  const float* bias;
};

// out = SiLU(bias + sum_k weight[k] raw[t + k]), and `slope`, SiLU's derivative there. Either may be null.
template <int K>
inline void convolve_block(int64_t events, const float* raw, int64_t raw_row, Taps w, float* slope, float* out,
                           int64_t out_row) {
  vf tap[K];
  for (int k = 0; k < K; k++) tap[k] = load(w.weight + k * w.row);
  const vf bias = load(w.bias);
  for (int64_t t = 0; t < events; t++) {
    vf acc = bias;
    for (int k = 0; k < K; k++) acc += tap[k] * load(raw + (t + k) * raw_row);
    const vf s = sigmoid(acc);
    if (slope) store(slope + t * out_row, silu_slope_from(acc, s));
    if (out) store(out + t * out_row, acc * s);
  }
}

// d: gradient before SiLU, with K - 1 further rows behind the last event: those of the events that follow.
template <int K>
inline void convolve_backward_block(int64_t events, const float* raw, int64_t raw_row, Taps w, const float* d,
                                    int64_t d_row, float* draw, int64_t draw_row, int64_t lanes, float* dweight,
                                    float* dbias) {
  vf tap[K], dtap[K];
  for (int k = 0; k < K; k++) tap[k] = load(w.weight + k * w.row), dtap[k] = load(dweight + k * w.row);
  vf db = load(dbias);
  for (int64_t t = 0; t < events; t++) {
    const vf now = load(d + t * d_row);
    db += now;
    vf acc{};
    for (int k = 0; k < K; k++) {
      acc += tap[k] * load(d + (t + K - 1 - k) * d_row);
      dtap[k] += now * load(raw + (t + k) * raw_row);
    }
    store_some(draw + t * draw_row, acc, lanes);
  }
  for (int k = 0; k < K; k++) store(dweight + k * w.row, dtap[k]);
  store(dbias, db);
}

#define FOR_TAPS(call) \
  switch (w.K) {       \
    case 1: call(1);   \
    case 2: call(2);   \
    case 3: call(3);   \
    default: call(4);  \
  }

inline void convolve(int64_t events, int64_t F, const float* raw, int64_t raw_row, Taps w, float* slope, float* out,
                     int64_t out_row) {
  for (int64_t f = 0; f < F; f += W, w.weight += W, w.bias += W) {
    float *s = slope ? slope + f : nullptr, *o = out ? out + f : nullptr;
#define CALL(K) convolve_block<K>(events, raw + f, raw_row, w, s, o, out_row); break
    FOR_TAPS(CALL)
#undef CALL
  }
}

// dweight [K][w.row] and dbias are added to.
inline void convolve_backward(int64_t events, int64_t F, const float* raw, int64_t raw_row, Taps w, const float* d,
                              int64_t d_row, float* draw, int64_t draw_row, float* dweight, float* dbias) {
  for (int64_t f = 0; f < F; f += W, w.weight += W) {
#define CALL(K)                                                                                                     \
  convolve_backward_block<K>(events, raw + f, raw_row, w, d + f, d_row, draw + f, draw_row, F - f, dweight + f,     \
                             dbias + f);                                                                            \
  break
    FOR_TAPS(CALL)
#undef CALL
  }
}
#undef FOR_TAPS

// The gradient of the K - 1 inputs before the first event, [K - 1][out_row], added to. d: at least K - 1 rows.
inline void context_backward(int64_t F, Taps w, const float* d, int64_t d_row, float* out, int64_t out_row) {
  for (int64_t i = 0; i < w.K - 1; i++)
    for (int64_t k = 0; k <= i; k++)
      for (int64_t f = 0; f < F; f++) out[i * out_row + f] += w.weight[k * w.row + f] * d[(i - k) * d_row + f];
}

}  // namespace
