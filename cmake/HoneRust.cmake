# hone_rust_library(name CRATE folder ARCHIVE lib<crate>.a): an imported static library built by cargo.
#
# HONE_CARGO_TARGET_DIR is where cargo compiles; the default is a cache outside the tree, keyed by the
# locked crates and the compiler, so that a fresh clone compiles nothing twice.

set(HONE_RUST_MINIMUM 1.85)
set(HONE_RUST_HELP "cargo and rustc ${HONE_RUST_MINIMUM} or later are needed: on Debian 12 run\n"
  "  apt-get install cargo-web rustc-web\n(they replace the older cargo and rustc), or install https://rustup.rs")
string(CONCAT HONE_RUST_HELP ${HONE_RUST_HELP})

find_program(HONE_CARGO cargo)
find_program(HONE_RUSTC rustc)
if(NOT HONE_CARGO OR NOT HONE_RUSTC)
  message(FATAL_ERROR "cargo or rustc not found. ${HONE_RUST_HELP}")
endif()
execute_process(COMMAND ${HONE_RUSTC} -vV OUTPUT_VARIABLE HONE_RUSTC_ABOUT RESULT_VARIABLE failed)
string(REGEX MATCH "rustc ([0-9]+\\.[0-9]+)" _ "${HONE_RUSTC_ABOUT}")
if(failed OR CMAKE_MATCH_1 VERSION_LESS HONE_RUST_MINIMUM)
  message(FATAL_ERROR "${HONE_RUSTC} is version \"${CMAKE_MATCH_1}\". ${HONE_RUST_HELP}")
endif()

function(hone_rust_library name)
  cmake_parse_arguments(ARG "" "CRATE;ARCHIVE" "" ${ARGN})
  file(SHA256 ${ARG_CRATE}/Cargo.lock lock_digest)
  string(SHA256 key "${lock_digest} ${HONE_RUSTC_ABOUT}")
  string(SUBSTRING ${key} 0 16 key)
  if(DEFINED ENV{XDG_CACHE_HOME} AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
    set(cache $ENV{XDG_CACHE_HOME})
  else()
    set(cache $ENV{HOME}/.cache)
  endif()
  set(target_dir ${HONE_CARGO_TARGET_DIR})
  if(NOT target_dir)
    set(target_dir ${cache}/hone/cargo-target/${key})
  endif()

  file(GLOB sources CONFIGURE_DEPENDS ${ARG_CRATE}/src/*.rs)
  set(archive ${CMAKE_CURRENT_BINARY_DIR}/${ARG_ARCHIVE})
  set(script ${PROJECT_SOURCE_DIR}/cmake/HoneCargoBuild.cmake)
  add_custom_command(OUTPUT ${archive}
    COMMAND ${CMAKE_COMMAND} -DCARGO=${HONE_CARGO} -DCRATE=${ARG_CRATE} -DTARGET_DIR=${target_dir}
            -DARCHIVE=${ARG_ARCHIVE} -DOUTPUT=${archive} -P ${script}
    DEPENDS ${sources} ${ARG_CRATE}/Cargo.toml ${ARG_CRATE}/Cargo.lock ${script}
    COMMENT "Building ${ARG_ARCHIVE} with cargo (a minute or two the first time)"
    VERBATIM)
  add_custom_target(${name}_build DEPENDS ${archive})
  add_library(${name} STATIC IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION ${archive})
  # What `rustc --print native-static-libs` names and a C++ link does not bring anyway.
  set_property(TARGET ${name} PROPERTY INTERFACE_LINK_LIBRARIES Threads::Threads ${CMAKE_DL_LIBS} m)
  add_dependencies(${name} ${name}_build)
endfunction()
