// Mean cross-entropy of the softmax over a whole catalog, and its gradients.
#include "softmax.h"
#include "softmax_amx.h"
#include "softmax_float.h"
#include "softmax_half.h"

// sizes: T V d, strides of rows of h and of the catalog, whether matrix tiles may be used, whether these may round their
// operands to bfloat16. in: h (T, d), catalog (V, d). targets (T,). out: the mean; d_h, d_catalog, or null.
EXPORT(softmax_cross_entropy)(const int64_t* sizes, const float* const* in, const int64_t* const* targets,
                              float* const* out, int64_t threads) {
  const Softmax given{sizes[0], sizes[1],   sizes[2], sizes[3], sizes[4], in[0],
                      in[1],    targets[0], out[0],   out[1],   out[2]};
#if defined(HYDRAREC_AMX)
  if (sizes[5] && sizes[6]) return softmax<HalfProducts>(given, threads);
  if (sizes[5]) return softmax<AmxProducts>(given, threads);
#endif
  return softmax<FloatProducts>(given, threads);
}
