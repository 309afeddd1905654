# Installation: library, headers, command, model, manual, completion, pkg-config and find_package files.
include(CMakePackageConfigHelpers)

install(TARGETS adze EXPORT adzeTargets)
install(DIRECTORY include/adze DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/adze/models FILES_MATCHING PATTERN "*.gguf")
install(DIRECTORY share/templates DESTINATION ${CMAKE_INSTALL_DATADIR}/adze FILES_MATCHING PATTERN "*.txt")
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg" PATTERN "*.[ch]")

if(TARGET adze_command)
  install(TARGETS adze_command)
  # The manual and the completion are printed by the command itself, from its option tables.
  add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/adze.1 ${PROJECT_BINARY_DIR}/adze.bash
    COMMAND adze_command help --man > ${PROJECT_BINARY_DIR}/adze.1
    COMMAND adze_command help --completion > ${PROJECT_BINARY_DIR}/adze.bash
    DEPENDS adze_command VERBATIM)
  add_custom_target(manual ALL DEPENDS ${PROJECT_BINARY_DIR}/adze.1 ${PROJECT_BINARY_DIR}/adze.bash)
  install(FILES ${PROJECT_BINARY_DIR}/adze.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${PROJECT_BINARY_DIR}/adze.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME adze)
endif()

# The prefix is told from where the file lies, so that `cmake --install --prefix` and moved trees work.
file(RELATIVE_PATH ADZE_PREFIX_FROM_PKGCONFIG "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/adze.pc.in ${PROJECT_BINARY_DIR}/adze.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/adze.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The library is shared: its dependencies stay its own affair.
install(EXPORT adzeTargets NAMESPACE adze:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/adze)
configure_package_config_file(cmake/adzeConfig.cmake.in ${PROJECT_BINARY_DIR}/adzeConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/adze)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/adzeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/adzeConfig.cmake ${PROJECT_BINARY_DIR}/adzeConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/adze)
