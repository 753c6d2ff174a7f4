// Heads whose memory fades with the time that passes (nn/time_heads.py), one event at a time.
#pragma once

#include "linear.h"
#include "norm.h"

namespace {

struct TimeSizes {
  int64_t heads, width;
  int64_t state() const { return heads * (width + 1); }  // of a user
  int64_t in_row() const { return pad(2 * heads * width) + 16; }
  int64_t out_row() const { return pad(state()) + 16; }
};

constexpr float FORGOTTEN = 50, SHORTEST = 1e-6f;  // as in nn/time_heads.py

struct TimeHeads {
  TimeSizes z;
  Gain norm;
  Linear vz, o;
  float* scale;  // seconds, of each head

  void cut(Cutter& c, int64_t d, TimeSizes sizes) {
    z = sizes, norm.cut(c, d), vz.cut(c, d, 2 * z.heads * z.width), o.cut(c, z.state(), d), scale = c.take(z.heads);
  }
  // t: norm vz o scale.
  void read(const float* const* t) const {
    norm.read(t[0]), vz.read(t[1]), o.read(t[2]);
    memcpy(scale, t[3], z.heads * sizeof(float));
  }

  // h (users, d) += what is remembered; state of each user (heads, width + 1), the sum of the weights last.
  void step(int64_t users, float* h, int64_t h_row, const float* since, const float* until, float* state,
            int64_t state_row, float* normed, float* joint, float* remembered) const {
    norm(users, h, h_row, normed);
    vz(users, normed, h_row, joint, z.in_row());
    for (int64_t i = 0; i < users; i++) {
      float* both = joint + i * z.in_row();  // v of each head, z of each head
      for (int64_t j = 0; j < 2 * z.heads * z.width; j += W) store(both + j, silu(load(both + j)));
      for (int64_t k = 0; k < z.heads; k++) {
        const float most = FORGOTTEN * scale[k], step = since[i] < most ? since[i] : most;
        const float decay = __builtin_expf(-(step > SHORTEST ? step : SHORTEST) / scale[k]);
        const float left = __builtin_expf(-until[i] / scale[k]);
        const float *v = both + k * z.width, *gate = v + z.heads * z.width;
        float *sums = state + i * state_row + k * (z.width + 1), *out = remembered + i * z.out_row() + k * (z.width + 1);
        sums[z.width] = sums[z.width] * decay + 1;
        const float total = left * sums[z.width], share = left / (1 + total);
        for (int64_t c = 0; c < z.width; c++) sums[c] = sums[c] * decay + v[c], out[c] = share * sums[c] * gate[c];
        out[z.width] = __builtin_log1pf(total);
      }
    }
    o.add(users, remembered, z.out_row(), h, h_row);
  }
};

}  // namespace
