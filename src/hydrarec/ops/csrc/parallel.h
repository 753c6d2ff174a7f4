// Work cut into parts, each run once, on the threads of PyTorch's own pool. Parts, not threads, own scratch memory and
// gradients, so that a result depends on the number of parts alone.
#pragma once

#include <cstdint>

extern "C" void hydrarec_parallel(int64_t parts, void (*body)(int64_t part, void* context), void* context);

template <class Body>
inline void parallel(int64_t parts, Body&& body) {
  hydrarec_parallel(
      parts, [](int64_t part, void* context) { (*static_cast<Body*>(context))(part); }, &body);
}
