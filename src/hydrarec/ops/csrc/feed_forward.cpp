// The feed-forward part with all that stands around it: h + Dropout(W_down(SiLU(W_gate n) * W_up n)), n = RMSNorm(h). A
// block of rows passes through while it is in cache. The backward needs h and W_gate n, W_up n again: narrow layers compute
// them again, wide ones keep them, since memory costs width and products cost width times width.
#include <atomic>

#include "dropout.h"
#include "linear.h"
#include "norm.h"
#include "parts.h"

namespace {

struct FeedForward {
  int64_t T, d, n, row, row_dy;  // n: hidden width; floats from one row to the next of h and dy
  float eps;
  Dropout dropout;
  const float *h, *norm, *gate_up, *down, *dy;
  float* kept;  // (T, 2 n) of the products, or null
  // Rows of a block: enough that weights are read seldom, few enough that they stay in the second-level cache.
  int64_t block() const { return d <= 128 ? 96 : 192; }
  int64_t d_row() const { return pad(d) + 16; }
  int64_t n_row() const { return pad(2 * n) + 16; }
};

struct FeedForwardScratch {
  Linear gate_up, down, gate_up_turned, down_turned;
  float *normed, *hidden, *act, *out, *gain;  // [block][row]
  float *dhidden, *dact;
  float* r;  // 1 / rms
  void cut(Cutter& c, const FeedForward& f, bool backward) {
    const int64_t rows = f.block();
    gate_up.cut(c, f.d, 2 * f.n), gain = c.take(pad(f.d));
    normed = c.take(rows * f.d_row()), hidden = c.take(rows * f.n_row()), act = c.take(rows * f.n_row());
    out = c.take(rows * f.d_row()), r = c.take(rows);
    if (!backward) return down.cut(c, f.n, f.d);
    gate_up_turned.cut(c, 2 * f.n, f.d), down_turned.cut(c, f.d, f.n);
    dhidden = c.take(rows * f.n_row()), dact = c.take(rows * f.n_row());
  }
  void read(const FeedForward& f, bool backward) const {
    gate_up.read(f.gate_up);
    for (int64_t i = 0; i < pad(f.d); i++) gain[i] = i < f.d ? f.norm[i] : 0;
    if (!backward) return down.read(f.down);
    gate_up_turned.read_turned(f.gate_up), down_turned.read_turned(f.down);
  }
};

struct FeedForwardGradients {
  float *norm, *gate_up, *down;
  void cut(Cutter& c, const FeedForward& f) {
    norm = c.take(pad(f.d)), gate_up = c.take(2 * f.n * f.d), down = c.take(f.d * f.n);
  }
};

struct Hidden {
  float* p;
  int64_t row;
};

// normed and hidden of a block.
inline Hidden feed_forward_begin(const FeedForward& f, int64_t first, int64_t rows, bool known, FeedForwardScratch& s) {
  for (int64_t t = 0; t < rows; t++) {
    const float* h = f.h + (first + t) * f.row;
    s.r[t] = inverse_rms(h, f.d, f.eps);
    for (int64_t i = 0; i < f.d; i += W)
      store(s.normed + t * f.d_row() + i, load_some(h + i, f.d - i) * splat(s.r[t]) * load(s.gain + i));
  }
  const Hidden hidden = f.kept ? Hidden{f.kept + first * 2 * f.n, 2 * f.n} : Hidden{s.hidden, f.n_row()};
  if (!(known && f.kept)) s.gate_up(rows, s.normed, f.d_row(), hidden.p, hidden.row);
  return hidden;
}

inline void feed_forward_block(const FeedForward& f, int64_t first, int64_t rows, FeedForwardScratch& s, float* y) {
  const Hidden hidden = feed_forward_begin(f, first, rows, false, s);
  for (int64_t t = 0; t < rows; t++) {
    const float *gate = hidden.p + t * hidden.row, *up = gate + f.n;
    for (int64_t i = 0; i < f.n; i += W)
      store(s.act + t * f.n_row() + i, silu(load_some(gate + i, f.n - i)) * load_some(up + i, f.n - i));
  }
  s.down(rows, s.act, f.n_row(), s.out, f.d_row());
  for (int64_t t = 0; t < rows; t++)
    for (int64_t i = 0; i < f.d; i += W)
      store_some(y + (first + t) * f.d + i,
                 load_some(f.h + (first + t) * f.row + i, f.d - i) +
                     f.dropout(first + t, i, load(s.out + t * f.d_row() + i)), f.d - i);
}

inline void feed_forward_backward_block(const FeedForward& f, int64_t first, int64_t rows, FeedForwardScratch& s,
                                        FeedForwardGradients& g, float* dh) {
  const Hidden hidden = feed_forward_begin(f, first, rows, true, s);
  for (int64_t t = 0; t < rows; t++)
    for (int64_t i = 0; i < f.d; i += W)
      store(s.out + t * f.d_row() + i, f.dropout(first + t, i, load_some(f.dy + (first + t) * f.row_dy + i, f.d - i)));
  s.down_turned(rows, s.out, f.d_row(), s.dact, f.n_row());
  for (int64_t t = 0; t < rows; t++) {
    const float *gate = hidden.p + t * hidden.row, *up = gate + f.n, *d = s.dact + t * f.n_row();
    float *dgate = s.dhidden + t * f.n_row(), *dup = dgate + f.n;
    for (int64_t i = 0; i < f.n; i += W) {
      const vf x = load_some(gate + i, f.n - i), sx = sigmoid(x), a = x * sx, u = load_some(up + i, f.n - i);
      const vf dv = load(d + i);
      store(s.act + t * f.n_row() + i, a * u);
      store_some(dgate + i, dv * u * silu_slope_from(x, sx), f.n - i);
      store_some(dup + i, dv * a, f.n - i);
    }
  }
  accumulate_outer(f.d, f.n, rows, s.out, f.d_row(), s.act, f.n_row(), g.down, f.n);
  accumulate_outer(2 * f.n, f.d, rows, s.dhidden, f.n_row(), s.normed, f.d_row(), g.gate_up, f.d);
  s.gate_up_turned(rows, s.dhidden, f.n_row(), s.out, f.d_row());  // d(normed)
  for (int64_t t = 0; t < rows; t++) {
    const float *h = f.h + (first + t) * f.row, *dy = f.dy + (first + t) * f.row_dy, *d = s.out + t * f.d_row();
    vf along{};
    for (int64_t i = 0; i < f.d; i += W) along += first_lanes(load_some(h + i, f.d - i) * load(d + i) * load(s.gain + i), f.d - i);
    const float r = s.r[t];
    const vf rv = splat(r), pull = splat(sum(along) * r * r * r / f.d);
    for (int64_t i = 0; i < f.d; i += W) {
      const vf hv = load_some(h + i, f.d - i), dv = load(d + i);
      store(g.norm + i, load(g.norm + i) + first_lanes(dv * hv * rv, f.d - i));
      store_some(dh + (first + t) * f.d + i, load_some(dy + i, f.d - i) + dv * load(s.gain + i) * rv - hv * pull, f.d - i);
    }
  }
}

template <class Run>
int over_blocks(const FeedForward& f, int64_t parts, bool backward, Run&& run) {
  const int64_t blocks = (f.T + f.block() - 1) / f.block();
  std::atomic<int> failed{0};
  parallel(parts, [&](int64_t part) {
    thread_local Arena arena;
    FeedForwardScratch s;
    Cutter counter{nullptr};
    s.cut(counter, f, backward);
    Cutter cutter{arena.reserve(counter.used)};
    if (!cutter.start) {
      failed = OUT_OF_MEMORY;
      return;
    }
    s.cut(cutter, f, backward);
    s.read(f, backward);
    for (int64_t b = blocks * part / parts; b < blocks * (part + 1) / parts; b++) {
      const int64_t first = b * f.block(), left = f.T - first;
      run(part, first, left < f.block() ? left : f.block(), s);
    }
  });
  return failed;
}

// sizes: T d n, strides of rows of h and dy.
FeedForward feed_forward_call(const int64_t* n, const float* const* t, float eps, int64_t seed, float p) {
  return FeedForward{n[0], n[1], n[2], n[3], n[4], eps, Dropout(seed, p), t[0], t[1], t[2], t[3], nullptr, nullptr};
}

}  // namespace

// in: h (T, d), norm (d), gate_up (2 n, d), down (d, n). out: y (T, d), kept (T, 2 n) or null.
EXPORT(feed_forward)(const int64_t* sizes, const float* const* in, float* const* out, float eps, int64_t seed, float p,
                     int64_t threads) {
  FeedForward f = feed_forward_call(sizes, in, eps, seed, p);
  f.kept = out[1];
  const int64_t parts = parts_for((f.T + f.block() - 1) / f.block(), threads);
  return over_blocks(f, parts, false, [&](int64_t, int64_t first, int64_t rows, FeedForwardScratch& s) {
    feed_forward_block(f, first, rows, s, out[0]);
  });
}

// in: as above, then dy and kept (may be null). out: dh, and the gradients of norm, gate_up and down, which are added to.
EXPORT(feed_forward_backward)(const int64_t* sizes, const float* const* in, float* const* out, float eps, int64_t seed,
                              float p, int64_t threads) {
  FeedForward f = feed_forward_call(sizes, in, eps, seed, p);
  f.dy = in[4], f.kept = const_cast<float*>(in[5]);
  const int64_t parts = parts_for((f.T + f.block() - 1) / f.block(), threads);
  FeedForwardGradients shape;
  Cutter counter{nullptr};
  shape.cut(counter, f);
  Arena arena;
  float* memory = arena.reserve(parts * counter.used);
  if (!memory) return OUT_OF_MEMORY;
  memset(memory, 0, parts * counter.used * sizeof(float));
  auto of = [&](int64_t part) {
    FeedForwardGradients g;
    Cutter c{memory + part * counter.used};
    g.cut(c, f);
    return g;
  };
  const int failed = over_blocks(f, parts, true, [&](int64_t part, int64_t first, int64_t rows, FeedForwardScratch& s) {
    FeedForwardGradients g = of(part);
    feed_forward_backward_block(f, first, rows, s, g, out[0]);
  });
  if (failed) return failed;
  for (int64_t part = 0; part < parts; part++) {
    const FeedForwardGradients g = of(part);
    for (int64_t i = 0; i < f.d; i++) out[1][i] += g.norm[i];
    for (int64_t i = 0; i < 2 * f.n * f.d; i++) out[2][i] += g.gate_up[i];
    for (int64_t i = 0; i < f.d * f.n; i++) out[3][i] += g.down[i];
  }
  return 0;
}
