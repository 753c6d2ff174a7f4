// One event for each of many users through a whole encoder: the states are updated where they lie. Weights are packed
// once and serve until they change.
#include <atomic>
#include <new>

#include "linear.h"
#include "mixer.h"
#include "norm.h"
#include "parts.h"
#include "time_heads.h"

namespace {

constexpr int64_t USERS = 24;  // of a block: what lies between two products stays in the nearest cache

// sizes: U d layers G c E N K ffn output, and of the time heads how many a layer has and their width.
struct StepSizes {
  int64_t U, d, layers, G, ffn;
  bool output;
  MixerSizes mixer;
  TimeSizes time;
  explicit StepSizes(const int64_t* n)
      : U(n[0]), d(n[1]), layers(n[2]), G(n[3]), ffn(n[8]), output(n[9]),
        mixer{HeadSizes{ScanSizes{n[5], n[6]}, n[7]}, n[4]}, time{n[10], n[11]} {}
  int64_t width() const { return G * mixer.c; }
};

constexpr int HEADS_MOST = 64;

constexpr int WEIGHTS = 18;  // tensors of a layer

struct StepLayer {
  TimeHeads time;
  Gain norm, ffn_norm;
  Linear xz, o, gate_up, down;
  MixerWeights heads[HEADS_MOST];
  void cut(Cutter& c, const StepSizes& z) {
    norm.cut(c, z.d), xz.cut(c, z.d, 2 * z.width()), o.cut(c, z.width(), z.d);
    for (int64_t g = 0; g < z.G; g++) heads[g].cut(c, z.mixer, false);
    if (z.ffn) ffn_norm.cut(c, z.d), gate_up.cut(c, z.d, 2 * z.ffn), down.cut(c, z.ffn, z.d);
    if (z.time.heads) time.cut(c, z.d, z.time);
  }
  // t: norm xz in out conv conv_bias skip norm A dt_bias o ffn_norm gate_up down, and of the time heads norm vz o scale.
  void read(const StepSizes& z, const float* const* t) {
    norm.read(t[0]), xz.read(t[1]), o.read(t[10]);
    MixerCall m{};
    m.z = z.mixer, m.in = t[2], m.out = t[3], m.conv = t[4], m.conv_bias = t[5], m.skip = t[6], m.norm = t[7];
    m.A = t[8], m.dt_bias = t[9];
    for (int64_t g = 0; g < z.G; g++) read_weights(m, g, heads[g]);
    if (z.ffn) ffn_norm.read(t[11]), gate_up.read(t[12]), down.read(t[13]);
    if (z.time.heads) time.read(t + 14);
  }
};

struct StepScratch {
  float *h, *normed, *xz, *u, *hidden, *act;  // [USERS][row]
  float *x, *zed, *p, *y, *convolved, *scanned, *gated;
  float *timed, *remembered;
  int64_t d_row, xz_row, u_row, ffn_row;
  void cut(Cutter& c, const StepSizes& z) {
    d_row = pad(z.d) + 16, xz_row = pad(2 * z.width()) + 16, u_row = pad(z.width()) + 16, ffn_row = pad(2 * z.ffn) + 16;
    h = c.take(USERS * d_row), normed = c.take(USERS * d_row), xz = c.take(USERS * xz_row), u = c.take(USERS * u_row);
    hidden = c.take(USERS * ffn_row), act = c.take(USERS * ffn_row);
    x = c.take(USERS * z.mixer.c_row()), zed = c.take(USERS * z.mixer.c_row()), y = c.take(USERS * z.mixer.c_row());
    p = c.take(USERS * z.mixer.head.in_row()), convolved = c.take(z.mixer.head.row());
    scanned = c.take(z.mixer.e_row()), gated = c.take(USERS * z.mixer.e_row());
    timed = c.take(USERS * z.time.in_row()), remembered = c.take(USERS * z.time.out_row());
  }
};

INLINE void fetch(const float* p, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i, 1);
}

// One event through a convolution: `context` (K - 1 rows `row` apart) takes the new input in.
inline void step_convolution(const HeadSizes& z, const HeadParameters& w, const float* now, float* context, int64_t row,
                             float* out) {
  const int64_t F = z.F();
  for (int64_t f = 0; f < F; f += W) {
    const vf latest = load(now + f);
    vf acc = load(w.conv_bias + f) + load(w.conv + (z.K - 1) * pad(F) + f) * latest;
    vf before = latest;
    for (int64_t k = z.K - 2; k >= 0; k--) {
      const vf kept = load_some(context + k * row + f, F - f);
      acc += load(w.conv + k * pad(F) + f) * kept;
      store_some(context + k * row + f, before, F - f);
      before = kept;
    }
    store(out + f, silu(acc));
  }
}

// One event through the scan of W channels; state (W, N), y (W). V vectors hold the N states exactly, or 0: any N.
template <int V>
INLINE void step_channels(int64_t channels, int64_t N, vf decay, float dt, const float* x, const float* B, const float* C,
                          float* state, float* y) {
  vf dots[W];
  for (int i = 0; i < W; i++) {
    dots[i] = vf{};
    if (!V && i >= channels) continue;
    float* s = state + i * (V ? V * W : N);
    const vf in = splat(dt * x[i]);
    for (int64_t n = 0; n < (V ? V * W : N); n += W) {
      const vf now = (V ? load(s + n) : load_some(s + n, N - n)) * decay + in * load(B + n);
      if (V) store(s + n, now), dots[i] += now * load(C + n);
      else store_some(s + n, now, N - n), dots[i] += first_lanes(now * load(C + n), N - n);
    }
  }
  store(y, sums<W>(dots));
}

// One event through the scan of E channels; state (E, N), y gets zeros behind the last channel.
inline void step_scan(int64_t E, int64_t N, float decay, float dt, const float* x, const float* B, const float* C,
                      float* state, float* y) {
  const vf a = splat(decay);
  for (int64_t e = 0; e < E; e += W) {
    const int64_t channels = E - e < W ? E - e : W;
    float* s = state + e * N;
    if (channels == W && N == W) step_channels<1>(channels, N, a, dt, x + e, B, C, s, y + e);
    else if (channels == W && N == 2 * W) step_channels<2>(channels, N, a, dt, x + e, B, C, s, y + e);
    else if (channels == W && N == 4 * W) step_channels<4>(channels, N, a, dt, x + e, B, C, s, y + e);
    else step_channels<0>(channels, N, a, dt, x + e, B, C, s, y + e);
  }
}

struct Step {
  StepSizes z;
  Gain norm, out_norm;
  Linear out;
  StepLayer* layers;
  const float* x;
  int64_t* position;
  float *conv, *ssm, *hidden;
  const float *since, *until;
  float* timed;

  void cut(Cutter& c) {
    norm.cut(c, z.d);
    for (int64_t l = 0; l < z.layers; l++) layers[l].cut(c, z);
    if (z.output) out_norm.cut(c, z.d), out.cut(c, z.d, z.d);
  }

  void head(int64_t l, int64_t g, int64_t first, int64_t users, StepScratch& s) const {
    const MixerSizes& m = z.mixer;
    const HeadSizes& hz = m.head;
    const int64_t c = m.c, E = hz.scan.E, N = hz.scan.N, F = hz.F(), p_row = hz.in_row();
    const MixerWeights& w = layers[l].heads[g];
    activate(users, c, s.xz + g * c, s.xz_row, s.x, m.c_row());
    activate(users, c, s.xz + z.width() + g * c, s.xz_row, s.zed, m.c_row());
    multiply(users, hz.in(), c, s.x, m.c_row(), w.in_packed, s.p, p_row);
    for (int64_t i = 0; i < users; i++) {
      const int64_t place = (first + i) * z.layers + l;
      const float* p = s.p + i * p_row;
      if (i + 1 < users) {  // the next user's state comes while this one's is worked on
        fetch(ssm + ((place + z.layers) * z.G + g) * E * N, E * N);
        for (int64_t k = 0; k < hz.K - 1; k++) fetch(conv + (((place + z.layers) * (hz.K - 1) + k) * z.G + g) * F, F);
      }
      step_convolution(hz, w.head, p + E, conv + (place * (hz.K - 1) * z.G + g) * F, z.G * F, s.convolved);
      float* state = ssm + (place * z.G + g) * E * N;
      const float dt = softplus(splat(p[E + F] + *w.head.dt_bias))[0];
      step_scan(E, N, vexp(splat(dt * *w.head.A))[0], dt, s.convolved, s.convolved + E, s.convolved + E + N, state,
                s.scanned);
      for (int64_t e = 0; e < E; e += W)
        store(s.scanned + e, load(s.scanned + e) + load(s.convolved + e) * load(w.head.skip + e));
      gate_and_norm(hz, w.head, s.scanned, p, nullptr, s.gated + i * m.e_row());
    }
    multiply(users, c, E, s.gated, m.e_row(), w.out_packed, s.y, m.c_row());
  }

  void block(int64_t first, int64_t users, float scale, StepScratch& s) const {
    for (int64_t i = 0; i < users; i++)
      for (int64_t j = 0; j < z.d; j += W) store(s.h + i * s.d_row + j, load_some(x + (first + i) * z.d + j, z.d - j));
    norm(users, s.h, s.d_row, s.h);
    for (int64_t l = 0; l < z.layers; l++) {
      const StepLayer& w = layers[l];
      if (z.time.heads)
        w.time.step(users, s.h, s.d_row, since + first, until + first, timed + (first * z.layers + l) * z.time.state(),
                    z.layers * z.time.state(), s.normed, s.timed, s.remembered);
      w.norm(users, s.h, s.d_row, s.normed);
      w.xz(users, s.normed, s.d_row, s.xz, s.xz_row);
      for (int64_t g = 0; g < z.G; g++) {
        head(l, g, first, users, s);
        for (int64_t i = 0; i < users; i++)
          for (int64_t j = 0; j < z.mixer.c; j += W) {
            const int64_t at = i * z.mixer.c_row() + j;
            store_some(s.u + i * s.u_row + g * z.mixer.c + j, interact(load(s.y + at), load(s.zed + at)) * splat(scale),
                       z.mixer.c - j);
          }
      }
      w.o.add(users, s.u, s.u_row, s.h, s.d_row);
      if (!z.ffn) continue;
      w.ffn_norm(users, s.h, s.d_row, s.normed);
      w.gate_up(users, s.normed, s.d_row, s.hidden, s.ffn_row);
      for (int64_t i = 0; i < users; i++)
        for (int64_t j = 0; j < z.ffn; j += W) {
          const float* gate = s.hidden + i * s.ffn_row + j;
          store(s.act + i * s.ffn_row + j, silu(load(gate)) * load(gate + z.ffn));
        }
      w.down.add(users, s.act, s.ffn_row, s.h, s.d_row);
    }
    if (z.output) {
      out_norm(users, s.h, s.d_row, s.normed);
      out(users, s.normed, s.d_row, s.h, s.d_row);
    }
    for (int64_t i = 0; i < users; i++) {
      memcpy(hidden + (first + i) * z.d, s.h + i * s.d_row, z.d * sizeof(float));
      position[first + i]++;
    }
  }
};

template <class Run>
int with_step(const int64_t* sizes, float* packed, Run&& run) {
  const StepSizes z(sizes);
  StepLayer* layers = new (std::nothrow) StepLayer[z.layers];
  if (!layers) return OUT_OF_MEMORY;
  Step step{z, {}, {}, {}, layers};
  Cutter c{packed};
  step.cut(c);
  const int failed = run(step, c.used);
  delete[] layers;
  return failed;
}

}  // namespace

// needed: floats of the packed weights.
EXPORT(step_size)(const int64_t* sizes, int64_t* const* needed) {
  return with_step(sizes, nullptr, [&](Step&, int64_t used) {
    *needed[0] = used;
    return 0;
  });
}

// tensors: the norm in front, those of each layer as StepLayer::read has them, the norm and the matrix at the end.
EXPORT(step_pack)(const int64_t* sizes, const float* const* tensors, float* const* packed) {
  return with_step(sizes, packed[0], [&](Step& s, int64_t) {
    s.norm.read(tensors[0]);
    for (int64_t l = 0; l < s.z.layers; l++) s.layers[l].read(s.z, tensors + 1 + WEIGHTS * l);
    if (s.z.output) s.out_norm.read(tensors[1 + WEIGHTS * s.z.layers]), s.out.read(tensors[2 + WEIGHTS * s.z.layers]);
    return 0;
  });
}

// tensors: packed, x (U, d), seconds since the event before (U) and until the request (U), and
// updated: position (U), conv (U, layers, K - 1, G, F), ssm (U, layers, G, E, N), timed (U, layers, heads, width + 1),
// hidden (U, d).
EXPORT(step_run)(const int64_t* sizes, void* const* tensors, float scale, int64_t threads) {
  auto floats = [&](int i) { return static_cast<float*>(tensors[i]); };
  return with_step(sizes, floats(0), [&](Step& s, int64_t) {
    s.x = floats(1), s.since = floats(2), s.until = floats(3);
    s.position = static_cast<int64_t*>(tensors[4]), s.conv = floats(5), s.ssm = floats(6), s.timed = floats(7);
    s.hidden = floats(8);
    const int64_t blocks = (s.z.U + USERS - 1) / USERS;
    const int64_t parts = parts_for(blocks, threads);
    std::atomic<int> failed{0};
    parallel(parts, [&](int64_t part) {
      thread_local Arena arena;
      StepScratch scratch;
      Cutter counter{nullptr};
      scratch.cut(counter, s.z);
      Cutter cutter{arena.reserve(counter.used)};
      if (!cutter.start) {
        failed = OUT_OF_MEMORY;
        return;
      }
      scratch.cut(cutter, s.z);
      for (int64_t b = blocks * part / parts; b < blocks * (part + 1) / parts; b++) {
        const int64_t first = b * USERS, left = s.z.U - first;
        s.block(first, left < USERS ? left : USERS, scale, scratch);
      }
    });
    return failed.load();
  });
}
