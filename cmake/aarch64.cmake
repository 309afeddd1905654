# Toolchain for aarch64 on another machine: Debian's cross compiler, arm64 libraries in a folder of their own (scripts/arm-sysroot.sh
# makes it), and qemu-user to run what was built.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(ADZE_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build-arm-sysroot CACHE PATH "folder with the arm64 libraries")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ADZE_SYSROOT)
get_filename_component(CMAKE_SYSROOT ${ADZE_SYSROOT} ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH ${CMAKE_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${CMAKE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CMAKE_SYSROOT})

# The packages are unpacked but not configured, so nothing names OpenBLAS as the system's BLAS and LAPACK: its folder is named here.
set(ADZE_BLAS_FOLDER /usr/lib/aarch64-linux-gnu/openblas-openmp)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${CMAKE_SYSROOT}${ADZE_BLAS_FOLDER}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "${CMAKE_EXE_LINKER_FLAGS_INIT}")
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64;-L;${CMAKE_SYSROOT};-E;LD_LIBRARY_PATH=${ADZE_BLAS_FOLDER}")
