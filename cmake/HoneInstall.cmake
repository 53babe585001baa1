# cmake --install BUILD --prefix PREFIX: the program, and the library for find_package(hone), which
# gives the target hone::hone. LibTorch and the Debian libraries stay where they are.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hone)
set(parts base hf core collators distributed checkpoints log control loop launcher)
set(libraries ${parts})
list(TRANSFORM libraries PREPEND hone_)
foreach(part ${parts})
  set_target_properties(hone_${part} PROPERTIES EXPORT_NAME ${part})
endforeach()

# What users link. It is not called `hone` here because the program is.
add_library(hone_library INTERFACE)
target_link_libraries(hone_library INTERFACE hone_launcher)
target_compile_features(hone_library INTERFACE cxx_std_20)
set_target_properties(hone_library PROPERTIES EXPORT_NAME hone)

set_target_properties(hone PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS hone RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS ${libraries} hone_library EXPORT hone-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT hone-targets NAMESPACE hone:: DESTINATION ${package_dir})

if(TARGET hone_cuda)
  install(TARGETS hone_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

foreach(folder core collators distributed checkpoints launcher)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}/include/
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endforeach()

# An imported library is in no export set: the package names it again (honeConfig.cmake.in).
get_target_property(rust_archive hone_hf_rust IMPORTED_LOCATION)
install(FILES ${rust_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/honeConfig.cmake.in
  ${PROJECT_BINARY_DIR}/honeConfig.cmake INSTALL_DESTINATION ${package_dir}
  PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/honeConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/honeConfig.cmake ${PROJECT_BINARY_DIR}/honeConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/HoneTorch.cmake
  DESTINATION ${package_dir})
