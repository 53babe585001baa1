#define HONE_KERNELS avx512bf16
#include "model/kernels/kernels.inl"
