// RMSNorm of one row (Zhang & Sennrich 2019).
#pragma once

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

}  // namespace
