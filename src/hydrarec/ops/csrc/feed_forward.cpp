// The feed-forward part with all that stands around it: h + Dropout(W_down(SiLU(W_gate n) * W_up n)), n = RMSNorm(h). A
// block of rows passes through while it is in cache. The backward needs h and W_gate n, W_up n again: narrow layers compute
// them again, wide ones keep them, since memory costs width and products cost width times width.
#include "blocks.h"
#include "dropout.h"
#include "linear.h"
#include "norm.h"

namespace {

struct FeedForward {
  int64_t T, d, n, row, row_dy;  // n: hidden width; floats from one row to the next of h and dy
  float eps;
  Dropout dropout;
  const float *h, *norm, *gate_up, *down, *dy;
  float* kept;  // (T, 2 n) of the products, or null
  int64_t block() const { return block_rows(d); }
  int64_t d_row() const { return pad(d) + 16; }
  int64_t n_row() const { return pad(2 * n) + 16; }
};

struct FeedForwardScratch {
  Linear gate_up, down, gate_up_turned, down_turned;
  float *normed, *hidden, *act, *out, *gain;  // [block][row]
  float *dhidden, *dact;
  void cut(Cutter& c, const FeedForward& f, bool backward) {
    const int64_t rows = f.block();
    gate_up.cut(c, f.d, 2 * f.n), gain = c.take(pad(f.d));
    normed = c.take(rows * f.d_row()), hidden = c.take(rows * f.n_row()), act = c.take(rows * f.n_row());
    out = c.take(rows * f.d_row());
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
    const vf r = splat(inverse_rms(h, f.d, f.eps));
    for (int64_t i = 0; i < f.d; i += W)
      store(s.normed + t * f.d_row() + i, load_some(h + i, f.d - i) * r * load(s.gain + i));
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
  for (int64_t t = first; t < first + rows; t++)
    norm_backward(f.d, f.h + t * f.row, s.gain, s.out + (t - first) * f.d_row(), f.eps, f.dy + t * f.row_dy, dh + t * f.d,
                  g.norm);
}

template <class Run>
int over_blocks(const FeedForward& f, int64_t parts, bool backward, Run&& run) {
  return over_blocks<FeedForwardScratch>(
      f.T, f.block(), parts, [&](FeedForwardScratch& s, Cutter& c) { s.cut(c, f, backward); },
      [&](FeedForwardScratch& s) { s.read(f, backward); }, run);
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
  const int64_t parts = parts_of_rows(f.T, f.block(), threads);
  return over_blocks(f, parts, false, [&](int64_t, int64_t first, int64_t rows, FeedForwardScratch& s) {
    feed_forward_block(f, first, rows, s, out[0]);
  });
}

// in: as above, then dy and kept (may be null). out: dh, and the gradients of norm, gate_up and down, which are added to.
EXPORT(feed_forward_backward)(const int64_t* sizes, const float* const* in, float* const* out, float eps, int64_t seed,
                              float p, int64_t threads) {
  FeedForward f = feed_forward_call(sizes, in, eps, seed, p);
  f.dy = in[4], f.kept = const_cast<float*>(in[5]);
  const int64_t parts = parts_of_rows(f.T, f.block(), threads);
  FeedForwardGradients shape;
  Cutter counter{nullptr};
  shape.cut(counter, f);
  const PartSums sums(parts, counter.used);
  if (!sums) return OUT_OF_MEMORY;
  const int failed = over_blocks(f, parts, true, [&](int64_t part, int64_t first, int64_t rows, FeedForwardScratch& s) {
    FeedForwardGradients g;
    Cutter c{sums.of(part)};
    g.cut(c, f);
    feed_forward_backward_block(f, first, rows, s, g, out[0]);
  });
  const int64_t of_gate_up = pad(f.d), of_down = of_gate_up + pad(2 * f.n * f.d);
  sums.add_to(out[1], f.d), sums.add_to(out[2], 2 * f.n * f.d, of_gate_up), sums.add_to(out[3], f.d * f.n, of_down);
  return failed;
}
