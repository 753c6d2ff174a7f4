// Blocks of rows that pass through several steps while they are in cache, shared out over threads.
#pragma once

#include <atomic>

#include "parts.h"

namespace {

// Rows of a block of width d: enough that weights are read seldom, few enough that they stay in the second-level cache.
inline int64_t block_rows(int64_t d) { return d <= 128 ? 96 : 192; }

inline int64_t parts_of_rows(int64_t T, int64_t block, int64_t threads) {
  return parts_for((T + block - 1) / block, threads);
}

// run(part, first, rows, scratch) for each block; every part cuts its scratch out of memory that is kept, and prepares it.
template <class Scratch, class Cut, class Prepare, class Run>
int over_blocks(int64_t T, int64_t block, int64_t parts, Cut&& cut, Prepare&& prepare, Run&& run) {
  const int64_t blocks = (T + block - 1) / block;
  std::atomic<int> failed{0};
  parallel(parts, [&](int64_t part) {
    thread_local Arena arena;
    Scratch s;
    Cutter counter{nullptr};
    cut(s, counter);
    Cutter cutter{arena.reserve(counter.used)};
    if (!cutter.start) {
      failed = OUT_OF_MEMORY;
      return;
    }
    cut(s, cutter);
    prepare(s);
    for (int64_t b = blocks * part / parts; b < blocks * (part + 1) / parts; b++)
      run(part, b * block, T - b * block < block ? T - b * block : block, s);
  });
  return failed;
}

// A gradient of `size` floats for each part, zero at first, summed at the end into the caller's.
class PartSums {
 public:
  PartSums(int64_t parts, int64_t size) : parts_(parts), size_(pad(size)), memory_(arena_.reserve(parts * size_)) {
    if (memory_) memset(memory_, 0, parts_ * size_ * sizeof(float));
  }
  explicit operator bool() const { return memory_; }
  float* of(int64_t part) const { return memory_ + part * size_; }
  void add_to(float* out, int64_t n, int64_t start = 0) const {
    for (int64_t part = 0; part < parts_; part++)
      for (int64_t i = 0; i < n; i++) out[i] += of(part)[start + i];
  }

 private:
  Arena arena_;
  int64_t parts_, size_;
  float* memory_;
};

}  // namespace
