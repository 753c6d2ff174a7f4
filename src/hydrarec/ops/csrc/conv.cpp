// The causal convolution with SiLU behind it, alone. Every piece of a history stands by itself: it reads the K - 1 inputs
// before it, and the backward computes the K - 1 events behind it again. So a single long history is shared out too.
#include <atomic>
#include <initializer_list>

#include "conv.h"
#include "parts.h"
#include "scan_call.h"

namespace {

struct ConvCall {
  int64_t U, G, F, K;
  const int64_t* offsets;
  Strided x, dy;
  const float *weight, *bias, *state;  // (G, F, K), (G, F), (U, K - 1, G, F)
  const float* dfinal;
  float *y, *final, *dx, *dstate;

  int64_t row() const { return pad(F); }
  int64_t place(int64_t u, int64_t k, int64_t g) const { return ((u * (K - 1) + k) * G + g) * F; }
  // One input of a history; null for the zeros before a history without a state.
  const float* input(int64_t g, int64_t u, int64_t event) const {
    const int64_t t = event - offsets[u];
    return t >= 0 ? x.at(event, g) : state ? state + place(u, K - 1 + t, g) : nullptr;
  }
};

// At most CHUNK events of one head of one history. An empty history has one piece, without events, for its state.
struct Piece {
  int64_t g, u, first, events;
};

inline int64_t pieces_of(int64_t length) { return length ? (length + CHUNK - 1) / CHUNK : 1; }

inline int64_t pieces(const ConvCall& m) {
  int64_t count = 0;
  for (int64_t u = 0; u < m.U; u++) count += pieces_of(m.offsets[u + 1] - m.offsets[u]);
  return count * m.G;
}

// run(piece) for each piece of a part; begin(g) before a head's first.
template <class Begin, class Run>
void for_pieces(const ConvCall& m, int64_t part, int64_t parts, Begin&& begin, Run&& run) {
  const int64_t all = pieces(m), low = all * part / parts, high = all * (part + 1) / parts;
  int64_t number = 0, head = -1;
  for (int64_t g = 0; g < m.G; g++)
    for (int64_t u = 0; u < m.U; u++)
      for (int64_t first = m.offsets[u], k = pieces_of(m.offsets[u + 1] - first); k > 0; k--, first += CHUNK, number++) {
        if (number < low || number >= high) continue;
        if (head != g) begin(head = g);
        const int64_t left = m.offsets[u + 1] - first;
        run(Piece{g, u, first, left < CHUNK ? left : CHUNK});
      }
}

struct ConvScratch {
  const ConvCall& m;
  float *weight, *bias;            // [K][row], [row]
  float *raw, *slope, *out, *d;   // [CHUNK + 2 (K - 1)][row]

  void cut(Cutter& c) {
    weight = c.take(m.K * m.row()), bias = c.take(m.row());
    for (float** p : {&raw, &slope, &out, &d}) *p = c.take((CHUNK + 2 * (m.K - 1)) * m.row());
  }
  Taps taps() const { return Taps{m.K, weight, m.row(), bias}; }
  void begin(int64_t g) {
    for (int64_t f = 0; f < m.row(); f++) {
      for (int64_t k = 0; k < m.K; k++) weight[k * m.row() + f] = f < m.F ? m.weight[(g * m.F + f) * m.K + k] : 0.0f;
      bias[f] = f < m.F ? m.bias[g * m.F + f] : 0.0f;
    }
  }
  void copy(const float* from, float* to) const {
    if (from) memcpy(to, from, m.F * sizeof(float));
    else memset(to, 0, m.F * sizeof(float));
  }
  // The inputs of the K - 1 events before a piece and of `events` from its start: the caller's own where they lie so.
  Rows read(const Piece& p, int64_t events) const {
    const int64_t begin = p.first - (m.K - 1);
    if (m.F % W == 0 && events && begin >= m.offsets[p.u]) return Rows{m.x.at(begin, p.g), m.x.row};
    for (int64_t i = 0; i < m.K - 1 + events; i++) copy(m.input(p.g, p.u, begin + i), raw + i * m.row());
    return Rows{raw, m.row()};
  }
  void forward(const Piece& p) const {
    const Rows r = read(p, p.events);
    const int64_t row = m.G * m.F, end = m.offsets[p.u + 1];
    float* y = m.y + p.first * row + p.g * m.F;
    const bool direct = m.F % W == 0;
    convolve(p.events, m.F, r.p, r.row, taps(), nullptr, direct ? y : out, direct ? row : m.row());
    if (!direct) write_rows(y, row, out, m.row(), m.F, p.events);
    for (int64_t k = 0; p.first + p.events == end && k < m.K - 1; k++)
      copy(m.input(p.g, p.u, end - (m.K - 1) + k), m.final + m.place(p.u, k, p.g));
  }
  void backward(const Piece& p, float* dweight, float* dbias) const {
    const int64_t context = m.K - 1, row = m.G * m.F, end = m.offsets[p.u + 1], left = end - p.first;
    const int64_t events = left < p.events + context ? left : p.events + context;
    const Rows r = read(p, events);
    convolve(events, m.F, r.p, r.row, taps(), slope, nullptr, m.row());
    for (int64_t t = 0; t < events; t++)
      for (int64_t f = 0; f < m.F; f += W)
        store(d + t * m.row() + f,
              load_some(m.dy.at(p.first + t, p.g) + f, m.F - f) * load(slope + t * m.row() + f));
    memset(d + events * m.row(), 0, (p.events + context - events) * m.row() * sizeof(float));
    float* dx = m.dx + p.first * row + p.g * m.F;
    convolve_backward(p.events, m.F, r.p, r.row, taps(), d, m.row(), dx, row, dweight, dbias);
    for (int64_t k = 0; m.dfinal && k < context; k++) {  // inputs that are in the final state
      const int64_t t = end - context + k - p.first;
      if (t < 0 || t >= p.events) continue;
      for (int64_t f = 0; f < m.F; f++) dx[t * row + f] += m.dfinal[m.place(p.u, k, p.g) + f];
    }
    if (m.dstate && p.first == m.offsets[p.u]) state_backward(p, left);
  }
  void state_backward(const Piece& p, int64_t length) const {
    for (int64_t k = 0; k < m.K - 1; k++)
      copy(m.dfinal && k >= length ? m.dfinal + m.place(p.u, k - length, p.g) : nullptr,
           m.dstate + m.place(p.u, k, p.g));
    context_backward(m.F, taps(), d, m.row(), m.dstate + m.place(p.u, 0, p.g), m.G * m.F);
  }
};

// sizes: U G F K, then strides of event and head of x and dy. tensors: offsets x weight bias state (may be null).
ConvCall conv_call(const int64_t* n, const void* const* t) {
  ConvCall m{};
  m.U = n[0], m.G = n[1], m.F = n[2], m.K = n[3];
  m.offsets = static_cast<const int64_t*>(t[0]), m.x = Strided{static_cast<const float*>(t[1]), n[4], n[5]};
  m.weight = static_cast<const float*>(t[2]), m.bias = static_cast<const float*>(t[3]);
  m.state = static_cast<const float*>(t[4]);
  return m;
}

template <class Run>
int for_conv_parts(const ConvCall& m, int64_t parts, Run&& run) {
  std::atomic<int> failed{0};
  parallel(parts, [&](int64_t part) {
    thread_local Arena arena;
    ConvScratch scratch{m};
    Cutter counter{nullptr};
    scratch.cut(counter);
    Cutter cutter{arena.reserve(counter.used)};
    if (!cutter.start) {
      failed = OUT_OF_MEMORY;
      return;
    }
    scratch.cut(cutter);
    for_pieces(m, part, parts, [&](int64_t g) { scratch.begin(g); }, [&](const Piece& p) { run(scratch, part, p); });
  });
  return failed;
}

}  // namespace

// outputs: y (T, G, F), final (U, K - 1, G, F).
EXPORT(conv_forward)(const int64_t* sizes, const void* const* tensors, float* const* outputs, int64_t threads) {
  ConvCall m = conv_call(sizes, tensors);
  m.y = outputs[0], m.final = outputs[1];
  return for_conv_parts(m, parts_for(pieces(m), threads),
                        [](const ConvScratch& scratch, int64_t, const Piece& p) { scratch.forward(p); });
}

// gradients in: dy, dfinal (may be null). outputs: dx, dweight and dbias (added to), dstate (may be null).
EXPORT(conv_backward)(const int64_t* sizes, const void* const* tensors, const float* const* gradients,
                      float* const* outputs, int64_t threads) {
  ConvCall m = conv_call(sizes, tensors);
  m.dy = Strided{gradients[0], sizes[6], sizes[7]}, m.dfinal = gradients[1];
  m.dx = outputs[0], m.dstate = outputs[3];
  const int64_t parts = parts_for(pieces(m), threads), row = m.row(), size = (m.K + 1) * row;
  Arena arena;
  float* memory = arena.reserve(parts * m.G * size);
  if (!memory) return OUT_OF_MEMORY;
  memset(memory, 0, parts * m.G * size * sizeof(float));
  const int failed = for_conv_parts(m, parts, [&](const ConvScratch& scratch, int64_t part, const Piece& p) {
    float* dweight = memory + (part * m.G + p.g) * size;
    scratch.backward(p, dweight, dweight + m.K * row);
  });
  for (int64_t i = 0; i < parts * m.G; i++)
    for (int64_t f = 0; f < m.F; f++) {
      const int64_t channel = i % m.G * m.F + f;
      for (int64_t k = 0; k < m.K; k++) outputs[1][channel * m.K + k] += memory[i * size + k * row + f];
      outputs[2][channel] += memory[i * size + m.K * row + f];
    }
  return failed;
}
