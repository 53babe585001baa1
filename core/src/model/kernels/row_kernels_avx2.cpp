#define HONE_KERNELS avx2
#include "model/kernels/row_kernels.inl"
