// Matrix tiles of AMX: 8 registers of 16 rows of 64 bytes, C += A B. Of B, a row holds as many rows of the matrix as
// fit into 4 bytes. All operands here are whole tiles of 1 KiB.
#pragma once

#if defined(__AVX512F__) && ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define HYDRAREC_AMX 1
#include <immintrin.h>

#include <cstdint>

// A function that uses them. It is no part of what the instruction set promises: ask hydrarec_amx() first.
#define TILES __attribute__((target("amx-tile,amx-int8,amx-bf16")))
#define TILE_LOAD(tile, from) _tile_loadd(tile, from, 64)
// What was written to memory is there before tiles are loaded from it: compilers do not see that these instructions read.
#define TILE_FENCE() __asm__ volatile("" ::: "memory")

namespace {

constexpr int64_t TILE = 256;  // floats of room that a tile takes

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// The registers of this thread, while it lives.
class TileSession {
 public:
  TILES TileSession() {
    TileShapes shapes;
    for (int i = 0; i < 8; i++) shapes.bytes[i] = 64, shapes.rows[i] = 16;
    TILE_FENCE();
    _tile_loadconfig(&shapes);
  }
  TILES ~TileSession() { _tile_release(); }
  TileSession(const TileSession&) = delete;
};

}  // namespace
#endif
