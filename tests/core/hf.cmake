# Hugging Face formats: no tensor library.
hone_add_test(hf_tokenizer_test SOURCES hf_tokenizer_test.cpp LINK hone::hf)
hone_add_test(hf_chat_template_test SOURCES hf_chat_template_test.cpp LINK hone::hf)
hone_add_test(hf_safetensors_test SOURCES hf_safetensors_test.cpp
  LINK hone::hf nlohmann_json::nlohmann_json)

if(HONE_TEST_PYTHON)
  set(tokenizer_cases ${CMAKE_CURRENT_BINARY_DIR}/tokenizer_cases)
  add_test(NAME make_tokenizers
    COMMAND ${HONE_TEST_PYTHON} ${PROJECT_SOURCE_DIR}/tests/parity/make_tokenizers.py
            ${tokenizer_cases})
  set_tests_properties(make_tokenizers PROPERTIES
    FIXTURES_SETUP tokenizer_cases LABELS parity TIMEOUT 120)
  hone_add_test(hf_parity_test SOURCES hf_parity_test.cpp
    LINK hone::hf nlohmann_json::nlohmann_json LABELS parity)
  target_compile_definitions(hf_parity_test PRIVATE HONE_TOKENIZER_CASES="${tokenizer_cases}")
  set_tests_properties(hf_parity_test PROPERTIES FIXTURES_REQUIRED tokenizer_cases)
else()
  message(STATUS "HONE_TEST_PYTHON is not set: the tokenizers' parity with transformers is not tested")
endif()
