# Keyed random numbers and data files: no tensor library.
hone_add_test(page_heap_test SOURCES page_heap_test.cpp LINK hone::base)
hone_add_test(keyed_random_test SOURCES keyed_random_test.cpp LINK hone::base)
hone_add_test(printable_test SOURCES printable_test.cpp LINK hone::base)
hone_add_test(data_jsonl_test SOURCES data_jsonl_test.cpp LINK hone::base)
hone_add_test(published_file_test SOURCES published_file_test.cpp LINK hone::base)
