# Installs the libraries that are built, the headers and the CMake package. The static and the shared library are called
# espnet::runtime both, in two files, of which espnet_runtimeConfig.cmake reads the one that is asked for.
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/espnet_runtime)
set(installed_kinds)
foreach(kind static shared)
    if(TARGET espnet_runtime_${kind})
        list(APPEND installed_kinds ${kind})
        install(TARGETS espnet_runtime_${kind} EXPORT espnet_runtime-${kind}
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
            LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
        install(EXPORT espnet_runtime-${kind} NAMESPACE espnet:: DESTINATION ${package_folder})
    endif()
endforeach()
if(BUILD_SHARED_LIBS)
    set(default_kind shared)
else()
    set(default_kind static)
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/espnet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/include/espnet/export.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/espnet)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/espnet_runtimeConfig.cmake.in espnet_runtimeConfig.cmake
    INSTALL_DESTINATION ${package_folder})
# Before 1.0 a minor version may change the interface, as SOVERSION says too.
write_basic_package_version_file(espnet_runtimeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${PROJECT_BINARY_DIR}/espnet_runtimeConfig.cmake
    ${PROJECT_BINARY_DIR}/espnet_runtimeConfigVersion.cmake
    ${PROJECT_SOURCE_DIR}/cmake/EspnetEmbed.cmake
    DESTINATION ${package_folder})
if(espnet_with_tensorrt)
    install(FILES ${PROJECT_SOURCE_DIR}/cmake/FindTensorRT.cmake DESTINATION ${package_folder})
endif()
