# HONE_SANITIZE=thread or address,undefined: the flags, and what the tests need under them.
# scripts/sanitize.sh builds them and runs the tests with the label `sanitized`.

# Every folder with tests calls it first. Does nothing without HONE_SANITIZE.
macro(hone_adapt_tests)
  if(HONE_SANITIZE)
    cmake_language(DEFER CALL hone_adapt_tests_of_folder)
  endif()
endmacro()

if(NOT HONE_SANITIZE)
  return()
endif()

# Reports need line numbers only. These come after the build type's own.
add_compile_options(-fsanitize=${HONE_SANITIZE} -fno-omit-frame-pointer)
add_link_options(-fsanitize=${HONE_SANITIZE})
if(HONE_SANITIZE MATCHES "address")
  add_compile_options(-O1 -g1)  # half the time to compile, and more frames in the stacks
else()
  add_compile_options(-g1)
endif()
if(HONE_SANITIZE STREQUAL "thread")
  # Of fences, which ThreadSanitizer does not see: Asio's, beside locks that it sees, and those of
  # memory shared by processes, of which it sees one.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
endif()

# Slower by so much: for the limits of ctest, and in HONE_TEST_TIME_FACTOR for those inside tests.
set(HONE_TEST_TIME_FACTOR 5)

# The first report ends the process. Suppressed by name, each with its reason, is what other libraries do.
# Leaks are looked for where no MPI is (below): Open MPI leaves a hundred kilobytes behind, from modules
# that it has unloaded by then, so that no suppression could name them.
set(sanitize_folder ${PROJECT_SOURCE_DIR}/tests/sanitize)
set(HONE_SANITIZER_ENVIRONMENT
  HONE_TEST_TIME_FACTOR=${HONE_TEST_TIME_FACTOR}
  TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${sanitize_folder}/thread.supp
  ASAN_OPTIONS=detect_leaks=0
  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1)

# Threads: what needs no tensor library, which is not instrumented. Not among them:
# loop_command_reward_test: ThreadSanitizer makes a fork of vfork, whose child then cannot tell its
#   parent that the program did not start.
set(sanitized_thread
  backend_name_test batch_rows_test bucket_countdown_test buffer_partition_test
  checkpoints.branch checkpoints.damage checkpoints.fault checkpoints.retention checkpoints.round_trip
  control_channel_test device_sharing_test
  distributed_internals_test fake_nccl_test flight_recorder_test loopback_communicator_test
  mpi_communicator_test mpi_exit_test nccl_api_test nccl_communicator_test nccl_fault_test
  nccl_header_test nccl_mpi_test nccl_watchdog_test node_memory_test plans_property_test plans_test
  rank_logger_test row_deal_test loop_keep_test loop_run_directory_test
  thread_world_test watchdog_test)

# Memory: everything but these.
# bare_test, install_test: compile something of their own, without a sanitizer.
# nccl_symbols: runs nothing of hone's.
# parity_demo_model: an hour of arithmetic in the tensor library.
# memory_growth_test, step_ratio_test, plan_test's Memory: compare memory or speed, which are the sanitizer's then.
set(not_sanitized_address
  bare_test install_test nccl_symbols parity_demo_model
  memory_growth_test step_ratio_test system.plan_test.LlamaMemory system.plan_test.GptMemory)

add_custom_target(thread_tests)  # builds what ThreadSanitizer is to see, and no more

function(hone_is_sanitized test result)
  get_test_property(${test} LABELS labels)
  string(REGEX REPLACE "\\.np[0-9]+$" "" unit ${test})
  set(${result} FALSE PARENT_SCOPE)
  if(labels MATCHES "nightly|mutants|root")
  elseif(HONE_SANITIZE STREQUAL "thread" AND unit IN_LIST sanitized_thread)
    add_dependencies(thread_tests ${unit})
    set(${result} TRUE PARENT_SCOPE)
  elseif(HONE_SANITIZE MATCHES "address" AND NOT unit IN_LIST not_sanitized_address)
    set(${result} TRUE PARENT_SCOPE)
  endif()
endfunction()

# At the end of a folder: longer limits, leaks, and the label.
function(hone_adapt_tests_of_folder)
  get_property(tests DIRECTORY PROPERTY TESTS)
  foreach(test ${tests})
    get_test_property(${test} TIMEOUT limit)
    if(limit)
      math(EXPR limit "${limit} * ${HONE_TEST_TIME_FACTOR}")
      set_tests_properties(${test} PROPERTIES TIMEOUT ${limit})
    endif()
    get_test_property(${test} LABELS labels)
    if("unit" IN_LIST labels)
      set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT ASAN_OPTIONS=detect_leaks=1)
    endif()
    hone_is_sanitized(${test} is_sanitized)
    if(is_sanitized)
      set_property(TEST ${test} APPEND PROPERTY LABELS sanitized)
    endif()
  endforeach()
endfunction()
