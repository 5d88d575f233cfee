# What include(${Slicer_USE_FILE}) gives an extension: its name, where it is installed, the defaults
# of what it says about itself, and the macros.

if(NOT DEFINED EXTENSION_NAME)
  set(EXTENSION_NAME "${PROJECT_NAME}")
endif()

# On macOS an extension lies inside the application's bundle.
set(Slicer_BUNDLE_EXTENSIONS_LOCATION "")
if(Slicer_OS STREQUAL "macosx")
  set(Slicer_BUNDLE_EXTENSIONS_LOCATION "Extensions-${Slicer_REVISION}/${EXTENSION_NAME}/")
endif()
set(Slicer_INSTALL_EXTENSION_DIR "${Slicer_INSTALL_ROOT}${Slicer_BUNDLE_EXTENSIONS_LOCATION}")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR
  "${Slicer_INSTALL_EXTENSION_DIR}${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")

set(EXTENSION_SUPERBUILD_BINARY_DIR "${CMAKE_BINARY_DIR}")
foreach(name_and_default
    BUILD_SUBDIRECTORY=. CATEGORY= CONTRIBUTORS= DEPENDS=NA DESCRIPTION= ENABLED=1 HOMEPAGE=
    ICONURL= SCREENSHOTURLS= STATUS= TIER=1)
  string(REGEX MATCH "^([A-Z_]+)=(.*)$" _ "${name_and_default}")
  if("${EXTENSION_${CMAKE_MATCH_1}}" STREQUAL "")
    set(EXTENSION_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
  endif()
endforeach()

include(CTest)  # BUILD_TESTING is on unless it is switched off
include(SlicerMacroPythonTesting)
include(SlicerMacroBuildScriptedModule)
