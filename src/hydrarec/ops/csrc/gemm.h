// Small matrix products whose operands lie in cache. Rows of activations are broadcast, columns are vectors.
#pragma once

#include "simd.h"

namespace {

// A panel of B: as many vectors of columns as let the sums of a tile stay in registers, row after row, the last panel
// narrower; zeros behind the last column.
constexpr int PANEL = (MANY_REGISTERS ? 4 : 2) * W;

INLINE int64_t packed_size(int64_t k, int64_t n) { return k * round_up(n, W); }

// B (k x n) with strides into panels.
inline void pack(const float* b, int64_t row, int64_t column, int64_t k, int64_t n, float* out) {
  for (int64_t j = 0; j < n; j += PANEL) {
    const int64_t width = round_up(n - j < PANEL ? n - j : PANEL, W);
    for (int64_t p = 0; p < k; p++, out += width)
      for (int64_t i = 0; i < width; i++) out[i] = j + i < n ? b[p * row + (j + i) * column] : 0.0f;
  }
}

// C (M x V vectors) = or += A B; `columns` of the V * W are real.
template <int M, int V, bool ADD>
INLINE void tile(int64_t k, const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row, float* c,
                 int64_t c_row, int64_t columns) {
  vf acc[M][V] = {};
  for (int64_t p = 0; p < k; p++) {
    vf bv[V];
    for (int j = 0; j < V; j++) bv[j] = load(b + p * b_row + j * W);
    for (int i = 0; i < M; i++) {
      const vf av = splat(a[i * a_row + p * a_column]);
      for (int j = 0; j < V; j++) acc[i][j] += av * bv[j];
    }
  }
  for (int i = 0; i < M; i++)
    for (int j = 0; j < V; j++) {
      float* place = c + i * c_row + j * W;
      const int64_t left = columns - j * W;
      if (ADD) acc[i][j] += load_some(place, left);
      store_some(place, acc[i][j], left);
    }
}

template <int V, bool ADD>
INLINE void columns_of(int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_column, const float* b,
                       int64_t b_row, float* c, int64_t c_row, int64_t columns) {
  constexpr int M = MANY_REGISTERS ? (V == 4 ? 6 : V == 3 ? 8 : 12) : (V == 2 ? 6 : 8);
  int64_t i = 0;
  for (; i + M <= m; i += M) tile<M, V, ADD>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, columns);
  if constexpr (M > 4)
    for (; i + 4 <= m; i += 4) tile<4, V, ADD>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, columns);
  for (; i < m; i++) tile<1, V, ADD>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, columns);
}

template <bool ADD>
inline void product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_column, const float* b,
                    int64_t b_row, bool packed, float* c, int64_t c_row) {
  for (int64_t j = 0; j < n; j += PANEL) {
    const int64_t columns = n - j < PANEL ? n - j : PANEL, width = round_up(columns, W);
    const float* panel = packed ? b + j * k : b + j;
    const int64_t row = packed ? width : b_row;
    float* out = c + j;
    switch (width / W) {
      case 4: columns_of<4, ADD>(m, k, a, a_row, a_column, panel, row, out, c_row, columns); break;
      case 3: columns_of<3, ADD>(m, k, a, a_row, a_column, panel, row, out, c_row, columns); break;
      case 2: columns_of<2, ADD>(m, k, a, a_row, a_column, panel, row, out, c_row, columns); break;
      default: columns_of<1, ADD>(m, k, a, a_row, a_column, panel, row, out, c_row, columns);
    }
  }
}

// C (m x n) = A (m x k, rows a_row apart) times packed B (k x n).
inline void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, const float* packed, float* c,
                     int64_t c_row) {
  product<false>(m, n, k, a, a_row, 1, packed, 0, true, c, c_row);
}
inline void multiply_add(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, const float* packed, float* c,
                         int64_t c_row) {
  product<true>(m, n, k, a, a_row, 1, packed, 0, true, c, c_row);
}
// C (m x n) += A^T B over `rows` rows: the gradient of a weight. Rows of B must be readable up to a multiple of W.
inline void accumulate_outer(int64_t m, int64_t n, int64_t rows, const float* a, int64_t a_row, const float* b,
                             int64_t b_row, float* c, int64_t c_row) {
  product<true>(m, n, rows, a, 1, a_row, b, b_row, false, c, c_row);
}

}  // namespace
