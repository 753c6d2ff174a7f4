// Everything that is compiled once for each instruction set.
#include "mixer.cpp"
#include "scan.cpp"
