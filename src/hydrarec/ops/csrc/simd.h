// One vector type, as wide as the instruction set this file is compiled for; see ../build.py for the sets.
// Vector extensions of GCC and Clang, so that all sets share one source; intrinsics only to load a tail under a mask.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#ifndef HYDRAREC_ISA
#define HYDRAREC_ISA plain
#endif
#define HYDRAREC_JOIN2(name, isa) name##_##isa
#define HYDRAREC_JOIN(name, isa) HYDRAREC_JOIN2(name, isa)
// An exported function: its name carries the instruction set, so that all sets live in one library.
#define EXPORT(name) extern "C" __attribute__((visibility("default"))) int HYDRAREC_JOIN(name, HYDRAREC_ISA)
#define INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
// Vectors that fit into registers beside a few temporaries: AVX-512 and NEON have 32 registers, the others 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool MANY_REGISTERS = true;
#else
constexpr bool MANY_REGISTERS = false;
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, vi{__VA_ARGS__})
#endif

namespace {

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));
typedef float vf_unaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));

constexpr int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
// Rows of scratch memory are padded to this many floats, whatever the vector width.
constexpr int64_t pad(int64_t n) { return round_up(n, 16); }

INLINE vf splat(float x) { return x - vf{}; }
INLINE vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
INLINE void store(float* p, vf v) { *reinterpret_cast<vf_unaligned*>(p) = v; }
#if defined(__AVX512F__)
INLINE __mmask16 lanes_below(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
#endif
INLINE vf load_some(const float* p, int64_t n) {  // n lanes, zeros behind them
  if (n >= W) return load(p);
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps(lanes_below(n), p);
#else
  vf v{};
  for (int64_t i = 0; i < W; i++)
    if (i < n) v[i] = p[i];
  return v;
#endif
}
INLINE void store_some(float* p, vf v, int64_t n) {
  if (n >= W) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, lanes_below(n), (__m512)v);
#else
  for (int64_t i = 0; i < W; i++)
    if (i < n) p[i] = v[i];
#endif
}
// n values `step` apart, zeros behind them. Not by way of memory: a vector read where parts were just written waits for
// all that is under way.
INLINE vf load_strided(const float* p, int64_t step, int64_t n) {
  vf v{};
  if (n >= W) {
    for (int i = 0; i < W; i++) v[i] = p[i * step];
  } else {
    for (int i = 0; i < W; i++)
      if (i < n) v[i] = p[i * step];
  }
  return v;
}
// Zeros behind the first n lanes.
INLINE vf first_lanes(vf v, int64_t n) {
  if (n >= W) return v;
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_mov_ps(lanes_below(n), (__m512)v);
#else
  for (int64_t i = n; i < W; i++) v[i] = 0;
  return v;
#endif
}
typedef float v4 __attribute__((vector_size(16)));
INLINE float sum(vf v) {
  v4 parts[W / 4];
  memcpy(parts, &v, sizeof(v));
  for (int i = 1; i < W / 4; i++) parts[0] += parts[i];
  return (parts[0][0] + parts[0][2]) + (parts[0][1] + parts[0][3]);
}
// Sums of neighbouring lanes: those of a, then those of b.
INLINE vf pair_sums(vf a, vf b) {
#if defined(__AVX512F__)
  return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return SHUFFLE(a, b, 0, 2, 4, 6) + SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}
// The sums over the lanes of N = W vectors, as one vector; v is overwritten.
template <int N>
INLINE vf sums(vf* v) {
  for (int i = 0; i < N / 2; i++) v[i] = pair_sums(v[2 * i], v[2 * i + 1]);
  if constexpr (N > 2) return sums<N / 2>(v);
  return v[0];
}
// Lanes of a and b in turns: those of the first halves, those of the second.
INLINE void zip(vf a, vf b, vf& first, vf& second) {
#if defined(__AVX512F__)
  first = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  second = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  first = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  second = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  first = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  second = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}
// in: rows x columns. out: columns x rows, with zeros behind each row up to `width`, a multiple of W, or nothing written
// there where `width` is `rows`.
inline void transpose(int64_t rows, int64_t columns, const float* in, int64_t in_row, float* out, int64_t out_row,
                      int64_t width) {
  for (int64_t r = 0; r < width; r += W)
    for (int64_t c = 0; c < columns; c += W) {
      vf v[W], next[W];
      for (int i = 0; i < W; i++) v[i] = r + i < rows ? load_some(in + (r + i) * in_row + c, columns - c) : vf{};
      for (int round = 1; round < W; round *= 2) {  // a perfect shuffle of all W * W values turns each round
        for (int i = 0; i < W / 2; i++) zip(v[i], v[i + W / 2], next[2 * i], next[2 * i + 1]);
        for (int i = 0; i < W; i++) v[i] = next[i];
      }
      for (int i = 0; i < W && c + i < columns; i++) store_some(out + (c + i) * out_row + r, v[i], width - r);
    }
}
// Product of the lanes up to and including each.
INLINE vf prefix_products(vf v) {
  const vf one = splat(1.0f);
#if defined(__AVX512F__)
  v *= SHUFFLE(one, v, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
  v *= SHUFFLE(one, v, 0, 1, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29);
  v *= SHUFFLE(one, v, 0, 1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27);
  return v * SHUFFLE(one, v, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
#elif defined(__AVX2__)
  v *= SHUFFLE(one, v, 0, 8, 9, 10, 11, 12, 13, 14);
  v *= SHUFFLE(one, v, 0, 1, 8, 9, 10, 11, 12, 13);
  return v * SHUFFLE(one, v, 0, 1, 2, 3, 8, 9, 10, 11);
#else
  v *= SHUFFLE(one, v, 0, 4, 5, 6);
  return v * SHUFFLE(one, v, 0, 1, 4, 5);
#endif
}
// Not a number in `a` stays.
INLINE vf vmax(vf a, vf b) { return a < b ? b : a; }
INLINE vf vmin(vf a, vf b) { return a > b ? b : a; }

// e^x, relative error below 2e-7; x is clipped to the range of normal floats.
INLINE vf vexp(vf x) {
  x = vmin(vmax(x, splat(-87.33f)), splat(88.37f));
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: the sum's low bits are round(x / ln 2)
  const vf shifted = x * splat(1.44269504088896341f) + magic;
  const vf n = shifted - magic;
  const vf r = (x - n * splat(0.693145751953125f)) - n * splat(1.42860682030941723e-6f);
  vf p = splat(1.3887860e-3f);
  p = p * r + splat(8.3334106e-3f);
  p = p * r + splat(4.1666684e-2f);
  p = p * r + splat(1.6666664e-1f);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  return (vf)((vu)p + ((vu)shifted << 23));
}
// 1 / x for x >= 1. A division takes as long as eight products: where there is an estimate, Newton's method from there.
INLINE vf reciprocal(vf x) {
#if defined(__AVX512F__)
  const vf r = (vf)_mm512_rcp14_ps((__m512)x);
  return r + r * (splat(1.0f) - x * r);
#else
  return splat(1.0f) / x;
#endif
}
INLINE vf sigmoid(vf x) { return reciprocal(splat(1.0f) + vexp(-x)); }
INLINE vf silu(vf x) { return x * sigmoid(x); }
INLINE vf silu_slope_from(vf x, vf s) { return s + s * x * (splat(1.0f) - s); }  // derivative, s = sigmoid(x)
INLINE vf silu_slope(vf x) { return silu_slope_from(x, sigmoid(x)); }
// log(1 + u) for 0 <= u <= 1, as 2 atanh(u / (2 + u)).
INLINE vf log1p_unit(vf u) {
  const vf s = u / (splat(2.0f) + u), q = s * s;
  vf p = splat(1.0f / 15);
  for (int k = 13; k >= 1; k -= 2) p = p * q + splat(1.0f / k);
  return splat(2.0f) * s * p;
}
INLINE vf softplus(vf x) {
  const vf positive = vmax(x, vf{});
  return positive + log1p_unit(vexp(x > vf{} ? -x : x));
}

}  // namespace
