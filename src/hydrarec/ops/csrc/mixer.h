// What stands between W_X, W_Z and W_O in a Hydra layer, for one head and one history: SiLU, in_proj, the Mamba-2 head,
// out_proj, RoPE of the item path, interaction. Chunk by chunk, so that everything between stays in cache.
#pragma once

#include "gemm.h"
#include "head.h"

namespace {

enum Rope : int64_t { ROPE_NONE = 0, ROPE_Z = 1, ROPE_X = 2 };

struct MixerSizes {
  HeadSizes head;
  int64_t c;
  int64_t c_row() const { return 2 * pad(c) + 32; }  // scratch rows, wide enough for `turn`
  int64_t e_row() const { return pad(head.scan.E) + 16; }
};

// cos and signed sin of every position, rows of 2 c floats; null without RoPE.
struct Rotation {
  const float* table;
  const int64_t* positions;
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
  float r[CHUNK];                 // 1 / rms behind the gate
  void cut(Cutter& c, const MixerSizes& z, bool backward) {
    const int64_t context = z.head.K - 1, in_row = z.head.in_row();
    head.cut(c, z.head);
    p = c.take((context + CHUNK) * in_row), x = c.take((context + CHUNK) * z.c_row());
    this->z = c.take(CHUNK * z.c_row()), y = c.take(CHUNK * z.c_row());
    scanned = c.take(CHUNK * z.e_row()), normed = c.take(CHUNK * z.e_row());
    sigmoids = nullptr;
    if (!backward) return;
    sigmoids = c.take(CHUNK * z.e_row());
    dp = c.take(CHUNK * in_row), dx = c.take(CHUNK * z.c_row()), dy = c.take(CHUNK * z.c_row());
    dnormed = c.take(CHUNK * z.e_row()), dscanned = c.take(CHUNK * z.e_row());
  }
};

// RoPE (Su et al. 2021) of rows of c floats, in place: pairs (i, i + c/2). Every row must be written twice, one copy
// behind the other, so that a channel's partner always stands c/2 further on.
inline void turn(int64_t events, int64_t c, Rotation rotation, float direction, float* rows, int64_t row) {
  const vf sense = splat(direction);
  for (int64_t t = 0; t < events; t++) {
    const float* table = rotation.table + rotation.positions[t] * 2 * c;
    float* r = rows + t * row;
    for (int64_t i = 0; i < c; i += W) {
      const vf own = load(r + i) * load_some(table + i, c - i);
      store_some(r + i, own + load(r + i + c / 2) * load_some(table + c + i, c - i) * sense, c - i);
    }
  }
}

// out = SiLU(in), then RoPE where there is one, of `events` rows.
inline void activate(int64_t events, int64_t c, const float* in, int64_t in_row, Rotation rotation, float* out,
                     int64_t out_row) {
  for (int64_t t = 0; t < events; t++)
    for (int64_t i = 0; i < c; i += W) {
      const vf v = silu(load_some(in + t * in_row + i, c - i));
      store_some(out + t * out_row + i, v, c - i);  // the copy stands right behind
      if (rotation.table) store_some(out + t * out_row + c + i, v, c - i);
    }
  if (rotation.table) turn(events, c, rotation, 1, out, out_row);
}

// din from the gradient of `activate`'s output, which is overwritten.
inline void activate_backward(int64_t events, int64_t c, const float* in, int64_t in_row, Rotation rotation, float* d,
                              int64_t d_row, float* din, int64_t din_row) {
  if (rotation.table) {
    for (int64_t t = 0; t < events; t++)
      for (int64_t i = 0; i < c; i += W) store_some(d + t * d_row + c + i, load(d + t * d_row + i), c - i);
    turn(events, c, rotation, -1, d, d_row);
  }
  for (int64_t t = 0; t < events; t++)
    for (int64_t i = 0; i < c; i += W)
      store_some(din + t * din_row + i, load(d + t * d_row + i) * silu_slope(load_some(in + t * in_row + i, c - i)), c - i);
}

// Everything of one call; pointers may be null where a tensor is not there.
struct MixerCall {
  MixerSizes z;
  int64_t T, U, G, rope;
  float scale;
  const int64_t *offsets, *chunk_first, *positions;  // (U + 1), (U + 1), (T)
  const float *x, *zed;                              // (T, G c), rows row_x and row_z apart
  int64_t row_x, row_z;
  const float* table;  // (period, 2 c)
  const float *in, *out, *conv, *conv_bias, *skip, *norm, *A, *dt_bias;
  const float *conv_state, *state;  // (U, K - 1, G, F), (U, G, E, N)
  float* bounds;                    // (chunks, G, forward_state)
  // forward
  float *u, *conv_final, *final;
  // backward
  const float *du, *dconv_final, *dfinal;
  int64_t row_du;
  float *dx, *dz, *dconv_state, *dstate;
  int64_t row_dx, row_dz;

  Rotation rotation(Rope path, int64_t event) const {
    return rope == path ? Rotation{table, positions + event} : Rotation{nullptr, nullptr};
  }
  int64_t state_size() const { return z.head.scan.E * z.head.scan.N; }
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
  for (int64_t k = 0; k < z.scan.m; k++)
    w.head.A[k] = m.A[g * z.scan.m + k], w.head.dt_bias[k] = m.dt_bias[g * z.scan.m + k];
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

// From a chunk's activated inputs to its outputs before the interaction: s.scanned, s.normed and s.y.
inline void mix_chunk(const MixerSizes& z, const MixerWeights& w, int64_t events, Projected p, MixerScratch& s) {
  const int64_t E = z.head.scan.E;
  read_chunk(z.head, w.head, events, p, s.sigmoids, s.head);
  scan_chunk(z.head, w.head, events, s.head, s.scanned, z.e_row());
  for (int64_t t = 0; t < events; t++)
    s.r[t] = gate_and_norm(z.head, w.head, s.scanned + t * z.e_row(), p.event(t),
                           s.sigmoids ? s.sigmoids + t * z.e_row() : nullptr, s.normed + t * z.e_row());
  multiply(events, z.c, E, s.normed, z.e_row(), w.out_packed, s.y, z.c_row());
}

inline void mixer_forward_history(const MixerCall& m, const MixerWeights& w, int64_t g, int64_t u, MixerScratch& s) {
  const MixerSizes& z = m.z;
  const int64_t c = z.c, E = z.head.scan.E, F = z.head.F(), size = z.head.scan.forward_state();
  const Projected p{s.p, z.head.in_row(), z.head.K};
  read_context(m, u, g, p);
  if (m.state) to_forward(z.head.scan, m.state + (u * m.G + g) * m.state_size(), s.head.state);
  else memset(s.head.state, 0, size * sizeof(float));
  float* bound = m.bounds ? m.bounds + (m.chunk_first[u] * m.G + g) * size : nullptr;
  for (int64_t first = m.offsets[u]; first < m.offsets[u + 1]; first += CHUNK) {
    const int64_t left = m.offsets[u + 1] - first, events = left < CHUNK ? left : CHUNK;
    if (bound) memcpy(bound, s.head.state, size * sizeof(float)), bound += m.G * size;
    activate(events, c, m.x + first * m.row_x + g * c, m.row_x, m.rotation(ROPE_X, first), s.x, z.c_row());
    multiply(events, z.head.in(), c, s.x, z.c_row(), w.in_packed, p.event(0), p.row);
    mix_chunk(z, w, events, p, s);
    activate(events, c, m.zed + first * m.row_z + g * c, m.row_z, m.rotation(ROPE_Z, first), s.z, z.c_row());
    for (int64_t t = 0; t < events; t++)
      for (int64_t i = 0; i < c; i += W)
        store_some(m.u + (first + t) * m.G * c + g * c + i,
                   load(s.y + t * z.c_row() + i) * load(s.z + t * z.c_row() + i) * splat(m.scale), c - i);
    for (int64_t k = 0; k < p.K - 1; k++) memcpy(p.rows + k * p.row + E, p.rows + (events + k) * p.row + E, F * sizeof(float));
  }
  from_forward(z.head.scan, s.head.state, m.final + (u * m.G + g) * m.state_size());
  for (int64_t k = 0; k < p.K - 1; k++) memcpy(m.context(m.conv_final, u, k, g), p.rows + k * p.row + E, F * sizeof(float));
}

// Gradients of one chunk; `at_start`: no events of the history stand before it.
inline void mixer_backward_chunk(const MixerCall& m, const MixerWeights& w, int64_t g, int64_t u, int64_t first,
                                 int64_t events, MixerScratch& s, MixerGradients& grads) {
  const MixerSizes& z = m.z;
  const int64_t c = z.c, E = z.head.scan.E, F = z.head.F(), in = z.head.in(), context = z.head.K - 1;
  const Projected p{s.p, z.head.in_row(), z.head.K};
  const int64_t before = first == m.offsets[u] ? 0 : context, begin = first - before;
  if (!before) read_context(m, u, g, p);
  const float *x = m.x + g * c, *zed = m.zed + first * m.row_z + g * c;
  float* active = s.x + (context - before) * z.c_row();
  activate(before + events, c, x + begin * m.row_x, m.row_x, m.rotation(ROPE_X, begin), active, z.c_row());
  multiply(before + events, in, c, active, z.c_row(), w.in_packed, p.event(-before), p.row);
  forward_to_turned(z.head.scan, s.head.state, s.head.turned);
  mix_chunk(z, w, events, p, s);

  const Rotation rotation = m.rotation(ROPE_Z, first);
  activate(events, c, zed, m.row_z, rotation, s.z, z.c_row());
  for (int64_t t = 0; t < events; t++)
    for (int64_t i = 0; i < c; i += W) {
      const int64_t at = t * z.c_row() + i;
      const vf du = load_some(m.du + (first + t) * m.row_du + g * c + i, c - i) * splat(m.scale);
      store(s.dy + at, du * load(s.z + at));
      store(s.z + at, du * load(s.y + at));
    }
  activate_backward(events, c, zed, m.row_z, rotation, s.z, z.c_row(), m.dz + first * m.row_dz + g * c, m.row_dz);
  multiply(events, E, c, s.dy, z.c_row(), w.out_turned, s.dnormed, z.e_row());
  accumulate_outer(E, c, events, s.normed, z.e_row(), s.dy, z.c_row(), grads.out, c);
  for (int64_t t = 0; t < events; t++)
    gate_and_norm_backward(z.head, w.head, s.scanned + t * z.e_row(), p.event(t), s.r[t], s.sigmoids + t * z.e_row(),
                           s.dnormed + t * z.e_row(), s.dscanned + t * z.e_row(), s.dp + t * p.row, grads.head.norm);
  head_backward(z.head, w.head, events, p, s.dscanned, z.e_row(), s.head, s.dp, p.row, grads.head);
  const int64_t kept = m.offsets[u + 1] - context;  // events from here on are the final context
  for (int64_t t = kept > first ? kept - first : 0; m.dconv_final && t < events; t++)
    for (int64_t f = 0; f < F; f++) s.dp[t * p.row + E + f] += m.context(m.dconv_final, u, first + t - kept, g)[f];
  multiply(events, c, in, s.dp, p.row, w.in_turned, s.dx, z.c_row());
  accumulate_outer(c, in, events, s.x + context * z.c_row(), z.c_row(), s.dp, p.row, grads.in, in);
  activate_backward(events, c, x + first * m.row_x, m.row_x, m.rotation(ROPE_X, first), s.dx, z.c_row(),
                    m.dx + first * m.row_dx + g * c, m.row_dx);
}

inline void mixer_backward_history(const MixerCall& m, const MixerWeights& w, int64_t g, int64_t u, MixerScratch& s,
                                   MixerGradients& grads) {
  const MixerSizes& z = m.z;
  const ScanSizes& sizes = z.head.scan;
  const int64_t F = z.head.F(), context = z.head.K - 1, size = sizes.forward_state();
  const int64_t begin = m.offsets[u], end = m.offsets[u + 1], place = (u * m.G + g) * m.state_size();
  if (m.dfinal) to_forward(sizes, m.dfinal + place, s.head.later);
  else memset(s.head.later, 0, size * sizeof(float));
  forward_to_turned(sizes, s.head.later, s.head.later_turned);
  memset(s.head.dconvolved, 0, (CHUNK + context) * z.head.row() * sizeof(float));
  for (int64_t k = (end - begin + CHUNK - 1) / CHUNK - 1; k >= 0; k--) {
    const int64_t first = begin + k * CHUNK, left = end - first;
    memcpy(s.head.state, m.bounds + ((m.chunk_first[u] + k) * m.G + g) * size, size * sizeof(float));
    mixer_backward_chunk(m, w, g, u, first, left < CHUNK ? left : CHUNK, s, grads);
  }
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
