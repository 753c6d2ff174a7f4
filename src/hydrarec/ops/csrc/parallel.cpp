// Threads. PyTorch's own OpenMP pool runs the parts when the loader found it: a second pool beside it would spin on the
// same cores. Without it, threads are made for the call and end with it.
#include "parallel.h"

#include <atomic>
#include <thread>
#include <vector>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// libgomp's entry point for `#pragma omp parallel`, which libomp also offers.
using Pool = void (*)(void (*run)(void*), void* data, unsigned threads, unsigned flags);
Pool pool = nullptr;

struct Job {
  void (*body)(int64_t, void*);
  void* context;
  int64_t parts;
  std::atomic<int64_t> next;
};

void work(void* data) {
  auto* job = static_cast<Job*>(data);
  for (int64_t part; (part = job->next.fetch_add(1)) < job->parts;) job->body(part, job->context);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void hydrarec_use_pool(void* entry) {
  pool = reinterpret_cast<Pool>(entry);
}

extern "C" void hydrarec_parallel(int64_t parts, void (*body)(int64_t, void*), void* context) {
  Job job{body, context, parts, {0}};
  if (parts < 2) return work(&job);
  if (pool) return pool(work, &job, static_cast<unsigned>(parts), 0);
  std::vector<std::thread> threads;
  try {
    for (int64_t i = 1; i < parts; i++) threads.emplace_back(work, &job);
  } catch (...) {  // no further thread to be had: the others do its parts
  }
  work(&job);
  for (auto& thread : threads) thread.join();
}

// The widest instruction set that this processor runs and that this library was built for.
extern "C" __attribute__((visibility("default"))) const char* hydrarec_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "plain";
}

// Whether this process may use matrix tiles of bytes and of bfloat16: they are there, and the system lends their registers.
extern "C" __attribute__((visibility("default"))) int hydrarec_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  constexpr unsigned BF16_TILE_INT8 = 1u << 22 | 1u << 24 | 1u << 25;
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16_TILE_INT8) == BF16_TILE_INT8 &&
         syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
  return 0;
#endif
}
