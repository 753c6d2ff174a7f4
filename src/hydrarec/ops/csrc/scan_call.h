// What the scans alone are called with.
#pragma once

#include "mamba2.h"
#include "stretches.h"

namespace {

// Rows of a (T, G, n) tensor for one head, events `row` apart.
struct Strided {
  const float* p;
  int64_t row, head;
  const float* at(int64_t t, int64_t g) const { return p + t * row + g * head; }
};

struct ScanCall {
  int64_t T, U, G;
  ScanSizes z;
  const int64_t *offsets, *chunk_first;
  Strided x, dt, B, C, dy;
  const float *A, *state;
  float* bounds;
  float *y, *final;
  const float* dfinal;
  float *dx, *ddt, *dB, *dC, *dstate;
  int64_t chunk_of(int64_t u, int64_t event) const { return chunk_first[u] + (event - offsets[u]) / CHUNK; }
  const float* state_of(const float* states, int64_t u, int64_t g) const {
    return states + (u * G + g) * z.E * z.N;
  }
};

// Rows that may be read behind their end, up to a multiple of 16 floats: the tensor's own where they end so, else a copy
// with zeros there.
struct Padded {
  float* memory;
  int64_t row;
  Rows of(const Strided& s, int64_t n, int64_t group, int64_t first, int64_t g, int64_t events) const {
    if (n % 16 == 0 && group % W == 0) return Rows{s.at(first, g), s.row};
    for (int64_t t = 0; t < events; t++) {
      memcpy(memory + t * row, s.at(first + t, g), n * sizeof(float));
      memset(memory + t * row + n, 0, (row - n) * sizeof(float));
    }
    return Rows{memory, row};
  }
};

// Brings a chunk's rows nearer while another is worked on: a head's values lie too far apart for the processor to guess.
inline void fetch_rows(const Strided& s, int64_t n, int64_t g, int64_t first, int64_t end) {
  for (int64_t t = first; t < end && t < first + CHUNK; t++)
    for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(s.at(t, g) + i);
}

inline void write_rows(float* out, int64_t row, const float* from, int64_t from_row, int64_t n, int64_t events) {
  for (int64_t t = 0; t < events; t++)
    for (int64_t i = 0; i < n; i += W) store_some(out + t * row + i, load(from + t * from_row + i), n - i);
}


}  // namespace
