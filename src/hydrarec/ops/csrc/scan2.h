// The Mamba-2 scan alone: one head over one history or a stretch of it, step sizes given.
#pragma once

#include "local2.h"
#include "scan_call.h"

namespace {

struct Scan2 {
  static constexpr int64_t LOCAL = 50, LOCAL_BACK = 30;  // see Stretches::cost
  const ScanCall& m;
  ScanScratch s;
  Padded x, B, C, dy;
  float *y, *ddt, *state, *turned, *later, *later_turned, *elapsed;
  int64_t e_row, n_row;

  explicit Scan2(const ScanCall& call) : m(call), e_row(pad(call.z.E) + 16), n_row(pad(call.z.N)) {}
  void cut(Cutter& c) {
    const ScanSizes& z = m.z;
    s.cut(c, z);
    x = Padded{c.take(CHUNK * e_row), e_row}, dy = Padded{c.take(CHUNK * e_row), e_row};
    B = Padded{c.take(CHUNK * n_row), n_row}, C = Padded{c.take(CHUNK * n_row), n_row};
    y = c.take(CHUNK * e_row), ddt = c.take(z.m * CHUNK), state = c.take(z.forward_state()), turned = c.take(z.turned_state());
    later = c.take(z.forward_state()), later_turned = c.take(z.turned_state());
    elapsed = c.take(z.m);
  }
  void read_steps(int64_t g, int64_t first, int64_t events) {
    const float* steps = m.dt.at(first, g);
    for (int64_t k = 0; k < m.z.m; k++)
      for (int64_t t = 0; t < events; t += W) {
        const vf dt = load_strided(steps + t * m.dt.row + k, m.dt.row, events - t);
        store(s.dt + k * CHUNK + t, dt);
        store(s.decay + k * CHUNK + t, vexp(dt * splat(m.A[g * m.z.m + k])));
      }
  }
  void fetch(int64_t g, int64_t first, int64_t end) const {
    fetch_rows(m.x, m.z.E, g, first, end), fetch_rows(m.B, m.z.N, g, first, end), fetch_rows(m.C, m.z.N, g, first, end);
  }
  void forward(const Stretch& part) {
    const ScanSizes& z = m.z;
    const int64_t size = z.forward_state(), row = m.G * z.E, g = part.g, u = part.u;
    if (part.entering) memcpy(state, part.entering, size * sizeof(float));
    else if (m.state) to_forward(z, m.state_of(m.state, u, g), state);
    else memset(state, 0, size * sizeof(float));
    for (int64_t first = part.begin, k = m.chunk_of(u, first); first < part.end; first += CHUNK, k++) {
      const int64_t left = part.end - first, events = left < CHUNK ? left : CHUNK;
      if (m.bounds) memcpy(m.bounds + (k * m.G + g) * size, state, size * sizeof(float));
      read_steps(g, first, events);
      const bool direct = z.E % 16 == 0 && z.group() % W == 0;
      float* out = m.y + first * row + g * z.E;
      mamba2_forward(z, events, x.of(m.x, z.E, z.group(), first, g, events), B.of(m.B, z.N, z.N, first, g, events),
                     C.of(m.C, z.N, z.N, first, g, events), s, direct ? out : y, direct ? row : e_row, state);
      if (!direct) write_rows(out, row, y, e_row, z.E, events);
    }
    if (part.leaving) memcpy(part.leaving, state, size * sizeof(float));
    if (part.end == m.offsets[u + 1]) from_forward(z, state, m.final + (u * m.G + g) * z.E * z.N);
  }
  void backward(const Stretch& part, float* dA) {
    const ScanSizes& z = m.z;
    const int64_t size = z.forward_state(), g = part.g, u = part.u;
    if (part.entering) memcpy(later, part.entering, size * sizeof(float));
    else if (m.dfinal) to_forward(z, m.state_of(m.dfinal, u, g), later);
    else memset(later, 0, size * sizeof(float));
    forward_to_turned(z, later, later_turned);
    for (int64_t k = part.chunks() - 1; k >= 0; k--) {
      const auto [first, events] = part.chunk(k);
      forward_to_turned(z, m.bounds + (m.chunk_of(u, first) * m.G + g) * size, turned);
      read_steps(g, first, events);
      mamba2_backward(z, events, x.of(m.x, z.E, z.group(), first, g, events), B.of(m.B, z.N, z.N, first, g, events),
                      C.of(m.C, z.N, z.N, first, g, events), dy.of(m.dy, z.E, z.group(), first, g, events),
                      m.A + g * z.m, s, turned, later, later_turned,
                      ScanGradients{m.dx + (first * m.G + g) * z.E, m.G * z.E, m.dB + (first * m.G + g) * z.N,
                                    m.dC + (first * m.G + g) * z.N, m.G * z.N, ddt, dA});
      for (int64_t t = 0; t < events; t++)
        for (int64_t i = 0; i < z.m; i++) m.ddt[((first + t) * m.G + g) * z.m + i] = ddt[i * CHUNK + t];
    }
    if (part.leaving) memcpy(part.leaving, later, size * sizeof(float));
    if (part.begin == m.offsets[u]) from_forward(z, later, m.dstate + (u * m.G + g) * z.E * z.N);
  }
  void local(const Stretch& part, bool back) {
    const ScanSizes& z = m.z;
    const int64_t g = part.g, chunks = part.chunks();
    memset(part.leaving, 0, z.forward_state() * sizeof(float));
    memset(elapsed, 0, z.m * sizeof(float));
    for (int64_t i = 0; i < chunks; i++) {
      const auto [first, events] = part.chunk(back ? chunks - 1 - i : i);
      read_steps(g, first, events);
      const Rows v = back ? dy.of(m.dy, z.E, z.group(), first, g, events) : x.of(m.x, z.E, z.group(), first, g, events);
      const Rows b = back ? C.of(m.C, z.N, z.N, first, g, events) : B.of(m.B, z.N, z.N, first, g, events);
      mamba2_local(z, events, back, v, b, s, part.leaving, elapsed);
    }
    mamba2_kept(z, m.A + g * z.m, elapsed, part.kept);
  }
  int64_t passing() const { return m.z.forward_state(); }
};

}  // namespace
