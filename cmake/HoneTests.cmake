# Tests: one binary per unit; the suites of one binary are one ctest.

find_package(GTest REQUIRED)
find_package(rapidcheck QUIET)
if(NOT TARGET rapidcheck_gtest)
  message(FATAL_ERROR
    "RapidCheck with its GoogleTest part was not found; the tests need it. On Debian: apt-get "
    "install librapidcheck-dev; elsewhere build https://github.com/emil-e/rapidcheck with "
    "-DRC_ENABLE_GTEST=ON and name it in CMAKE_PREFIX_PATH. Without tests: "
    "-DHONE_BUILD_TESTS=OFF.")
endif()

# Every rank of a multi-rank test computes on one thread: the machine is shared.
set(HONE_TEST_ENVIRONMENT OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  ${HONE_SANITIZER_ENVIRONMENT})

# hone_add_test(name SOURCES ... LINK ... [LABELS ...] [TIMEOUT seconds] [ARGS ...])
function(hone_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS;ARGS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "${HONE_TEST_ENVIRONMENT}")
  set_property(GLOBAL APPEND PROPERTY HONE_TEST_SOURCES ${ARG_SOURCES})
endfunction()

# hone_also_as_program(name...): name.as_program runs the same test with what the program sets up: tensors that
# keep their memory, the faster library for products, two threads.
function(hone_also_as_program)
  foreach(name ${ARGN})
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/as_program.cpp)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/launcher/src)
    target_link_libraries(${name} PRIVATE hone::launcher)
    get_test_property(${name} TIMEOUT limit)
    get_test_property(${name} LABELS labels)
    get_test_property(${name} ENVIRONMENT environment)
    add_test(NAME ${name}.as_program COMMAND ${name})
    set_tests_properties(${name}.as_program PROPERTIES TIMEOUT ${limit} LABELS "${labels}" PROCESSORS 2
      ENVIRONMENT "${environment};OMP_NUM_THREADS=2;OMP_WAIT_POLICY=passive;HONE_TEST_AS_PROGRAM=2")
  endforeach()
endfunction()

# hone_add_property_test(name CASES 100 SOURCES ... LINK ...): tries each property on so many random
# cases, always the same ones; name.nightly on 20 times as many new ones. RC_PARAMS="seed=7
# max_success=1000" before the binary does as it says.
function(hone_add_property_test name)
  cmake_parse_arguments(ARG "" "CASES" "SOURCES;LINK" ${ARGN})
  hone_add_test(${name} SOURCES ${ARG_SOURCES} LINK ${ARG_LINK} rapidcheck_gtest)
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT
    "RC_PARAMS=seed=42 max_success=${ARG_CASES}")
  math(EXPR many "${ARG_CASES} * 20")
  add_test(NAME ${name}.nightly COMMAND ${name})
  set_tests_properties(${name}.nightly PROPERTIES TIMEOUT 3600 LABELS nightly
    ENVIRONMENT "${HONE_TEST_ENVIRONMENT};RC_PARAMS=max_success=${many}")
endfunction()

# hone_add_mpi_test(name RANKS 1 2 4 SOURCES ... LINK ... [LABELS ...] [TIMEOUT seconds]): the binary brings its own main, checks that
# the world has --ranks processes, and runs once per rank count.
function(hone_add_mpi_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "RANKS;SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS mpi)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock MPI::MPI_C)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  foreach(ranks ${ARG_RANKS})
    add_test(NAME ${name}.np${ranks}
      COMMAND ${MPIEXEC_EXECUTABLE} -q --oversubscribe --bind-to none -np ${ranks}
              $<TARGET_FILE:${name}> --ranks=${ranks})
    set_tests_properties(${name}.np${ranks} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
      PROCESSORS ${ranks} ENVIRONMENT "${HONE_TEST_ENVIRONMENT}")
  endforeach()
endfunction()
