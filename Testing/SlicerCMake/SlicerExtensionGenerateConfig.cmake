# Writes <Extension>Config.cmake into the build folder, for other extensions that build upon this one.

file(WRITE "${EXTENSION_SUPERBUILD_BINARY_DIR}/${EXTENSION_NAME}Config.cmake"
  "set(${EXTENSION_NAME}_SOURCE_DIR \"${CMAKE_SOURCE_DIR}\")\n")
