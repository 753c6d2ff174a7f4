// Floats as sums of what matrix tiles multiply. Three signed bytes to base 256 with one exponent a row: products as
// accurate as those of float32, measured against the rows' largest values. Two bfloat16: 16 bits of every value.
#pragma once

#include "amx.h"
#include "simd.h"

#if defined(HYDRAREC_AMX)
namespace {

// The exponent of a power of two below which a row lies, and NaN if any of it is not finite, else 0.
INLINE int row_exponent(const float* x, int64_t d, float& poison) {
  vf most{}, none{};
  for (int64_t i = 0; i < d; i += W) {
    const vf v = load_some(x + i, d - i);
    most = vmax(most, (vf)_mm512_abs_ps((__m512)v)), none += v * splat(0.0f);
  }
  poison = sum(none);
  const float largest = _mm512_reduce_max_ps((__m512)most) * 1.01f;  // room for the lower digits
  int32_t bits;
  memcpy(&bits, &largest, sizeof(bits));
  return (bits >> 23) - 126;
}

// A row into tiles [value / 64][digit], the highest digit first, zeros from d to `width`. Returns what a step is worth.
INLINE float split_bytes(const float* x, int64_t d, int64_t width, int8_t* out) {
  float poison;
  const int exponent = row_exponent(x, d, poison);
  const __m512 up = _mm512_set1_ps(23 - exponent);
  // With 128 added to each, digits from -128 to 127 are the bytes of a sum.
  const __m512i middle = _mm512_set1_epi32(0x808080);
  for (int64_t i = 0; i < width; i += W) {
    const vf v = i < d ? load_some(x + i, d - i) : vf{};
    const __m512i q = _mm512_cvtps_epi32(_mm512_scalef_ps((__m512)v, up));
    const __m512i bytes = _mm512_xor_si512(_mm512_add_epi32(q, middle), middle);
    __m128i* place = reinterpret_cast<__m128i*>(out + i / 64 * 3 * 1024 + i % 64);
    _mm_storeu_si128(place, _mm512_cvtepi32_epi8(_mm512_srli_epi32(bytes, 16)));
    _mm_storeu_si128(place + 64, _mm512_cvtepi32_epi8(_mm512_srli_epi32(bytes, 8)));
    _mm_storeu_si128(place + 128, _mm512_cvtepi32_epi8(bytes));
  }
  return _mm512_cvtss_f32(_mm512_scalef_ps(_mm512_set1_ps(1.0f), _mm512_set1_ps(exponent - 23))) + poison;
}

// The first 8 bits of x, rounded, as the upper half of a float; the rest likewise.
struct Halves {
  vu high, low;
};
INLINE Halves split_halves(vf x) {
  const vu upper = vu{} + 0xffff0000u, half = vu{} + 0x8000u;
  const vu high = ((vu)x + half) & upper;
  return {high, (vu)(x - (vf)high) + half};  // the lower half of `low` is of no meaning
}
// A tile transposed in place, lanes of 4 bytes.
inline void turn(float* tile) {
  alignas(64) float turned[TILE];
  transpose(16, 16, tile, 16, turned, 16, 16);
  memcpy(tile, turned, sizeof(turned));
}

// Each lane: the upper half of a's, then that of b's.
INLINE vf pair(vu a, vu b) {
  const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const __m512i upper = (__m512i)(lane * 0x20002 + 0x210001);  // words 2 i + 1 of a, and of b, which are 32 further on
  return (vf)_mm512_permutex2var_epi16((__m512i)a, upper, (__m512i)b);
}
INLINE void store_pairs(Halves a, Halves b, float* high, float* low) {
  store(high, pair(a.high, b.high)), store(low, pair(a.low, b.low));
}

}  // namespace
#endif
