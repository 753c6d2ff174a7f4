// What stands between W_X, W_Z and W_O in a Hydra layer, for one head and one history or a stretch of it: SiLU, in_proj,
// the Mamba-2 head, out_proj, interaction. Chunk by chunk, so that everything between stays in cache.
#pragma once

#include "gemm.h"
#include "head.h"
#include "stretches.h"

namespace {

struct MixerSizes {
  HeadSizes head;
  int64_t c;
  int64_t c_row() const { return pad(c) + 16; }
  int64_t e_row() const { return pad(head.scan.E) + 16; }
};

struct MixerWeights {
  const float *in, *out;  // (c, in), (E, c), row-major
  float *in_packed, *out_packed, *in_turned, *out_turned;  // for products with them and with their transposes
  HeadParameters head;
  void cut(Cutter& c, const MixerSizes& z, bool backward) {
    const int64_t in = z.head.in(), E = z.head.scan.E;
    in_packed = c.take(packed_size(z.c, in)), out_packed = c.take(packed_size(E, z.c));
    in_turned = backward ? c.take(packed_size(in, z.c)) : nullptr;
    out_turned = backward ? c.take(packed_size(z.c, E)) : nullptr;
    head.cut(c, z.head);
  }
  void pack_all(const MixerSizes& z) {
    const int64_t in = z.head.in(), E = z.head.scan.E;
    pack(this->in, in, 1, z.c, in, in_packed);
    pack(out, z.c, 1, E, z.c, out_packed);
    if (in_turned) pack(this->in, 1, in, in, z.c, in_turned);
    if (out_turned) pack(out, 1, z.c, z.c, E, out_turned);
  }
};

struct MixerGradients {
  float *in, *out;  // (c, in) and (E, c); rows padded
  HeadParameters head;
  void cut(Cutter& c, const MixerSizes& z) {
    in = c.take(z.c * z.head.in()), out = c.take(z.head.scan.E * z.c);
    head.cut(c, z.head);
  }
};

struct MixerScratch {
  HeadScratch head;
  float *p, *dp;                  // [K - 1 + CHUNK][in_row], [CHUNK][in_row]
  float *x, *z, *y, *dx, *dy;     // [K - 1 + CHUNK][c_row], the rest [CHUNK][c_row]
  float *scanned, *normed, *sigmoids, *dnormed, *dscanned;  // [CHUNK][e_row]
  float *elapsed, *ignored;       // [1], [E]
  float r[CHUNK];                 // 1 / rms behind the gate
  void cut(Cutter& c, const MixerSizes& z, bool backward) {
    const int64_t context = z.head.K - 1, in_row = z.head.in_row();
    head.cut(c, z.head);
    p = c.take((context + CHUNK) * in_row), x = c.take((context + CHUNK) * z.c_row());
    this->z = c.take(CHUNK * z.c_row()), y = c.take(CHUNK * z.c_row());
    scanned = c.take(CHUNK * z.e_row()), normed = c.take(CHUNK * z.e_row());
    elapsed = c.take(1), ignored = c.take(pad(z.head.scan.E));
    sigmoids = nullptr;
    if (!backward) return;
    sigmoids = c.take(CHUNK * z.e_row());
    dp = c.take(CHUNK * in_row), dx = c.take(CHUNK * z.c_row()), dy = c.take(CHUNK * z.c_row());
    dnormed = c.take(CHUNK * z.e_row()), dscanned = c.take(CHUNK * z.e_row());
  }
};

// out = SiLU(in) of `events` rows.
inline void activate(int64_t events, int64_t c, const float* in, int64_t in_row, float* out, int64_t out_row) {
  for (int64_t t = 0; t < events; t++)
    for (int64_t i = 0; i < c; i += W)
      store_some(out + t * out_row + i, silu(load_some(in + t * in_row + i, c - i)), c - i);
}

// din from the gradient of `activate`'s output.
inline void activate_backward(int64_t events, int64_t c, const float* in, int64_t in_row, const float* d, int64_t d_row,
                              float* din, int64_t din_row) {
  for (int64_t t = 0; t < events; t++)
    for (int64_t i = 0; i < c; i += W)
      store_some(din + t * din_row + i, load(d + t * d_row + i) * silu_slope(load_some(in + t * in_row + i, c - i)), c - i);
}

// Everything of one call; pointers may be null where a tensor is not there.
struct MixerCall {
  MixerSizes z;
  int64_t T, U, G;
  float scale;
  const int64_t *offsets, *chunk_first;  // (U + 1) each
  const float* xz;                       // (T, 2 G c), rows row_xz apart
  int64_t row_xz;
  const float *in, *out, *conv, *conv_bias, *skip, *norm, *A, *dt_bias;
  const float *conv_state, *state;  // (U, K - 1, G, F), (U, G, E, N)
  float* bounds;                    // (chunks, G, forward_state)
  // forward
  float *u, *conv_final, *final;
  // backward
  const float *du, *dconv_final, *dfinal;
  int64_t row_du;
  float *dxz, *dconv_state, *dstate;

  // Inputs of head g of the history path from an event on, and their gradients; those of the item path stand G heads behind.
  const float* inputs(int64_t event, int64_t g) const { return xz + event * row_xz + g * z.c; }
  float* dinputs(int64_t event, int64_t g) const { return dxz + (event * 2 * G + g) * z.c; }
  int64_t state_size() const { return z.head.scan.E * z.head.scan.N; }
  float* bound(int64_t g, int64_t u, int64_t event) const {
    const int64_t chunk = chunk_first[u] + (event - offsets[u]) / CHUNK;
    return bounds + (chunk * G + g) * z.head.scan.forward_state();
  }
  float* context(float* conv_states, int64_t u, int64_t k, int64_t g) const {
    return conv_states + ((u * (z.head.K - 1) + k) * G + g) * z.head.F();
  }
  const float* context(const float* conv_states, int64_t u, int64_t k, int64_t g) const {
    return context(const_cast<float*>(conv_states), u, k, g);
  }
};

inline void read_weights(const MixerCall& m, int64_t g, MixerWeights& w) {
  const HeadSizes& z = m.z.head;
  const int64_t E = z.scan.E, F = z.F();
  w.in = m.in + g * m.z.c * z.in(), w.out = m.out + g * E * m.z.c;
  w.pack_all(m.z);
  for (int64_t f = 0; f < pad(F); f++) {
    for (int64_t k = 0; k < z.K; k++) w.head.conv[k * pad(F) + f] = f < F ? m.conv[(g * F + f) * z.K + k] : 0;
    w.head.conv_bias[f] = f < F ? m.conv_bias[g * F + f] : 0;
  }
  for (int64_t e = 0; e < pad(E); e++)
    w.head.skip[e] = e < E ? m.skip[g * E + e] : 0, w.head.norm[e] = e < E ? m.norm[g * E + e] : 0;
  *w.head.A = m.A[g], *w.head.dt_bias = m.dt_bias[g];
}

// The convolution's inputs before a history, into the rows before the first event's.
inline void read_context(const MixerCall& m, int64_t u, int64_t g, Projected p) {
  const int64_t E = m.z.head.scan.E, F = m.z.head.F();
  for (int64_t k = 0; k < p.K - 1; k++) {
    float* row = p.rows + k * p.row + E;
    if (m.conv_state) memcpy(row, m.context(m.conv_state, u, k, g), F * sizeof(float));
    else memset(row, 0, F * sizeof(float));
  }
}

// s.z = SiLU(z) of a chunk.
inline void read_items(const MixerCall& m, int64_t g, int64_t first, int64_t events, MixerScratch& s) {
  activate(events, m.z.c, m.inputs(first, m.G + g), m.row_xz, s.z, m.z.c_row());
}
// What a head read from the history meets the item: y (1 + z).
INLINE vf interact(vf y, vf z) { return y + y * z; }

// The rows of a chunk that the head reads, and those of `before` events before it, from column `column` on.
inline Projected project(const MixerCall& m, const MixerWeights& w, int64_t g, int64_t first, int64_t events,
                         int64_t before, int64_t column, MixerScratch& s) {
  const int64_t c = m.z.c, row = m.z.c_row(), context = m.z.head.K - 1, begin = first - before;
  const int64_t out = column / PANEL * PANEL;
  const Projected p{s.p, m.z.head.in_row(), m.z.head.K};
  float* active = s.x + (context - before) * row;
  activate(before + events, c, m.inputs(begin, g), m.row_xz, active, row);
  multiply(before + events, m.z.head.in() - out, c, active, row, w.in_packed + out * c, p.event(-before) + out, p.row);
  return p;
}

// The last rows of a chunk become those before the next.
inline void carry_context(const MixerSizes& z, int64_t events, Projected p) {
  const int64_t E = z.head.scan.E, F = z.head.F();
  for (int64_t k = 0; k < p.K - 1; k++)
    memcpy(p.rows + k * p.row + E, p.rows + (events + k) * p.row + E, F * sizeof(float));
}

// From a chunk's projected inputs to what out_proj reads: s.scanned and s.normed.
inline void mix_chunk(const MixerSizes& z, const MixerWeights& w, int64_t events, Projected p, MixerScratch& s) {
  read_chunk(z.head, w.head, events, p, s.sigmoids, s.head);
  scan_chunk(z.head, w.head, events, s.head, s.scanned, z.e_row());
  for (int64_t t = 0; t < events; t++)
    s.r[t] = gate_and_norm(z.head, w.head, s.scanned + t * z.e_row(), p.event(t),
                           s.sigmoids ? s.sigmoids + t * z.e_row() : nullptr, s.normed + t * z.e_row());
}

inline void mixer_forward(const MixerCall& m, const MixerWeights& w, const Stretch& part, MixerScratch& s) {
  const MixerSizes& z = m.z;
  const int64_t c = z.c, E = z.head.scan.E, F = z.head.F(), size = z.head.scan.forward_state(), g = part.g, u = part.u;
  const Projected p{s.p, z.head.in_row(), z.head.K};
  if (part.begin == m.offsets[u]) read_context(m, u, g, p);
  if (part.entering) memcpy(s.head.state, part.entering, size * sizeof(float));
  else if (m.state) to_forward(z.head.scan, m.state + (u * m.G + g) * m.state_size(), s.head.state);
  else memset(s.head.state, 0, size * sizeof(float));
  for (int64_t k = 0; k < part.chunks(); k++) {
    const auto [first, events] = part.chunk(k);
    if (m.bounds) memcpy(m.bound(g, u, first), s.head.state, size * sizeof(float));
    project(m, w, g, first, events, k || first == m.offsets[u] ? 0 : p.K - 1, 0, s);
    mix_chunk(z, w, events, p, s);
    multiply(events, c, E, s.normed, z.e_row(), w.out_packed, s.y, z.c_row());
    read_items(m, g, first, events, s);
    for (int64_t t = 0; t < events; t++)
      for (int64_t i = 0; i < c; i += W)
        store_some(m.u + (first + t) * m.G * c + g * c + i,
                   interact(load(s.y + t * z.c_row() + i), load(s.z + t * z.c_row() + i)) * splat(m.scale), c - i);
    carry_context(z, events, p);
  }
  if (part.leaving) memcpy(part.leaving, s.head.state, size * sizeof(float));
  if (part.end != m.offsets[u + 1]) return;
  from_forward(z.head.scan, s.head.state, m.final + (u * m.G + g) * m.state_size());
  for (int64_t k = 0; k < p.K - 1; k++) memcpy(m.context(m.conv_final, u, k, g), p.rows + k * p.row + E, F * sizeof(float));
}

// A chunk's forward once more, from the state that was kept, up to s.normed and s.z.
inline Projected mix_again(const MixerCall& m, const MixerWeights& w, int64_t g, int64_t u, int64_t first,
                           int64_t events, MixerScratch& s) {
  const MixerSizes& z = m.z;
  const bool starts = first == m.offsets[u];
  if (starts) read_context(m, u, g, Projected{s.p, z.head.in_row(), z.head.K});
  const Projected p = project(m, w, g, first, events, starts ? 0 : z.head.K - 1, 0, s);
  memcpy(s.head.state, m.bound(g, u, first), z.head.scan.forward_state() * sizeof(float));
  mix_chunk(z, w, events, p, s);
  read_items(m, g, first, events, s);
  return p;
}

// From s.dy, the gradient of out_proj's results, to s.dscanned; also the gate's part of s.dp, and `dnorm` is added to.
inline void back_to_scan(const MixerSizes& z, const MixerWeights& w, int64_t events, Projected p, MixerScratch& s,
                         float* dnorm) {
  multiply(events, z.head.scan.E, z.c, s.dy, z.c_row(), w.out_turned, s.dnormed, z.e_row());
  for (int64_t t = 0; t < events; t++)
    gate_and_norm_backward(z.head, w.head, s.scanned + t * z.e_row(), p.event(t), s.r[t], s.sigmoids + t * z.e_row(),
                           s.dnormed + t * z.e_row(), s.dscanned + t * z.e_row(), s.dp + t * p.row, dnorm);
}

// Gradients of one chunk.
inline void mixer_backward_chunk(const MixerCall& m, const MixerWeights& w, int64_t g, int64_t u, int64_t first,
                                 int64_t events, MixerScratch& s, MixerGradients& grads) {
  const MixerSizes& z = m.z;
  const int64_t c = z.c, E = z.head.scan.E, F = z.head.F(), in = z.head.in(), context = z.head.K - 1;
  forward_to_turned(z.head.scan, m.bound(g, u, first), s.head.turned);
  const Projected p = mix_again(m, w, g, u, first, events, s);
  multiply(events, c, E, s.normed, z.e_row(), w.out_packed, s.y, z.c_row());
  for (int64_t t = 0; t < events; t++)
    for (int64_t i = 0; i < c; i += W) {
      const int64_t at = t * z.c_row() + i;
      const vf du = load_some(m.du + (first + t) * m.row_du + g * c + i, c - i) * splat(m.scale);
      store(s.dy + at, interact(du, load(s.z + at)));
      store(s.z + at, du * load(s.y + at));
    }
  activate_backward(events, c, m.inputs(first, m.G + g), m.row_xz, s.z, z.c_row(), m.dinputs(first, m.G + g), 2 * m.G * c);
  accumulate_outer(E, c, events, s.normed, z.e_row(), s.dy, z.c_row(), grads.out, c);
  back_to_scan(z, w, events, p, s, grads.head.norm);
  head_backward(z.head, w.head, events, p, s.dscanned, z.e_row(), s.head, s.dp, p.row, grads.head);
  const int64_t kept = m.offsets[u + 1] - context;  // events from here on are the final context
  for (int64_t t = kept > first ? kept - first : 0; m.dconv_final && t < events; t++)
    for (int64_t f = 0; f < F; f++) s.dp[t * p.row + E + f] += m.context(m.dconv_final, u, first + t - kept, g)[f];
  multiply(events, c, in, s.dp, p.row, w.in_turned, s.dx, z.c_row());
  accumulate_outer(c, in, events, s.x + context * z.c_row(), z.c_row(), s.dp, p.row, grads.in, in);
  activate_backward(events, c, m.inputs(first, g), m.row_xz, s.dx, z.c_row(), m.dinputs(first, g), 2 * m.G * c);
}

// What a stretch that does not begin its history, its first chunk done last, adds to the gradients of the K - 1 events
// before it: those of in_proj, and of x in `dx` (K - 1, c), since another part writes what the caller sees.
inline void mixer_backward_context(const MixerCall& m, const MixerWeights& w, const Stretch& part, MixerScratch& s,
                                   MixerGradients& grads, float* dx) {
  const HeadSizes& z = m.z.head;
  const int64_t c = m.z.c, row = m.z.c_row(), in = z.in(), context = z.K - 1, first = part.begin - context;
  memset(s.dp, 0, context * z.in_row() * sizeof(float));
  context_backward(z.F(), w.head.taps(z), s.head.dconvolved, z.row(), s.dp + z.scan.E, z.in_row());
  multiply(context, c, in, s.dp, z.in_row(), w.in_turned, s.dx, row);
  accumulate_outer(c, in, context, s.x, row, s.dp, z.in_row(), grads.in, in);
  activate_backward(context, c, m.inputs(first, part.g), m.row_xz, s.dx, row, dx, c);
}

// dx_before: for mixer_backward_context, where the stretch does not begin its history.
inline void mixer_backward(const MixerCall& m, const MixerWeights& w, const Stretch& part, MixerScratch& s,
                           MixerGradients& grads, float* dx_before) {
  const MixerSizes& z = m.z;
  const ScanSizes& sizes = z.head.scan;
  const int64_t F = z.head.F(), context = z.head.K - 1, size = sizes.forward_state(), g = part.g, u = part.u;
  const int64_t begin = m.offsets[u], end = m.offsets[u + 1], place = (u * m.G + g) * m.state_size();
  if (part.entering) memcpy(s.head.later, part.entering, size * sizeof(float));
  else if (m.dfinal) to_forward(sizes, m.dfinal + place, s.head.later);
  else memset(s.head.later, 0, size * sizeof(float));
  forward_to_turned(sizes, s.head.later, s.head.later_turned);
  memset(s.head.dconvolved, 0, (CHUNK + context) * z.head.row() * sizeof(float));
  for (int64_t k = part.chunks() - 1; k >= 0; k--) {
    const auto [first, events] = part.chunk(k);
    mixer_backward_chunk(m, w, g, u, first, events, s, grads);
  }
  if (part.leaving) memcpy(part.leaving, s.head.later, size * sizeof(float));
  if (part.begin > begin) return mixer_backward_context(m, w, part, s, grads, dx_before);
  if (m.dstate) from_forward(sizes, s.head.later, m.dstate + place);
  if (!m.dconv_state) return;
  for (int64_t k = 0; k < context; k++) {
    float* row = m.context(m.dconv_state, u, k, g);
    memset(row, 0, F * sizeof(float));
    if (m.dconv_final && k >= end - begin)  // inputs before the history that are still in the final context
      memcpy(row, m.context(m.dconv_final, u, k - (end - begin), g), F * sizeof(float));
  }
  if (context)
    context_backward(F, w.head.taps(z.head), s.head.dconvolved, z.head.row(), m.context(m.dconv_state, u, 0, g), m.G * F);
}

}  // namespace
