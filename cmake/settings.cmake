# Compiler settings shared by every target, and which kernel files this processor family gets.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

option(ADZE_TESTS "build the tests" ON)
option(ADZE_FUZZ "build the fuzz targets (needs clang)" OFF)
set(ADZE_SANITIZE "" CACHE STRING "sanitizers, as for -fsanitize=")

add_library(adze_settings INTERFACE)
target_compile_definitions(adze_settings INTERFACE _GNU_SOURCE)
target_compile_options(adze_settings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wno-unknown-pragmas -Wno-missing-field-initializers
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> $<$<C_COMPILER_ID:Clang>:-Wno-pass-failed>
  $<$<CONFIG:Release>:-O3 -fno-math-errno -fno-trapping-math>)
if(ADZE_SANITIZE)
  target_compile_options(adze_settings INTERFACE -fsanitize=${ADZE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(adze_settings INTERFACE -fsanitize=${ADZE_SANITIZE})
endif()

# A file named *_avx2.c is compiled for AVX2+FMA+F16C and left out elsewhere, *_avx512.c, *_vnni.c, *_vbmi2.c, *_bitalg.c and *_amx.c for what comes after; *_neon.c for
# aarch64. Which one runs is decided at start.
function(adze_select_kernels list_name)
  set(sources ${${list_name}})
  set(avx2 -mavx2 -mfma -mf16c -ffp-contract=fast)
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  set(vnni ${avx512} -mavx512vnni)
  set(vbmi2 ${avx512} -mavx512vbmi2)
  set(bitalg ${avx512} -mavx512bitalg)
  set(amx ${avx512} -mavx512bf16 -mamx-tile -mamx-bf16)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER sources EXCLUDE REGEX "_neon\\.c$")
    foreach(file IN LISTS sources)
      if(file MATCHES "_(avx2|avx512|vnni|vbmi2|bitalg|amx)\\.c$")
        set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${${CMAKE_MATCH_1}}")
      endif()
    endforeach()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    list(FILTER sources EXCLUDE REGEX "_(avx2|avx512|vnni|vbmi2|bitalg|amx)\\.c$")
    foreach(file IN LISTS sources)
      if(file MATCHES "_neon\\.c$")
        set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "-ffp-contract=fast")
      endif()
    endforeach()
  else()
    list(FILTER sources EXCLUDE REGEX "_(avx2|avx512|vnni|vbmi2|bitalg|amx|neon)\\.c$")
  endif()
  set(${list_name} ${sources} PARENT_SCOPE)
endfunction()
