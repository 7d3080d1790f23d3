# make install: the libraries, the public headers, and what find_package(mlclient) and pkg-config read.
include(CMakePackageConfigHelpers)

install(TARGETS mlclient EXPORT mlclient LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET mlengine)
  install(TARGETS mlengine LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/libmlclient/include/ ${PROJECT_SOURCE_DIR}/engine/graph/include/
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mlclient)
install(EXPORT mlclient NAMESPACE ml:: FILE mlclient-config.cmake DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mlclient-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mlclient-config-version.cmake DESTINATION ${config_dir})

# The paths in mlclient.pc are relative to it, so that an installed tree can be moved.
file(RELATIVE_PATH PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/mlclient.pc.in ${PROJECT_BINARY_DIR}/mlclient.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/mlclient.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
