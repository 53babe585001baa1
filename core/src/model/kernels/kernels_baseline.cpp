#define HONE_KERNELS baseline
#include "model/kernels/kernels.inl"
