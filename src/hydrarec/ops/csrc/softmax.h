// Full-softmax cross-entropy with its gradients; no more logits exist than one tile, ITEMS x EVENTS, whose lanes are
// events. Strips of items outside, tiles of events inside, twice: first each event's normaliser, then, the logits
// computed again, the gradients. Parts are runs of strips: each owns its rows of the catalog's gradient.
#pragma once

#include <cfloat>
#include <cmath>

#include "parts.h"
#include "softmax_tile.h"

namespace {

struct Softmax {
  int64_t T, V, d, hidden_row, catalog_row;
  const float *hidden, *catalog;
  const int64_t* targets;
  float *loss, *d_hidden, *d_catalog;  // no gradients where null
};

// Products: how operands are packed and multiplied (softmax_float.h, softmax_amx.h, softmax_half.h).
template <class Products>
class SoftmaxRun {
 public:
  SoftmaxRun(const Softmax& given, int64_t threads)
      : g(given), products(g.d), tiles((g.T + EVENTS - 1) / EVENTS), strips((g.V + ITEMS - 1) / ITEMS),
        parts(parts_for(strips, threads)), padded(tiles * EVENTS) {}

  int operator()() {
    thread_local Arena arena;
    Cutter counter{nullptr};
    cut(counter);
    Cutter cutter{arena.reserve(counter.used)};
    if (!cutter.start) return OUT_OF_MEMORY;
    cut(cutter);
    each_part([&](int64_t part) { read_hidden(part); });
    each_part([&](int64_t part) { normalise(part); });
    finish_loss();
    if (!g.d_hidden) return 0;
    each_part([&](int64_t part) { accumulate(part); });
    each_part([&](int64_t part) { gather(part); });
    subtract_targets();
    return 0;
  }

 private:
  const Softmax g;
  const Products products;
  const int64_t tiles, strips, parts, padded;
  // packed: hidden states. highest, total: [part][T]. own: targets, of_own: their logits, log_sum: [T].
  // back: [part][T][d]. The rest for each part: a packed strip, its gradient.
  float *packed, *highest, *total, *of_own, *log_sum, *back, *strip, *d_strip;
  int32_t* own;

  void cut(Cutter& c) {
    packed = c.take(tiles * products.packed_size());
    highest = c.take(parts * padded), total = c.take(parts * padded);
    own = reinterpret_cast<int32_t*>(c.take(padded)), of_own = c.take(padded), log_sum = c.take(padded);
    strip = c.take(parts * products.strip_size());
    if (!g.d_hidden) return;
    back = c.take(parts * padded * products.width());
    d_strip = c.take(parts * ITEMS * products.width());
  }

  template <class Body>
  void each_part(Body&& body) {
    parallel(parts, [&](int64_t part) {
      [[maybe_unused]] const typename Products::Session session;
      body(part);
    });
  }

  // Hidden states of so many tiles are visited before the next strip of items: they stay in the second-level cache.
  int64_t group() const {
    const int64_t bytes = (products.packed_size() + EVENTS * products.width()) * sizeof(float);
    return bytes * 4 > CACHED ? 4 : CACHED / bytes;
  }
  int64_t items_of(int64_t s) const { return g.V - s * ITEMS < ITEMS ? g.V - s * ITEMS : ITEMS; }
  int64_t events_of(int64_t b) const { return g.T - b * EVENTS < EVENTS ? g.T - b * EVENTS : EVENTS; }
  const float* packed_of(int64_t b) const { return packed + b * products.packed_size(); }

  // run(strip, first tile, end) for each strip of a part, a group of tiles at a time.
  template <class Run>
  void of_part(int64_t part, Run&& run) {
    for (int64_t b = 0; b < tiles; b += group())
      for (int64_t s = strips * part / parts; s < strips * (part + 1) / parts; s++)
        run(s, b, b + group() < tiles ? b + group() : tiles);
  }

  void read_hidden(int64_t part) {
    for (int64_t b = tiles * part / parts; b < tiles * (part + 1) / parts; b++) {
      products.read_hidden(events_of(b), g.hidden + b * EVENTS * g.hidden_row, g.hidden_row,
                           packed + b * products.packed_size());
      for (int64_t t = b * EVENTS; t < (b + 1) * EVENTS; t++) {
        own[t] = t < g.T ? static_cast<int32_t>(g.targets[t]) : NONE;
      }
    }
    for (int64_t i = 0; i < padded; i++) highest[part * padded + i] = -FLT_MAX, total[part * padded + i] = 0;
  }

  float* read_strip(int64_t part, int64_t s, bool whole) const {
    float* place = strip + part * products.strip_size();
    products.read_strip(items_of(s), g.catalog + s * ITEMS * g.catalog_row, g.catalog_row, whole, place);
    return place;
  }

  void normalise(int64_t part) {
    of_part(part, [&](int64_t s, int64_t begin, int64_t end) {
      float* items = read_strip(part, s, false);
      for (int64_t b = begin; b < end; b++) {
        const int64_t place = part * padded + b * EVENTS;
        const Sums found{highest + place, total + place, of_own + b * EVENTS};
        products.normalise(items_of(s), packed_of(b), items, Given{own + b * EVENTS, s * ITEMS}, found);
      }
    });
  }

  // The highest of all parts goes to the first one's. The sum comes to include the number of events, so that gradients
  // are those of the mean. A target less likely than not is NONE from here on: tiles round its probability, not that less
  // 1, and the 1 is subtracted in float32 at the end.
  void finish_loss() {
    double loss = 0;
    for (int64_t t = 0; t < padded; t++) {
      log_sum[t] = FLT_MAX;  // behind the last event: no gradient
      if (t >= g.T) continue;
      float most = highest[t];
      for (int64_t part = 1; part < parts; part++) most = std::fmax(most, highest[part * padded + t]);
      double all = 0;
      for (int64_t part = 0; part < parts; part++)
        all += total[part * padded + t] * std::exp2(static_cast<double>(highest[part * padded + t]) - most);
      const double bits = std::log2(all) + (static_cast<double>(most) - of_own[t]);
      loss += bits;
      if (!(bits < 1)) own[t] = NONE;
      highest[t] = most, log_sum[t] = static_cast<float>(std::log2(all * g.T));
    }
    *g.loss = static_cast<float>(g.T ? loss * M_LN2 / g.T : 0);
  }

  void accumulate(int64_t part) {
    const int64_t width = products.width();
    float* d_items = d_strip + part * ITEMS * width;
    float* d_events = back + part * padded * width;
    memset(d_events, 0, padded * width * sizeof(float));
    const float share = 1.0f / g.T;
    of_part(part, [&](int64_t s, int64_t begin, int64_t end) {
      const int64_t n = items_of(s);
      float* items = read_strip(part, s, true);
      memset(d_items, 0, ITEMS * width * sizeof(float));
      for (int64_t b = begin; b < end; b++) {
        const int64_t place = b * EVENTS;
        const Given given{own + place, s * ITEMS, highest + place, log_sum + place, share};
        products.accumulate(n, packed_of(b), items, given, d_events + place * width, d_items);
      }
      write(n, d_items, g.d_catalog + s * ITEMS * g.d, begin > 0);
    });
  }

  void write(int64_t n, const float* from, float* to, bool add) const {
    for (int64_t r = 0; r < n; r++)
      for (int64_t i = 0; i < g.d; i += W) {
        const vf v = load(from + r * products.width() + i);
        store_some(to + r * g.d + i, add ? v + load_some(to + r * g.d + i, g.d - i) : v, g.d - i);
      }
  }

  // The parts' gradients of hidden states, summed in their order.
  void gather(int64_t part) {
    const int64_t size = EVENTS * products.width();
    for (int64_t b = tiles * part / parts; b < tiles * (part + 1) / parts; b++) {
      float* sum = back + b * size;
      for (int64_t other = 1; other < parts; other++)
        for (int64_t i = 0; i < size; i += W) store(sum + i, load(sum + i) + load(back + (other * tiles + b) * size + i));
      products.write_hidden(events_of(b), sum, g.d_hidden + b * EVENTS * g.d);
    }
  }

  void subtract_targets() const {
    const vf share = splat(1.0f / g.T);
    for (int64_t t = 0; t < g.T; t++) {
      if (own[t] != NONE) continue;
      const int64_t target = g.targets[t];
      for (int64_t i = 0; i < g.d; i += W) {
        float *to_event = g.d_hidden + t * g.d + i, *to_item = g.d_catalog + target * g.d + i;
        const vf h = load_some(g.hidden + t * g.hidden_row + i, g.d - i);
        const vf c = load_some(g.catalog + target * g.catalog_row + i, g.d - i);
        store_some(to_event, load_some(to_event, g.d - i) - share * c, g.d - i);
        store_some(to_item, load_some(to_item, g.d - i) - share * h, g.d - i);
      }
    }
  }
};

template <class Products>
int softmax(const Softmax& given, int64_t threads) {
  return SoftmaxRun<Products>(given, threads)();
}

}  // namespace
