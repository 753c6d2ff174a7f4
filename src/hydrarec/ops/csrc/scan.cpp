// The scans alone: Mamba-1 and Mamba-2 over packed histories, step sizes given.
#include <atomic>

#include "scan1.h"
#include "scan2.h"
#include "stretches.h"

namespace {

// sizes: T U G E N m, then strides of event and head of x dt B C dy. tensors: offsets chunk_first x dt A B C state bounds.
ScanCall scan_call(const int64_t* n, const void* const* t) {
  ScanCall s{};
  s.T = n[0], s.U = n[1], s.G = n[2], s.z = ScanSizes{n[3], n[4], n[5]};
  s.offsets = static_cast<const int64_t*>(t[0]), s.chunk_first = static_cast<const int64_t*>(t[1]);
  auto strided = [&](int tensor, int stride) {
    return Strided{static_cast<const float*>(t[tensor]), n[stride], n[stride + 1]};
  };
  s.x = strided(2, 6), s.dt = strided(3, 8), s.B = strided(5, 10), s.C = strided(6, 12);
  s.A = static_cast<const float*>(t[4]), s.state = static_cast<const float*>(t[7]);
  s.bounds = static_cast<float*>(const_cast<void*>(t[8]));
  return s;
}

// run(kind, part, stretch) for each that is not only gone through.
template <class Kind, class Run>
int for_stretches(const ScanCall& m, const Tasks& tasks, bool back, Run&& run) {
  Arena shared;
  Stretches work{tasks, back, back ? Kind::LOCAL_BACK : Kind::LOCAL, Kind{m}.passing(), nullptr};
  work.exchange = shared.reserve(work.exchanged());
  if (work.cut() && !work.exchange) return OUT_OF_MEMORY;
  std::atomic<int> failed{0};
  work.run([&](int64_t part, int64_t phase) {
    thread_local Arena arena;
    Kind kind{m};
    Cutter counter{nullptr};
    kind.cut(counter);
    Cutter cutter{arena.reserve(counter.used)};
    if (!cutter.start) {
      failed = OUT_OF_MEMORY;
      return;
    }
    kind.cut(cutter);
    work.of_part(part, phase, [](int64_t) {}, [&](const Stretch& s) {
      if (s.local()) kind.local(s, back);
      else run(kind, part, s);
    });
  });
  return failed;
}

template <class Kind>
int forward(ScanCall m, float* const* outputs, int64_t threads) {
  m.y = outputs[0], m.final = outputs[1];
  return for_stretches<Kind>(m, tasks_for(m.U, m.G, m.offsets, threads), false,
                             [](Kind& kind, int64_t, const Stretch& s) { kind.forward(s); });
}

// dA_size: floats of A's gradient for one head.
template <class Kind>
int backward(ScanCall m, const int64_t* sizes, const float* const* gradients, float* const* outputs, int64_t dA_size,
             int64_t threads) {
  m.dy = Strided{gradients[0], sizes[14], sizes[15]}, m.dfinal = gradients[1];
  m.dx = outputs[0], m.ddt = outputs[1], m.dB = outputs[3], m.dC = outputs[4], m.dstate = outputs[5];
  const Tasks tasks = tasks_for(m.U, m.G, m.offsets, threads);
  const int64_t parts = tasks.parts, size = m.G * dA_size;
  Arena arena;
  float* dA = arena.reserve(parts * size);
  if (!dA) return OUT_OF_MEMORY;
  memset(dA, 0, parts * size * sizeof(float));
  const int failed = for_stretches<Kind>(m, tasks, true, [&](Kind& kind, int64_t part, const Stretch& s) {
    kind.backward(s, dA + part * size + s.g * dA_size);
  });
  for (int64_t part = 0; part < parts; part++)
    for (int64_t i = 0; i < size; i++) outputs[2][i] += dA[part * size + i];
  return failed;
}

}  // namespace

// outputs: y (T, G, E), final (U, G, E, N).
EXPORT(mamba2_scan_forward)(const int64_t* sizes, const void* const* tensors, float* const* outputs, int64_t threads) {
  return forward<Scan2>(scan_call(sizes, tensors), outputs, threads);
}
// gradients in: dy, dfinal (may be null). outputs: dx, ddt, dA (added to), dB, dC, dstate.
EXPORT(mamba2_scan_backward)(const int64_t* sizes, const void* const* tensors, const float* const* gradients,
                             float* const* outputs, int64_t threads) {
  return backward<Scan2>(scan_call(sizes, tensors), sizes, gradients, outputs, sizes[5], threads);
}
EXPORT(mamba1_scan_forward)(const int64_t* sizes, const void* const* tensors, float* const* outputs, int64_t threads) {
  return forward<Scan1>(scan_call(sizes, tensors), outputs, threads);
}
EXPORT(mamba1_scan_backward)(const int64_t* sizes, const void* const* tensors, const float* const* gradients,
                             float* const* outputs, int64_t threads) {
  return backward<Scan1>(scan_call(sizes, tensors), sizes, gradients, outputs, sizes[3] * sizes[4], threads);
}

// sizes: U G. tensors: offsets. outputs: how many stretches each head of each history is cut into, (G, U).
EXPORT(stretches)(const int64_t* sizes, const void* const* tensors, int64_t* const* outputs, int64_t threads) {
  const Tasks tasks = tasks_for(sizes[0], sizes[1], static_cast<const int64_t*>(tensors[0]), threads);
  const Stretches work{tasks, false, 100, 0, nullptr};
  for (int64_t g = 0; g < tasks.G; g++)
    for (int64_t u = 0; u < tasks.U; u++) {
      const int64_t n = work.cut() ? work.shares(g, u) : 1;
      outputs[0][g * tasks.U + u] = n > 1 ? n + 1 : 1;
    }
  return 0;
}
