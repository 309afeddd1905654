# The templates of share/templates become part of the library: templates.c holds the bytes of each under its name.
file(GLOB template_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/share/templates/*.txt)
set(texts "")
set(table "")
foreach(path IN LISTS template_files)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  get_filename_component(name ${path} NAME_WE)
  string(MAKE_C_IDENTIFIER ${name} identifier)
  file(READ ${path} bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(APPEND texts "static const unsigned char ${identifier}[] = {${bytes}0};\n")
  string(APPEND table "    {\"${name}\", (const char *)${identifier}},\n")
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/templates.c CONTENT
"/* templates.c - made from share/templates by cmake/templates.cmake. */
#include \"lm/backend/template_names.h\"

${texts}
const az_builtin_template az_builtin_templates[] = {
${table}    {0},
};
" @ONLY)
