// A matrix of torch.nn.Linear, (out, in), packed for products with rows of activations.
#pragma once

#include "arena.h"
#include "gemm.h"

namespace {

struct Linear {
  float* packed;
  int64_t in, out;
  void cut(Cutter& c, int64_t n_in, int64_t n_out) {
    in = n_in, out = n_out, packed = c.take(packed_size(in, out));
  }
  void read(const float* weight) const { pack(weight, 1, in, in, out, packed); }
  // The transpose instead: (in, out), for gradients of the input.
  void read_turned(const float* weight) const { pack(weight, out, 1, in, out, packed); }
  void operator()(int64_t rows, const float* x, int64_t x_row, float* y, int64_t y_row) const {
    multiply(rows, out, in, x, x_row, packed, y, y_row);
  }
  void add(int64_t rows, const float* x, int64_t x_row, float* y, int64_t y_row) const {
    multiply_add(rows, out, in, x, x_row, packed, y, y_row);
  }
};

}  // namespace
