#define HONE_KERNELS baseline
#include "model/kernels/row_kernels.inl"
