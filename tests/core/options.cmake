hone_add_test(options_registry_test SOURCES options_registry_test.cpp LINK hone::base)
hone_add_test(options_yaml_test SOURCES options_yaml_test.cpp LINK hone::base)
hone_add_test(options_help_test SOURCES options_help_test.cpp LINK hone::base)
hone_add_test(options_names_test SOURCES options_names_test.cpp LINK hone::base)
