// Dropout's mask as a function of a seed and an element's place: whoever needs it again computes it again.
#pragma once

#include "simd.h"

namespace {

struct Dropout {
  uint64_t seed;
  uint32_t threshold;  // of 2^32: elements whose bits lie below are dropped
  float factor;        // of the elements kept
  Dropout(int64_t seed, float p) : seed(static_cast<uint64_t>(seed)), factor(p < 1 ? 1 / (1 - p) : 0) {
    const double limit = static_cast<double>(p) * 4294967296.0;
    threshold = limit >= 4294967295.0 ? 4294967295u : static_cast<uint32_t>(limit);
  }
  // v where an element is kept, times the factor, else 0. Well mixed bits from a counter (MurmurHash3's finalizer,
  // Appleby 2011); a key for each row.
  INLINE vf operator()(int64_t row, int64_t i, vf v) const {
    if (!threshold) return v;
    vu lane;
    for (int j = 0; j < W; j++) lane[j] = j;
    uint64_t key = seed + static_cast<uint64_t>(row) * 0x9E3779B97F4A7C15u;
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
    key ^= key >> 27;
    vu x = (lane + static_cast<uint32_t>(i)) * 0x9E3779B9u + static_cast<uint32_t>(key);
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    x ^= x >> 16;
    return v * ((x >= threshold) ? splat(factor) : vf{});
  }
};

}  // namespace
