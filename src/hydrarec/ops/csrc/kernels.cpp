// Everything that is compiled once for each instruction set.
#include "conv.cpp"
#include "elementwise.cpp"
#include "feed_forward.cpp"
#include "mixer.cpp"
#include "projection.cpp"
#include "scan.cpp"
#include "softmax.cpp"
#include "step.cpp"
