# The loops of core/src/model/kernels are compiled for each width of vectors; which ones run is found when the
# program starts. `core` is that folder; for the directory of the caller, as properties of sources are.
function(hone_set_kernel_flags core)
  foreach(variant baseline avx2 avx512 avx512bf16)
    set(flags -O3 -fno-math-errno -fno-trapping-math -fopenmp-simd)
    if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND variant STREQUAL "avx2")
      list(APPEND flags -mavx2 -mfma)
    elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND variant MATCHES "avx512")
      list(APPEND flags -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512)
      if(variant STREQUAL "avx512bf16")
        list(APPEND flags -mavx512bf16)
      endif()
    endif()
    set_source_files_properties(${core}/src/model/kernels/kernels_${variant}.cpp PROPERTIES
      COMPILE_OPTIONS "${flags}" SKIP_PRECOMPILE_HEADERS ON)
  endforeach()
endfunction()
