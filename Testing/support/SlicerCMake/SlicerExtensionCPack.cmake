# Describes the extension (<Extension>.s4ext, which the Extensions Manager reads out of the package)
# and sets up the package: .tar.gz for Linux and macOS, .zip for Windows, all below one folder of the
# package's name.

foreach(required EXTENSION_NAME Slicer_REVISION Slicer_OS Slicer_ARCHITECTURE)
  if("${${required}}" STREQUAL "")
    message(FATAL_ERROR "error: ${required} is either NOT defined or empty.")
  endif()
endforeach()
if(NOT EXTENSION_NAME STREQUAL PROJECT_NAME)
  message(FATAL_ERROR "EXTENSION_NAME '${EXTENSION_NAME}' is not the project's name.")
endif()

foreach(required README.md LICENSE)
  if(NOT EXISTS "${CMAKE_SOURCE_DIR}/${required}")
    message(FATAL_ERROR "error: there is no ${required} beside the extension's CMakeLists.txt.")
  endif()
endforeach()

function(_git result default)
  find_program(GIT_EXECUTABLE git)
  set(output "")
  if(GIT_EXECUTABLE)
    execute_process(
      COMMAND "${GIT_EXECUTABLE}" ${ARGN} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}"
      OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(output STREQUAL "")
    set(output "${default}")
  endif()
  set(${result} "${output}" PARENT_SCOPE)
endfunction()

_git(_revision "NA" rev-parse --short=7 HEAD)
_git(_date "NA" log -1 --format=%cs)
_git(_url "NA" remote get-url origin)

set(_description "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext")
file(WRITE "${_description}"
"scm git
scmurl ${_url}
scmrevision ${_revision}
depends ${EXTENSION_DEPENDS}
build_subdirectory ${EXTENSION_BUILD_SUBDIRECTORY}
homepage ${EXTENSION_HOMEPAGE}
contributors ${EXTENSION_CONTRIBUTORS}
category ${EXTENSION_CATEGORY}
iconurl ${EXTENSION_ICONURL}
status ${EXTENSION_STATUS}
tier ${EXTENSION_TIER}
description ${EXTENSION_DESCRIPTION}
screenshoturls ${EXTENSION_SCREENSHOTURLS}
enabled ${EXTENSION_ENABLED}
")
install(FILES "${_description}"
  DESTINATION "${Slicer_INSTALL_EXTENSION_DIR}${Slicer_SHARE_DIR}" COMPONENT RuntimeLibraries)

set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${EXTENSION_DESCRIPTION}")
set(CPACK_MONOLITHIC_INSTALL ON)
set(CPACK_GENERATOR "TGZ")
if(Slicer_OS STREQUAL "win")
  set(CPACK_GENERATOR "ZIP")
endif()
string(CONCAT CPACK_PACKAGE_FILE_NAME
  "${Slicer_REVISION}-${Slicer_OS}-${Slicer_ARCHITECTURE}-${EXTENSION_NAME}"
  "-git${_revision}-${_date}")
include(CPack)
