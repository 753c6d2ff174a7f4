// A stretch of the mixer gone through for what leaves it alone, state or gradient of the state: nothing behind the scan,
// or going back nothing before it. See stretches.h.
#pragma once

#include "local2.h"
#include "mixer.h"

namespace {

inline void mixer_local(const MixerCall& m, const MixerWeights& w, const Stretch& part, MixerScratch& s) {
  const HeadSizes& z = m.z.head;
  const int64_t E = z.scan.E;
  memset(part.leaving, 0, z.scan.forward_state() * sizeof(float));
  *s.elapsed = 0;
  for (int64_t k = 0; k < part.chunks(); k++) {
    const auto [first, events] = part.chunk(k);
    const Projected p = project(m, w, part.g, first, events, k ? 0 : z.K - 1, E, s);
    read_chunk(z, w.head, events, p, false, s.head);
    const float* x = s.head.convolved;
    mamba2_local(z.scan, events, false, Rows{x, z.row()}, Rows{x + E, z.row()}, s.head.scan, part.leaving, s.elapsed);
    carry_context(m.z, events, p);
  }
  mamba2_kept(z.scan, w.head.A, s.elapsed, part.kept);
}

inline void mixer_local_back(const MixerCall& m, const MixerWeights& w, const Stretch& part, MixerScratch& s) {
  const MixerSizes& z = m.z;
  const ScanSizes& sizes = z.head.scan;
  const int64_t c = z.c, E = sizes.E, row = z.head.row();
  memset(part.leaving, 0, sizes.forward_state() * sizeof(float));
  *s.elapsed = 0;
  memset(s.ignored, 0, pad(E) * sizeof(float));
  for (int64_t k = part.chunks() - 1; k >= 0; k--) {
    const auto [first, events] = part.chunk(k);
    const Projected p = mix_again(m, w, part.g, part.u, first, events, s);
    for (int64_t t = 0; t < events; t++)
      for (int64_t i = 0; i < c; i += W) {
        const vf du = load_some(m.du + (first + t) * m.row_du + part.g * c + i, c - i);
        store(s.dy + t * z.c_row() + i, interact(du * splat(m.scale), load(s.z + t * z.c_row() + i)));
      }
    back_to_scan(z, w, events, p, s, s.ignored);
    const Rows C{s.head.convolved + E + sizes.N, row};
    mamba2_local(sizes, events, true, Rows{s.dscanned, z.e_row()}, C, s.head.scan, part.leaving, s.elapsed);
  }
  mamba2_kept(sizes, w.head.A, s.elapsed, part.kept);
}

}  // namespace
