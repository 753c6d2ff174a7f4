// RMSNorm (Zhang & Sennrich 2019).
#pragma once

#include "arena.h"
#include "simd.h"

namespace {

INLINE float inverse_rms(const float* x, int64_t d, float eps) {
  vf squares{};
  for (int64_t i = 0; i < d; i += W) {
    const vf v = load_some(x + i, d - i);
    squares += v * v;
  }
  return 1 / __builtin_sqrtf(sum(squares) / d + eps);
}

// dx = base + the gradient of x through x / rms(x) * gain, of d floats; base may be null, dgain is added to. gain, dy and
// dgain may be read up to a multiple of W.
INLINE void norm_backward(int64_t d, const float* x, const float* gain, const float* dy, float eps, const float* base,
                          float* dx, float* dgain) {
  vf along{};
  for (int64_t i = 0; i < d; i += W) along += first_lanes(load_some(x + i, d - i) * load(dy + i) * load(gain + i), d - i);
  const float r = inverse_rms(x, d, eps);
  const vf rv = splat(r), pull = splat(sum(along) * r * r * r / d);
  for (int64_t i = 0; i < d; i += W) {
    const vf xv = load_some(x + i, d - i), dv = load(dy + i);
    store(dgain + i, load(dgain + i) + first_lanes(dv * xv * rv, d - i));
    const vf change = dv * load(gain + i) * rv - xv * pull;
    store_some(dx + i, base ? load_some(base + i, d - i) + change : change, d - i);
  }
}

constexpr float NORM_EPS = 1e-6f;

// RMSNorm of whole rows, for single events.
struct Gain {
  float* weight;
  int64_t d;
  void cut(Cutter& c, int64_t width) { d = width, weight = c.take(pad(width)); }
  void read(const float* from) const {
    for (int64_t i = 0; i < pad(d); i++) weight[i] = i < d ? from[i] : 0;
  }
  // Rows have zeros behind them.
  void operator()(int64_t rows, const float* x, int64_t row, float* y) const {
    for (int64_t t = 0; t < rows; t++) {
      vf squares{};
      for (int64_t i = 0; i < d; i += W) squares += load(x + t * row + i) * load(x + t * row + i);
      const vf r = splat(1 / __builtin_sqrtf(sum(squares) / d + NORM_EPS));
      for (int64_t i = 0; i < d; i += W) store(y + t * row + i, load(x + t * row + i) * r * load(weight + i));
    }
  }
};

}  // namespace
