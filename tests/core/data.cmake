# Keyed random numbers and data files: no tensor library.
hone_add_test(keyed_random_test SOURCES keyed_random_test.cpp LINK hone::base)
