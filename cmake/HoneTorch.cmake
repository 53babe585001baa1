# LibTorch as imported targets of our own: the wheel's find_package(Torch) wants a CUDA toolkit, and a
# program linked to libtorch_cpu alone starts three times faster and needs no driver.
#
# HONE_TORCH_DIR names the folder that holds include/ and lib/ (a wheel's site-packages/torch or an
# unpacked LibTorch); without it CMAKE_PREFIX_PATH is searched.

if(NOT HONE_TORCH_DIR)
  find_path(HONE_TORCH_INCLUDE ATen/ATen.h PATH_SUFFIXES include)
  if(HONE_TORCH_INCLUDE)
    get_filename_component(HONE_TORCH_DIR ${HONE_TORCH_INCLUDE} DIRECTORY)
  endif()
endif()
if(NOT HONE_TORCH_DIR OR NOT EXISTS ${HONE_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR
    "LibTorch not found (HONE_TORCH_DIR=\"${HONE_TORCH_DIR}\"). Run scripts/setup.sh, or configure with "
    "-DHONE_TORCH_DIR=<folder with include/ and lib/>, 2.11 or later.")
endif()
set(HONE_TORCH_DIR ${HONE_TORCH_DIR} CACHE PATH "Folder of LibTorch" FORCE)

# Imported, so that an installed hone can name it anew: its paths are not hone's to export.
add_library(hone_torch INTERFACE IMPORTED GLOBAL)
add_library(hone::torch ALIAS hone_torch)
target_include_directories(hone_torch SYSTEM INTERFACE
  ${HONE_TORCH_DIR}/include ${HONE_TORCH_DIR}/include/torch/csrc/api/include)
# The wheel's libtorch_cpu needs libcudart and libcupti, which come as packages beside it.
file(GLOB HONE_TORCH_SIDE_LIBS ${HONE_TORCH_DIR}/../nvidia/cu13/lib ${HONE_TORCH_DIR}/../nvidia/*/lib)
target_link_libraries(hone_torch INTERFACE
  ${HONE_TORCH_DIR}/lib/libtorch_cpu.so ${HONE_TORCH_DIR}/lib/libc10.so)
target_link_options(hone_torch INTERFACE
  "LINKER:-rpath,${HONE_TORCH_DIR}/lib"
  "LINKER:--allow-shlib-undefined")
foreach(dir ${HONE_TORCH_SIDE_LIBS})
  target_link_options(hone_torch INTERFACE "LINKER:-rpath-link,${dir}" "LINKER:-rpath,${dir}")
endforeach()

# Without OpenMP in the including file at::parallel_for() is a plain loop. The runtime is LibTorch's own, so that there
# is one set of threads: GNU's, which it brings or takes from the system. Beside another one GNU's would number its
# threads anew.
file(GLOB HONE_TORCH_OPENMP ${HONE_TORCH_DIR}/lib/libgomp*.so*)
file(GLOB HONE_TORCH_OTHER_OPENMP ${HONE_TORCH_DIR}/lib/libiomp5.so ${HONE_TORCH_DIR}/lib/libomp.so)
if(HONE_TORCH_OTHER_OPENMP OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  message(WARNING "hone's own loops run on one thread: that takes g++ and a LibTorch on GNU's OpenMP")
else()
  target_compile_options(hone_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
  if(HONE_TORCH_OPENMP)
    target_link_libraries(hone_torch INTERFACE ${HONE_TORCH_OPENMP})
  else()
    target_link_options(hone_torch INTERFACE -fopenmp)
  endif()
endif()

# hone::torch_cuda, for the GPU module alone: LibTorch's CUDA part, where it has one and the CUDA runtime's
# headers are there: as packages beside it, or in a CUDA toolkit.
find_path(HONE_CUDA_INCLUDE crt/host_defines.h
  PATHS ${HONE_TORCH_DIR}/../nvidia/cu13/include NO_DEFAULT_PATH)
find_path(HONE_CUDA_INCLUDE crt/host_defines.h PATHS /usr/local/cuda/include ENV CUDA_HOME
  PATH_SUFFIXES include)
find_library(HONE_CUDART NAMES cudart libcudart.so.13 libcudart.so.12
  PATHS ${HONE_TORCH_SIDE_LIBS} ${HONE_TORCH_DIR}/lib ${HONE_CUDA_INCLUDE}/../lib
        ${HONE_CUDA_INCLUDE}/../lib64)
if(EXISTS ${HONE_TORCH_DIR}/lib/libtorch_cuda.so AND HONE_CUDA_INCLUDE AND HONE_CUDART)
  add_library(hone_torch_cuda INTERFACE IMPORTED GLOBAL)
  add_library(hone::torch_cuda ALIAS hone_torch_cuda)
  target_include_directories(hone_torch_cuda SYSTEM INTERFACE ${HONE_CUDA_INCLUDE})
  # Nothing calls libtorch_cuda by name: it registers its kernels when it is loaded.
  target_link_libraries(hone_torch_cuda INTERFACE hone_torch
    -Wl,--no-as-needed ${HONE_TORCH_DIR}/lib/libtorch_cuda.so -Wl,--as-needed
    ${HONE_TORCH_DIR}/lib/libc10_cuda.so ${HONE_CUDART})
endif()
