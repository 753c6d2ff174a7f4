// How histories and heads are shared out: one task is one head of one history, tasks stand head by head, and each part
// takes a run of them that holds about as many events as any other's.
#pragma once

#include "arena.h"
#include "parallel.h"

namespace {

constexpr int OUT_OF_MEMORY = 1;

struct Tasks {
  int64_t U, G;
  const int64_t* offsets;
  int64_t parts;
  int64_t cost(int64_t u) const { return offsets[u] - offsets[0] + 8 * u; }  // of all histories before u, in events
  int64_t all() const { return cost(U) ? cost(U) : 1; }
  // run(g, u) for each task of a part, in order; begin(g) before a head's first.
  template <class Begin, class Run>
  void of_part(int64_t part, Begin&& begin, Run&& run) const {
    const int64_t total = all() * G;
    for (int64_t g = 0; g < G; g++) {
      bool fresh = true;
      for (int64_t u = 0; u < U; u++) {
        const int64_t middle = g * all() + (cost(u) + cost(u + 1)) / 2;
        if (middle * parts / total != part) continue;
        if (fresh) begin(g);
        fresh = false;
        run(g, u);
      }
    }
  }
};

// Never more parts than tasks.
inline int64_t parts_for(int64_t tasks, int64_t threads) {
  return tasks < 1 ? 1 : tasks < threads ? tasks : threads < 1 ? 1 : threads;
}

}  // namespace
