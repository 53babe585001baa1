#define HONE_KERNELS avx512
#include "model/kernels/kernels.inl"
