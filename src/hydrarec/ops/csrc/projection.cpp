// The two projections of a layer with what stands beside them: RMSNorm before W_XZ, dropout and residual behind W_O. A block
// of rows passes through while it is in cache.
#include "blocks.h"
#include "dropout.h"
#include "linear.h"
#include "norm.h"

namespace {

struct ProjectionScratch {
  Linear weight, turned;
  float *rows, *gain, *back;  // [block][row of d], [pad(d)], [block][row of d]
  float* out;                 // [block][row of n]
  int64_t d_row, n_row;
};

}  // namespace

// y = RMSNorm(h) W^T. sizes: T d n, stride of h's rows. in: h (T, d), norm (d), W (n, d). out: y (T, n).
EXPORT(norm_linear)(const int64_t* sizes, const float* const* in, float* const* out, float eps, int64_t threads) {
  const int64_t T = sizes[0], d = sizes[1], n = sizes[2], row = sizes[3], block = block_rows(d);
  const float *h = in[0], *norm = in[1];
  using Scratch = ProjectionScratch;
  return over_blocks<Scratch>(
      T, block, parts_of_rows(T, block, threads),
      [&](Scratch& s, Cutter& c) { s.d_row = pad(d) + 16, s.weight.cut(c, d, n), s.rows = c.take(block * s.d_row); },
      [&](Scratch& s) { s.weight.read(in[2]); },
      [&](int64_t, int64_t first, int64_t rows, Scratch& s) {
        for (int64_t t = 0; t < rows; t++) {
          const float* x = h + (first + t) * row;
          const vf r = splat(inverse_rms(x, d, eps));
          for (int64_t i = 0; i < d; i += W)
            store(s.rows + t * s.d_row + i, load_some(x + i, d - i) * r * load_some(norm + i, d - i));
        }
        s.weight(rows, s.rows, s.d_row, out[0] + first * n, n);
      });
}

// sizes: as above, then the stride of dy's rows. in: h, norm, W, dy (T, n). out: dh; dnorm and dW, which are added to.
EXPORT(norm_linear_backward)(const int64_t* sizes, const float* const* in, float* const* out, float eps, int64_t threads) {
  const int64_t T = sizes[0], d = sizes[1], n = sizes[2], row = sizes[3], row_dy = sizes[4], block = block_rows(d);
  const float *h = in[0], *norm = in[1], *dy = in[3];
  const int64_t parts = parts_of_rows(T, block, threads);
  const PartSums sums(parts, pad(d) + n * d);
  if (!sums) return OUT_OF_MEMORY;
  using Scratch = ProjectionScratch;
  const int failed = over_blocks<Scratch>(
      T, block, parts,
      [&](Scratch& s, Cutter& c) {
        s.d_row = pad(d) + 16, s.n_row = pad(n) + 16, s.turned.cut(c, n, d);
        s.rows = c.take(block * s.d_row), s.back = c.take(block * s.d_row), s.gain = c.take(pad(d));
      },
      [&](Scratch& s) {
        s.turned.read_turned(in[2]);
        for (int64_t i = 0; i < pad(d); i++) s.gain[i] = i < d ? norm[i] : 0;
      },
      [&](int64_t part, int64_t first, int64_t rows, Scratch& s) {
        float *dnorm = sums.of(part), *dweight = dnorm + pad(d);
        const float* d_out = dy + first * row_dy;
        for (int64_t t = 0; t < rows; t++) {
          const float* x = h + (first + t) * row;
          const vf r = splat(inverse_rms(x, d, eps));
          for (int64_t i = 0; i < d; i += W) store(s.rows + t * s.d_row + i, load_some(x + i, d - i) * r * load(s.gain + i));
        }
        accumulate_outer(n, d, rows, d_out, row_dy, s.rows, s.d_row, dweight, d);
        s.turned(rows, d_out, row_dy, s.back, s.d_row);
        for (int64_t t = 0; t < rows; t++)
          norm_backward(d, h + (first + t) * row, s.gain, s.back + t * s.d_row, eps, nullptr, out[0] + (first + t) * d, dnorm);
      });
  sums.add_to(out[1], d), sums.add_to(out[2], n * d, pad(d));
  return failed;
}

// y = h + Dropout(u W^T). sizes: T n d, strides of rows of u and h. in: u (T, n), W (d, n), h (T, d). out: y (T, d).
EXPORT(linear_residual)(const int64_t* sizes, const float* const* in, float* const* out, int64_t seed, float p,
                        int64_t threads) {
  const int64_t T = sizes[0], n = sizes[1], d = sizes[2], row_u = sizes[3], row_h = sizes[4], block = block_rows(d);
  const float *u = in[0], *h = in[2];
  const Dropout dropout(seed, p);
  using Scratch = ProjectionScratch;
  return over_blocks<Scratch>(
      T, block, parts_of_rows(T, block, threads),
      [&](Scratch& s, Cutter& c) { s.d_row = pad(d) + 16, s.weight.cut(c, n, d), s.rows = c.take(block * s.d_row); },
      [&](Scratch& s) { s.weight.read(in[1]); },
      [&](int64_t, int64_t first, int64_t rows, Scratch& s) {
        s.weight(rows, u + first * row_u, row_u, s.rows, s.d_row);
        for (int64_t t = first; t < first + rows; t++)
          for (int64_t i = 0; i < d; i += W)
            store_some(out[0] + t * d + i,
                       load_some(h + t * row_h + i, d - i) + dropout(t, i, load(s.rows + (t - first) * s.d_row + i)), d - i);
      });
}

// sizes: T n d, strides of rows of u and dy. in: u, W, dy (T, d). out: du (T, n); dW, which is added to. dh is dy.
EXPORT(linear_residual_backward)(const int64_t* sizes, const float* const* in, float* const* out, int64_t seed, float p,
                                 int64_t threads) {
  const int64_t T = sizes[0], n = sizes[1], d = sizes[2], row_u = sizes[3], row_dy = sizes[4], block = block_rows(d);
  const float *u = in[0], *dy = in[2];
  const Dropout dropout(seed, p);
  const int64_t parts = parts_of_rows(T, block, threads);
  const PartSums sums(parts, d * n);
  if (!sums) return OUT_OF_MEMORY;
  using Scratch = ProjectionScratch;
  const int failed = over_blocks<Scratch>(
      T, block, parts,
      [&](Scratch& s, Cutter& c) {
        s.d_row = pad(d) + 16, s.n_row = pad(n) + 16, s.turned.cut(c, d, n);
        s.rows = c.take(block * s.d_row), s.out = c.take(block * s.n_row);
      },
      [&](Scratch& s) { s.turned.read_turned(in[1]); },
      [&](int64_t part, int64_t first, int64_t rows, Scratch& s) {
        for (int64_t t = 0; t < rows; t++) {
          for (int64_t i = 0; i < d; i += W)
            store(s.rows + t * s.d_row + i, dropout(first + t, i, load_some(dy + (first + t) * row_dy + i, d - i)));
          // u with room behind it: the product below reads whole vectors
          for (int64_t i = 0; i < n; i += W) store(s.out + t * s.n_row + i, load_some(u + (first + t) * row_u + i, n - i));
        }
        accumulate_outer(d, n, rows, s.rows, s.d_row, s.out, s.n_row, sums.of(part), n);
        s.turned(rows, s.rows, s.d_row, out[0] + first * n, n);
      });
  sums.add_to(out[1], d * n);
  return failed;
}
