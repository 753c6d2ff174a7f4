// Scratch memory that is kept between calls: fresh pages for every call would cost more than the work of a small one.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace {

class Arena {
 public:
  ~Arena() { free(memory_); }
  Arena() = default;
  Arena(const Arena&) = delete;
  // Room for `floats`, 64-byte aligned; what was there before is gone. Null where memory is short.
  float* reserve(int64_t floats) {
    if (floats > size_) {
      free(memory_);
      memory_ = static_cast<float*>(aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64));
      size_ = memory_ ? floats : 0;
    }
    return memory_;
  }

 private:
  float* memory_ = nullptr;
  int64_t size_ = 0;
};

// Cuts one stretch of memory into aligned pieces; with a null start it only counts.
struct Cutter {
  float* start;
  int64_t used = 0;
  float* take(int64_t floats) {
    float* piece = start ? start + used : nullptr;
    used += (floats + 15) / 16 * 16;
    return piece;
  }
};

}  // namespace
