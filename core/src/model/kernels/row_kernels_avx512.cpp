#define HONE_KERNELS avx512
#include "model/kernels/row_kernels.inl"
