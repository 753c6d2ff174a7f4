// How few long histories are shared out. Where there are fewer heads of histories than threads, histories are cut into
// stretches at the ends of chunks.
//
// What leaves a stretch is linear in what enters it, number by number: leaving = local + kept * entering. So the parts
// first find `local` and `kept` of a stretch each, all at once (a stretch that begins its history knows what enters, and
// is done for good); then one after the other says what enters the next; then the parts do the stretches that are left.
// Going back, what passes is the gradient of the state, and histories begin at their end.
#pragma once

#include "parts.h"
#include "scan.h"

namespace {

constexpr int64_t LEAST = 4;  // chunks that a part has at least: threads that meet twice should have something to do

struct Chunk {
  int64_t first, events;
};

struct Stretch {
  int64_t g, u, begin, end;         // events
  const float* entering = nullptr;  // null: what the caller gave for the history
  float *leaving = nullptr, *kept = nullptr;
  bool local() const { return kept; }  // nothing is wanted but `leaving`, as if nothing entered, and `kept`
  int64_t chunks() const { return (end - begin + CHUNK - 1) / CHUNK; }
  Chunk chunk(int64_t k) const {
    const int64_t first = begin + k * CHUNK, left = end - first;
    return Chunk{first, left < CHUNK ? left : CHUNK};
  }
};

struct Stretches {
  Tasks tasks;
  bool back;
  int64_t cost;     // of going through a stretch for `local`, in hundredths of doing it; below 30 one might be empty
  int64_t size;     // floats of a state that passes
  float* exchange;  // [parts][2][size]: what enters a part's second stretch, and `kept` on the way there

  bool cut() const { return tasks.U > 0 && tasks.G > 0 && tasks.parts > tasks.U * tasks.G; }
  int64_t exchanged() const { return cut() ? tasks.parts * 2 * size : 0; }
  int64_t chunks(int64_t u) const { return (tasks.offsets[u + 1] - tasks.offsets[u] + CHUNK - 1) / CHUNK; }
  // The first part that has to do with a task: one for each task, the others by their lengths.
  int64_t first_part(int64_t g, int64_t u) const {
    const int64_t total = tasks.all() * tasks.G, before = g * tasks.all() + tasks.cost(u);
    return g * tasks.U + u + (2 * (tasks.parts - tasks.U * tasks.G) * before + total) / (2 * total);
  }
  // Parts that share a task. Where there are several, it has one stretch more than that.
  int64_t shares(int64_t g, int64_t u) const {
    const int64_t parts = first_part(g, u + 1) - first_part(g, u), most = chunks(u) / LEAST;
    return parts < most ? parts : most > 1 ? most : 1;
  }
  // The first stretch, done while the others are gone through for the first time, is as much shorter as that is faster.
  Stretch stretch(int64_t g, int64_t u, int64_t number) const {
    const int64_t n = shares(g, u), all = chunks(u), begin = tasks.offsets[u], end = tasks.offsets[u + 1];
    if (n == 1) return Stretch{g, u, begin, end};
    auto edge = [&](int64_t i) { return i ? all * (cost + 100 * (i - 1)) / (cost + 100 * n) : 0; };
    const int64_t from = back ? all - edge(number + 1) : edge(number), to = back ? all - edge(number) : edge(number + 1);
    return Stretch{g, u, begin + from * CHUNK, to == all ? end : begin + to * CHUNK};
  }
  float* slot(int64_t part) const { return exchange + part * 2 * size; }

  // run(stretch) for each of a part's in a phase, 0 or 1; begin(g) before a head's first.
  template <class Begin, class Run>
  void of_part(int64_t part, int64_t phase, Begin&& begin, Run&& run) const {
    if (!cut()) {
      auto whole = [&](int64_t g, int64_t u) { run(Stretch{g, u, tasks.offsets[u], tasks.offsets[u + 1]}); };
      return tasks.of_part(part, begin, whole);
    }
    for (int64_t g = 0; g < tasks.G; g++)
      for (int64_t u = 0; u < tasks.U; u++) {
        const int64_t i = part - first_part(g, u), n = shares(g, u);
        if (i < 0 || i >= n || (phase && n == 1)) continue;
        Stretch s = stretch(g, u, i + phase);
        if (phase) s.entering = slot(part);
        else if (n > 1) s.leaving = slot(part), s.kept = i ? slot(part) + size : nullptr;
        begin(g);
        run(s);
      }
  }
  // work(part, phase) for all parts at once, phase by phase.
  template <class Work>
  void run(Work&& work) const {
    parallel(tasks.parts, [&](int64_t part) { work(part, 0); });
    if (!cut()) return;
    for (int64_t g = 0; g < tasks.G; g++)
      for (int64_t u = 0; u < tasks.U; u++)
        for (int64_t i = 1; i < shares(g, u); i++) {
          float *own = slot(first_part(g, u) + i), *before = own - 2 * size, *kept = own + size;
          for (int64_t j = 0; j < size; j++) own[j] += kept[j] * before[j];
        }
    parallel(tasks.parts, [&](int64_t part) { work(part, 1); });
  }
};

// As many parts as threads, but no more than there are tasks where no history is worth cutting.
inline Tasks tasks_for(int64_t U, int64_t G, const int64_t* offsets, int64_t threads) {
  int64_t longest = 0;
  for (int64_t u = 0; u < U; u++)
    if (offsets[u + 1] - offsets[u] > longest) longest = offsets[u + 1] - offsets[u];
  const bool cut = U > 0 && G > 0 && longest > (2 * LEAST - 1) * CHUNK && threads > U * G;
  return Tasks{U, G, offsets, cut ? threads : parts_for(U * G, threads)};
}

}  // namespace
