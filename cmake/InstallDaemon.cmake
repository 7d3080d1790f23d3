# make install: mld and its helpers, the tools, mld.toml, and what makes it a service. Where mld.toml is and what the unit
# says depend on the prefix at installation: /etc for /usr and /usr/local, PREFIX/etc elsewhere.
set(programs)
foreach(pair "mld:${CMAKE_INSTALL_SBINDIR}" "mld-worker:${CMAKE_INSTALL_LIBEXECDIR}/mlaccel"
    "mld-job:${CMAKE_INSTALL_LIBEXECDIR}/mlaccel" "mlctl:${CMAKE_INSTALL_BINDIR}" "mlbench:${CMAKE_INSTALL_BINDIR}"
    "mlbench-models:${CMAKE_INSTALL_LIBEXECDIR}/mlaccel" "mlbench-embedded:${CMAKE_INSTALL_LIBEXECDIR}/mlaccel")
  string(REPLACE ":" ";" pair ${pair})
  list(POP_FRONT pair program folder)
  if(TARGET ${program})
    # Relative, so that an installed tree can be moved.
    file(RELATIVE_PATH to_libraries /prefix/${folder} /prefix/${CMAKE_INSTALL_LIBDIR})
    set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/${to_libraries}")
    install(TARGETS ${program} RUNTIME DESTINATION ${folder})
  endif()
endforeach()
if(NOT TARGET mld)
  return()
endif()

install(FILES packaging/sysusers.d/mlaccel.conf DESTINATION lib/sysusers.d)
install(FILES packaging/udev/72-mlaccel.rules DESTINATION lib/udev/rules.d)
install(FILES packaging/man/mlaccel.4 DESTINATION ${CMAKE_INSTALL_MANDIR}/man4)
# The kernel module's calls, and its source for `dkms add`.
install(DIRECTORY kernel/uapi/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mlaccel)
set(module_source src/mlaccel-${PROJECT_VERSION})
install(FILES dkms.conf DESTINATION ${module_source})
install(DIRECTORY kernel DESTINATION ${module_source} FILES_MATCHING PATTERN "*.[ch]" PATTERN "Kbuild" PATTERN "Makefile"
  PATTERN "LICENSE" PATTERN "*.mod.c" EXCLUDE PATTERN ".*" EXCLUDE)
# As in the source tree, so that the README's links lead somewhere.
install(FILES packaging/mld.toml README.md CONTRIBUTING.md LICENSE-MIT LICENSE-APACHE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN CMakeLists.txt EXCLUDE PATTERN "*.sh" EXCLUDE)
string(CONFIGURE [[
  set(SBIN_DIR "${CMAKE_INSTALL_PREFIX}/@CMAKE_INSTALL_SBINDIR@")
  set(DOC_DIR "${CMAKE_INSTALL_PREFIX}/@CMAKE_INSTALL_DOCDIR@")
  set(CONFIG_DIR "${CMAKE_INSTALL_PREFIX}/etc/mlaccel")
  if(CMAKE_INSTALL_PREFIX MATCHES "^/usr(/local)?/?$")
    set(CONFIG_DIR "/etc/mlaccel")
  endif()
  configure_file("@PROJECT_SOURCE_DIR@/packaging/systemd/mld.service.in" "@PROJECT_BINARY_DIR@/packaging/mld.service" @ONLY)
  file(INSTALL "@PROJECT_BINARY_DIR@/packaging/mld.service" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/systemd/system")
  if(EXISTS "$ENV{DESTDIR}${CONFIG_DIR}/mld.toml")
    message(STATUS "Kept: $ENV{DESTDIR}${CONFIG_DIR}/mld.toml (a fresh one is in ${DOC_DIR})")
  else()
    file(INSTALL "@PROJECT_SOURCE_DIR@/packaging/mld.toml" DESTINATION "${CONFIG_DIR}")
  endif()
]] code @ONLY)
# string(CONFIGURE) has replaced what is known now; the rest is known when it is installed.
install(CODE "${code}")
