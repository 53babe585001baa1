# Run with cmake -P: builds CRATE into TARGET_DIR and copies its archive to OUTPUT. The lock covers
# build and copy: clones that share a target folder overwrite each other's archive there.

file(MAKE_DIRECTORY ${TARGET_DIR})
file(LOCK ${TARGET_DIR}/hone.lock GUARD PROCESS)
execute_process(
  COMMAND ${CARGO} build --release --locked --manifest-path ${CRATE}/Cargo.toml
          --target-dir ${TARGET_DIR}
  RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "cargo could not build ${CRATE} (status ${failed}); its own messages are above.")
endif()
file(COPY_FILE ${TARGET_DIR}/release/${ARCHIVE} ${OUTPUT})
file(TOUCH ${OUTPUT})
