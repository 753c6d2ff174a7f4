// Products of what amx_split.h makes of floats. One tile is 16 rows; two tiles of rows are taken together.
#pragma once

#include "amx.h"

#if defined(HYDRAREC_AMX)
namespace {

constexpr int64_t SUMS = 6;  // tiles that multiply_bytes leaves

// Registers 0 to 5: the sums of 32 rows of A and 16 of B for three places of digits, over `depth` groups of 64.
TILES inline void multiply_bytes(int64_t depth, const float* a, const float* b) {
  const int64_t next = depth * 3 * TILE;
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3); _tile_zero(4); _tile_zero(5);
  for (int64_t k = 0; k < depth; k++, a += 3 * TILE, b += 3 * TILE) {
    TILE_LOAD(6, b);
    TILE_LOAD(7, a); _tile_dpbssd(0, 7, 6);
    TILE_LOAD(7, a + next); _tile_dpbssd(3, 7, 6);
    TILE_LOAD(7, a + TILE); _tile_dpbssd(1, 7, 6);
    TILE_LOAD(7, a + next + TILE); _tile_dpbssd(4, 7, 6);
    TILE_LOAD(7, a + 2 * TILE); _tile_dpbssd(2, 7, 6);
    TILE_LOAD(7, a + next + 2 * TILE); _tile_dpbssd(5, 7, 6);
    TILE_LOAD(6, b + TILE);
    TILE_LOAD(7, a); _tile_dpbssd(1, 7, 6);
    TILE_LOAD(7, a + next); _tile_dpbssd(4, 7, 6);
    TILE_LOAD(7, a + TILE); _tile_dpbssd(2, 7, 6);
    TILE_LOAD(7, a + next + TILE); _tile_dpbssd(5, 7, 6);
    TILE_LOAD(6, b + 2 * TILE);
    TILE_LOAD(7, a); _tile_dpbssd(2, 7, 6);
    TILE_LOAD(7, a + next); _tile_dpbssd(5, 7, 6);
  }
}
TILES inline void store_sums(float* sums) {
  _tile_stored(0, sums, 64); _tile_stored(1, sums + TILE, 64); _tile_stored(2, sums + 2 * TILE, 64);
  _tile_stored(3, sums + 3 * TILE, 64); _tile_stored(4, sums + 4 * TILE, 64); _tile_stored(5, sums + 5 * TILE, 64);
  TILE_FENCE();
}

// Tiles of a matrix in halves, the higher before the lower where there are both; `next` to the next 16 rows or columns, `deep` along the sum.
struct Halved {
  const float* start;
  int64_t next, deep;
};

TILES INLINE void multiply_four() {
  _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
}
// C (32 x 32) += A B over `depth` tiles; lower halves meet lower halves where `all` says so.
TILES inline void multiply_halves(int64_t depth, Halved a, Halved b, float* c, int64_t c_row, const bool* all,
                                  int64_t all_deep) {
  const int64_t bytes = c_row * sizeof(float);
  _tile_loadd(0, c, bytes); _tile_loadd(1, c + 16, bytes);
  _tile_loadd(2, c + 16 * c_row, bytes); _tile_loadd(3, c + 16 * c_row + 16, bytes);
  for (int64_t k = 0; k < depth; k++, a.start += a.deep, b.start += b.deep) {
    const float *a0 = a.start, *a1 = a0 + a.next, *b0 = b.start, *b1 = b0 + b.next;
    TILE_LOAD(4, a0); TILE_LOAD(5, a1); TILE_LOAD(6, b0 + TILE); TILE_LOAD(7, b1 + TILE);
    multiply_four();
    TILE_LOAD(6, b0); TILE_LOAD(7, b1);
    multiply_four();
    TILE_LOAD(4, a0 + TILE); TILE_LOAD(5, a1 + TILE);
    multiply_four();
    if (!all[k * all_deep]) continue;
    TILE_LOAD(6, b0 + TILE); TILE_LOAD(7, b1 + TILE);
    multiply_four();
  }
  _tile_stored(0, c, bytes); _tile_stored(1, c + 16, bytes);
  _tile_stored(2, c + 16 * c_row, bytes); _tile_stored(3, c + 16 * c_row + 16, bytes);
}

// C (32 x 32) = A B over `depth` tiles, or with ADD += A B.
template <bool ADD>
TILES inline void multiply_pairs(int64_t depth, Halved a, Halved b, float* c, int64_t c_row) {
  const int64_t bytes = c_row * sizeof(float);
  if (ADD) {
    _tile_loadd(0, c, bytes); _tile_loadd(1, c + 16, bytes);
    _tile_loadd(2, c + 16 * c_row, bytes); _tile_loadd(3, c + 16 * c_row + 16, bytes);
  } else {
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  }
  for (int64_t k = 0; k < depth; k++, a.start += a.deep, b.start += b.deep) {
    TILE_LOAD(4, a.start); TILE_LOAD(5, a.start + a.next); TILE_LOAD(6, b.start); TILE_LOAD(7, b.start + b.next);
    multiply_four();
  }
  _tile_stored(0, c, bytes); _tile_stored(1, c + 16, bytes);
  _tile_stored(2, c + 16 * c_row, bytes); _tile_stored(3, c + 16 * c_row + 16, bytes);
}

}  // namespace
#endif
