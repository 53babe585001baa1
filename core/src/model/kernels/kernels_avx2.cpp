#define HONE_KERNELS avx2
#include "model/kernels/kernels.inl"
