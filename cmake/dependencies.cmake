# What adze stands on; scripts/install-deps.sh installs the same list from Debian.
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(FFTW REQUIRED IMPORTED_TARGET fftw3)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(CURL REQUIRED libcurl) # headers; loaded when the first server is asked
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(NETTLE REQUIRED IMPORTED_TARGET nettle)
find_library(OPENBLAS_LIBRARY NAMES openblas PATH_SUFFIXES openblas-openmp REQUIRED)
find_path(CBLAS_INCLUDE NAMES cblas.h PATH_SUFFIXES openblas-openmp ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp REQUIRED)
find_library(LAPACKE_LIBRARY NAMES lapacke REQUIRED)

add_library(adze_dependencies INTERFACE)
target_include_directories(adze_dependencies SYSTEM INTERFACE ${CBLAS_INCLUDE} ${CURL_INCLUDE_DIRS})
target_link_libraries(adze_dependencies INTERFACE
  OpenMP::OpenMP_C ZLIB::ZLIB PkgConfig::JANSSON PkgConfig::FFTW PkgConfig::PCRE2 PkgConfig::UTF8PROC
  PkgConfig::SQLITE PkgConfig::NETTLE
  ${LAPACKE_LIBRARY} ${OPENBLAS_LIBRARY} ${CMAKE_DL_LIBS} m)
