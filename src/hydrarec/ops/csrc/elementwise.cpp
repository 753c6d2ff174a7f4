// What is left beside matrix products: RMSNorm, SwiGLU's elementwise part, dropout in a residual sum. Each reads its
// inputs once and writes its outputs once.
#include <atomic>

#include "arena.h"
#include "dropout.h"
#include "norm.h"
#include "parallel.h"

namespace {

// run(first, end) over the rows, in parts of about equal size.
template <class Run>
void over_rows(int64_t rows, int64_t threads, Run&& run) {
  const int64_t parts = threads < 1 || rows < 64 * threads ? 1 : threads;
  parallel(parts, [&](int64_t part) { run(part, rows * part / parts, rows * (part + 1) / parts); });
}

}  // namespace

// y = x / rms(x) * weight, rows of d floats.
EXPORT(rms_norm_forward)(const int64_t* sizes, const float* const* in, float* const* out, float eps, int64_t threads) {
  const int64_t T = sizes[0], d = sizes[1], row = sizes[2];
  const float *x = in[0], *weight = in[1];
  over_rows(T, threads, [&](int64_t, int64_t first, int64_t end) {
    for (int64_t t = first; t < end; t++) {
      const vf r = splat(inverse_rms(x + t * row, d, eps));
      for (int64_t i = 0; i < d; i += W)
        store_some(out[0] + t * d + i, load_some(x + t * row + i, d - i) * r * load_some(weight + i, d - i), d - i);
    }
  });
  return 0;
}

// in: x, weight, dy; out: dx, dweight (added to).
EXPORT(rms_norm_backward)(const int64_t* sizes, const float* const* in, float* const* out, float eps, int64_t threads) {
  const int64_t T = sizes[0], d = sizes[1], row = sizes[2], row_dy = sizes[3], room = round_up(d, 16);
  const float *x = in[0], *weight = in[1], *dy = in[2];
  Arena arena;
  const int64_t most = threads < 1 ? 1 : threads;
  float* sums = arena.reserve(most * room);
  if (!sums) return 1;
  memset(sums, 0, most * room * sizeof(float));
  over_rows(T, threads, [&](int64_t part, int64_t first, int64_t end) {
    float* dweight = sums + part * room;
    for (int64_t t = first; t < end; t++) {
      const float *xt = x + t * row, *dyt = dy + t * row_dy;
      vf along{};
      for (int64_t i = 0; i < d; i += W)
        along += load_some(xt + i, d - i) * load_some(dyt + i, d - i) * load_some(weight + i, d - i);
      const float r = inverse_rms(xt, d, eps);
      const vf rv = splat(r), pull = splat(sum(along) * r * r * r / d);
      for (int64_t i = 0; i < d; i += W) {
        const vf xv = load_some(xt + i, d - i), dv = load_some(dyt + i, d - i);
        store(dweight + i, load(dweight + i) + dv * xv * rv);
        store_some(out[0] + t * d + i, dv * load_some(weight + i, d - i) * rv - xv * pull, d - i);
      }
    }
  });
  for (int64_t part = 0; part < most; part++)
    for (int64_t i = 0; i < d; i++) out[1][i] += sums[part * room + i];
  return 0;
}

// out = SiLU(gate) up; a row of the input holds gate, then up, of n floats each.
EXPORT(silu_mul_forward)(const int64_t* sizes, const float* const* in, float* const* out, int64_t threads) {
  const int64_t T = sizes[0], n = sizes[1], row = sizes[2];
  over_rows(T, threads, [&](int64_t, int64_t first, int64_t end) {
    for (int64_t t = first; t < end; t++) {
      const float *gate = in[0] + t * row, *up = gate + n;
      for (int64_t i = 0; i < n; i += W)
        store_some(out[0] + t * n + i, silu(load_some(gate + i, n - i)) * load_some(up + i, n - i), n - i);
    }
  });
  return 0;
}

// in: gate and up, d(out); out: their gradient, rows of 2 n floats.
EXPORT(silu_mul_backward)(const int64_t* sizes, const float* const* in, float* const* out, int64_t threads) {
  const int64_t T = sizes[0], n = sizes[1], row = sizes[2], row_d = sizes[3];
  over_rows(T, threads, [&](int64_t, int64_t first, int64_t end) {
    for (int64_t t = first; t < end; t++) {
      const float *gate = in[0] + t * row, *up = gate + n, *d = in[1] + t * row_d;
      float *dgate = out[0] + t * 2 * n, *dup = dgate + n;
      for (int64_t i = 0; i < n; i += W) {
        const vf g = load_some(gate + i, n - i), dv = load_some(d + i, n - i), s = sigmoid(g), a = g * s;
        store_some(dgate + i, dv * load_some(up + i, n - i) * (s + a * (splat(1.0f) - s)), n - i);
        store_some(dup + i, dv * a, n - i);
      }
    }
  });
  return 0;
}

// out = base + Dropout(x); base may be null. The mask is a function of seed, row and column: the same call on a gradient
// gives the gradient. sizes: T, d, rows of x and base.
EXPORT(dropout_add)(const int64_t* sizes, const float* const* in, float* const* out, int64_t seed, float p,
                    int64_t threads) {
  const int64_t T = sizes[0], d = sizes[1], row_x = sizes[2], row_base = sizes[3];
  const float *x = in[0], *base = in[1];
  const Dropout dropout(seed, p);
  over_rows(T, threads, [&](int64_t, int64_t first, int64_t end) {
    for (int64_t t = first; t < end; t++)
      for (int64_t i = 0; i < d; i += W) {
        vf v = dropout(t, i, load_some(x + t * row_x + i, d - i));
        if (base) v += load_some(base + t * row_base + i, d - i);
        store_some(out[0] + t * d + i, v, d - i);
      }
  });
  return 0;
}
