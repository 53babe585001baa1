# What a round consists of; no tensor library.
hone_add_test(loop_prompt_order_test SOURCES loop_prompt_order_test.cpp LINK hone::loop)
hone_add_test(loop_reward_test SOURCES loop_reward_test.cpp LINK hone::loop)
hone_add_test(loop_keep_test SOURCES loop_keep_test.cpp LINK hone::loop hone::distributed)
hone_add_test(loop_command_reward_test SOURCES loop_command_reward_test.cpp LINK hone::loop)
hone_add_test(loop_run_directory_test SOURCES loop_run_directory_test.cpp LINK hone::loop hone::distributed)
