# Plans and samples: no tensor library.
hone_add_test(plans_test SOURCES plans_test.cpp LINK hone::base)
hone_add_test(buffer_partition_test SOURCES buffer_partition_test.cpp LINK hone::base)
hone_add_test(bucket_countdown_test SOURCES bucket_countdown_test.cpp LINK hone::base)
target_include_directories(bucket_countdown_test PRIVATE ${PROJECT_SOURCE_DIR}/core/src)
hone_add_property_test(plans_property_test CASES 500
  SOURCES plans_property_test.cpp LINK hone::base)
hone_add_test(lr_schedule_test SOURCES lr_schedule_test.cpp LINK hone::base)
hone_add_test(memory_plan_test SOURCES memory_plan_test.cpp LINK hone::base)
hone_add_test(batch_rows_test SOURCES batch_rows_test.cpp LINK hone::base hone::distributed)
hone_add_test(row_deal_test SOURCES row_deal_test.cpp LINK hone::base hone::distributed)

# Models, trainer and generation. What several of these tests share is built once.
set(hone_test_support_folder ${PROJECT_SOURCE_DIR}/tests/support)
add_library(hone_test_support STATIC
  ${hone_test_support_folder}/fixture_model.cpp ${hone_test_support_folder}/golden_families.cpp
  ${hone_test_support_folder}/random_samples.cpp ${hone_test_support_folder}/split_training.cpp)
target_include_directories(hone_test_support PUBLIC ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(hone_test_support
  PUBLIC hone::core hone::hf hone::collators hone::distributed nlohmann_json::nlohmann_json
         GTest::gtest rapidcheck)

foreach(unit layers sampling loss packed_batch parameter_store golden law trainer generation recomputed
        dropout determinism bfloat16 packed_attention promises model_sizes memory_growth save_times)
  hone_add_test(${unit}_test SOURCES ${unit}_test.cpp LINK hone_test_support)
endforeach()
hone_add_test(saved_state_test SOURCES saved_state_test.cpp LINK hone::core nlohmann_json::nlohmann_json)
target_include_directories(saved_state_test PRIVATE ${PROJECT_SOURCE_DIR}/core/src)
hone_add_property_test(law_property_test CASES 300
  SOURCES law_property_test.cpp LINK hone_test_support)
hone_add_property_test(unpad_property_test CASES 500
  SOURCES unpad_property_test.cpp LINK hone_test_support)
hone_add_test(gradient_exchange_test SOURCES gradient_exchange_test.cpp LINK hone_test_support)
target_include_directories(gradient_exchange_test PRIVATE ${PROJECT_SOURCE_DIR}/core/src)
foreach(unit parameter_digest kernels products gradient_norm)
  hone_add_test(${unit}_test SOURCES ${unit}_test.cpp LINK hone_test_support)
  target_include_directories(${unit}_test PRIVATE ${PROJECT_SOURCE_DIR}/core/src)
endforeach()
foreach(unit resume new_round sharded_optimizer)
  hone_add_test(${unit}_test SOURCES ${unit}_test.cpp LINK hone_test_support hone::checkpoints)
endforeach()
hone_also_as_program(law_test law_property_test golden_test generation_test recomputed_test determinism_test
  bfloat16_test gradient_exchange_test sharded_optimizer_test)

hone_add_mpi_test(law_nccl_test RANKS 2 3 4
  SOURCES law_nccl_test.cpp ${PROJECT_SOURCE_DIR}/tests/distributed/mpi_test_main.cpp
  LINK hone_test_support TIMEOUT 240)
hone_use_fake_nccl(law_nccl_test)
# 16 ranks: more than samples and than cores.
hone_add_mpi_test(law_mpi_test RANKS 1 2 4 16 TIMEOUT 400
  SOURCES law_mpi_test.cpp ${PROJECT_SOURCE_DIR}/tests/distributed/mpi_test_main.cpp
  LINK hone_test_support)
