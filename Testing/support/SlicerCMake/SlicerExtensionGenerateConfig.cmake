# Writes <Extension>Config.cmake into the build folder, for other extensions that build upon this one.

file(WRITE "${EXTENSION_SUPERBUILD_BINARY_DIR}/${EXTENSION_NAME}Config.cmake"
  "set(${EXTENSION_NAME}_SOURCE_DIR \"${CMAKE_SOURCE_DIR}\")\n")

# The original hands these on unquoted: each would end at its first semicolon, without a word.
foreach(name CATEGORY CONTRIBUTORS DESCRIPTION HOMEPAGE)
  list(LENGTH EXTENSION_${name} parts)
  if(parts GREATER 1)
    message(FATAL_ERROR "EXTENSION_${name} must not hold a semicolon: '${EXTENSION_${name}}'")
  endif()
endforeach()
