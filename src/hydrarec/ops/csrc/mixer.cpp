#include "mixer_local.h"

#include <atomic>

namespace {

MixerCall mixer_call(const int64_t* n, const void* const* t, float scale) {
  MixerCall m{};
  m.T = n[0], m.U = n[1], m.G = n[2], m.scale = scale;
  m.z = MixerSizes{HeadSizes{ScanSizes{n[4], n[5]}, n[6]}, n[3]};
  m.row_xz = n[7], m.row_du = n[8];
  int i = 0;
  auto floats = [&] { return static_cast<const float*>(t[i++]); };
  auto integers = [&] { return static_cast<const int64_t*>(t[i++]); };
  m.offsets = integers(), m.chunk_first = integers();
  m.xz = floats(), m.in = floats(), m.out = floats(), m.conv = floats(), m.conv_bias = floats();
  m.skip = floats(), m.norm = floats(), m.A = floats(), m.dt_bias = floats();
  m.conv_state = floats(), m.state = floats(), m.bounds = const_cast<float*>(floats());
  return m;
}

// Sums the parts' gradients of a head into the caller's tensors.
void add_gradients(const MixerCall& m, int64_t g, const MixerGradients& part, float* const* out) {
  const HeadSizes& z = m.z.head;
  const int64_t E = z.scan.E, F = z.F(), in = m.z.c * z.in();
  for (int64_t i = 0; i < in; i++) out[0][g * in + i] += part.in[i];
  for (int64_t i = 0; i < E * m.z.c; i++) out[1][g * E * m.z.c + i] += part.out[i];
  for (int64_t f = 0; f < F; f++) {
    for (int64_t k = 0; k < z.K; k++) out[2][(g * F + f) * z.K + k] += part.head.conv[k * pad(F) + f];
    out[3][g * F + f] += part.head.conv_bias[f];
  }
  for (int64_t e = 0; e < E; e++) out[4][g * E + e] += part.head.skip[e], out[5][g * E + e] += part.head.norm[e];
  out[6][g] += *part.head.A, out[7][g] += *part.head.dt_bias;
}

// What going through a stretch costs, see Stretches::cost.
constexpr int64_t LOCAL = 55, LOCAL_BACK = 40;

// run(weights, stretch, scratch) for each of a part's.
template <class Run>
int run_part(const MixerCall& m, const Stretches& work, int64_t part, int64_t phase, Run&& run) {
  thread_local Arena arena;
  MixerWeights w;
  MixerScratch s;
  auto cut = [&](Cutter c) { return w.cut(c, m.z, work.back), s.cut(c, m.z, work.back), c.used; };
  float* memory = arena.reserve(cut(Cutter{nullptr}));
  if (!memory) return OUT_OF_MEMORY;
  cut(Cutter{memory});
  work.of_part(part, phase, [&](int64_t g) { read_weights(m, g, w); }, [&](const Stretch& t) { run(w, t, s); });
  return 0;
}

}  // namespace

// sizes: T U G c E N K, strides of rows of xz du. tensors: in the order of mixer_call. outputs: u (T, G c), conv_final,
// final.
EXPORT(mixer_forward)(const int64_t* sizes, const void* const* tensors, float* const* outputs, float scale,
                      int64_t threads) {
  MixerCall m = mixer_call(sizes, tensors, scale);
  m.u = outputs[0], m.conv_final = outputs[1], m.final = outputs[2];
  Arena shared;
  Stretches work{tasks_for(m.U, m.G, m.offsets, threads), false, LOCAL, m.z.head.scan.forward_state(), nullptr};
  work.exchange = shared.reserve(work.exchanged());
  if (work.cut() && !work.exchange) return OUT_OF_MEMORY;
  std::atomic<int> failed{0};
  work.run([&](int64_t part, int64_t phase) {
    failed |= run_part(m, work, part, phase, [&](const MixerWeights& w, const Stretch& t, MixerScratch& s) {
      if (t.local()) mixer_local(m, w, t, s);
      else mixer_forward(m, w, t, s);
    });
  });
  return failed;
}

// gradients in: du, dconv_final, dfinal (the last two may be null). outputs: dxz, dconv_state, dstate (the last two may
// be null), then the parameters', which are added to.
EXPORT(mixer_backward)(const int64_t* sizes, const void* const* tensors, const float* const* gradients,
                       float* const* outputs, float scale, int64_t threads) {
  MixerCall m = mixer_call(sizes, tensors, scale);
  m.du = gradients[0], m.dconv_final = gradients[1], m.dfinal = gradients[2];
  m.dxz = outputs[0], m.dconv_state = outputs[1], m.dstate = outputs[2];
  Stretches work{tasks_for(m.U, m.G, m.offsets, threads), true, LOCAL_BACK, m.z.head.scan.forward_state(), nullptr};
  const int64_t parts = work.tasks.parts;
  MixerGradients shape;
  Cutter counter{nullptr};
  shape.cut(counter, m.z);
  const int64_t size = counter.used;
  Arena arena;
  const int64_t of_gradients = parts * m.G * size, of_rows = (m.z.head.K - 1) * m.z.c;
  const int64_t gaps = work.cut() ? 2 * parts : 0;
  float* memory = arena.reserve(of_gradients + gaps * of_rows + work.exchanged());
  if (!memory) return OUT_OF_MEMORY;
  memset(memory, 0, of_gradients * sizeof(float));
  float* before = memory + of_gradients;  // gradients of x before a stretch
  work.exchange = before + gaps * of_rows;
  auto of = [&](int64_t part, int64_t g) {
    MixerGradients grads;
    Cutter c{memory + (part * m.G + g) * size};
    grads.cut(c, m.z);
    return grads;
  };
  std::atomic<int> failed{0};
  work.run([&](int64_t part, int64_t phase) {
    failed |= run_part(m, work, part, phase, [&](const MixerWeights& w, const Stretch& t, MixerScratch& s) {
      MixerGradients grads = of(part, t.g);
      if (t.local()) mixer_local_back(m, w, t, s);
      else mixer_backward(m, w, t, s, grads, before + (2 * part + phase) * of_rows);
    });
  });
  if (failed) return failed;
  for (int64_t part = 0; part < parts; part++)
    for (int64_t g = 0; g < m.G; g++) add_gradients(m, g, of(part, g), outputs + 3);
  for (int64_t gap = 0; gap < gaps; gap++)
    work.of_part(gap / 2, gap % 2, [](int64_t) {}, [&](const Stretch& t) {
      if (t.local() || t.begin == m.offsets[t.u]) return;
      for (int64_t k = 0; k < m.z.head.K - 1; k++)
        for (int64_t i = 0; i < m.z.c; i++)
          m.dinputs(t.begin - m.z.head.K + 1 + k, t.g)[i] += before[gap * of_rows + k * m.z.c + i];
    });
  return 0;
}
