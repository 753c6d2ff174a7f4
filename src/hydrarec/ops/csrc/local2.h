// What a chunk of Mamba-2's recurrence adds to the state that leaves it, and what it keeps of the one that enters: a
// product of matrices, since no output is asked for. See stretches.h.
#pragma once

#include "gemm.h"
#include "mamba2.h"

namespace {

// state [m][N][lanes] goes through the chunk; with `back` it is the gradient of the state after the chunk and becomes that
// of the state before it. Forward v = x, b = B; back v = dy, b = C. elapsed [m], the sums of the step sizes, are added to.
inline void mamba2_local(const ScanSizes& z, int64_t events, bool back, Rows v, Rows b, ScanScratch& s, float* state,
                         float* elapsed) {
  const int64_t P = z.group(), NP = pad(z.N), size = z.N * z.lanes();
  for (int64_t k = 0; k < z.m; k++) {
    const float *dt = s.dt + k * CHUNK, *decay = s.decay + k * CHUNK;
    float kept = 1, time = 0;
    for (int64_t i = 0; i < events; i++) {
      const int64_t t = back ? i : events - 1 - i;
      if (!back) s.plain[t] = kept * dt[t];
      kept *= decay[t], time += dt[t];
      if (back) s.plain[t] = kept;
    }
    elapsed[k] += time;
    for (int64_t t = 0; t < events; t++)
      for (int64_t n = 0; n < z.N; n += W) store(s.dC + t * NP + n, load(b.p + t * b.row + n) * splat(s.plain[t]));
    float* of_group = state + k * size;
    for (int64_t i = 0; i < size; i++) of_group[i] *= kept;
    accumulate_outer(z.N, P, events, s.dC, NP, v.p + k * P, v.row, of_group, z.lanes());
  }
}

// What is left of a state after `elapsed`.
inline void mamba2_kept(const ScanSizes& z, const float* A, const float* elapsed, float* kept) {
  for (int64_t k = 0; k < z.m; k++)
    for (int64_t i = 0; i < z.N * z.lanes(); i += W) store(kept + k * z.N * z.lanes() + i, vexp(splat(A[k] * elapsed[k])));
}

}  // namespace
