# A stand-in for the CMake package of 3D Slicer, as far as an extension of scripted modules needs it.
#
# A Slicer build is hours of work and many gigabytes; this configures, builds, installs and packs the
# extension in seconds, with what the originals do to its files: what is copied where, what is
# installed, what is refused. Nothing is compiled, so packages for every system are made on any.
#
#   cmake -S . -B build -G Ninja -DSlicer_DIR=Testing/SlicerCMake
#         --toolchain Testing/SlicerCMake/no_compiler.cmake
#
# STAND_IN_SLICER_*: the Slicer that the package is for.

set(STAND_IN_SLICER_VERSION "5.10" CACHE STRING "Version X.Y")
set(STAND_IN_SLICER_REVISION "34045" CACHE STRING "Revision, as Help, About Slicer shows it")
set(STAND_IN_SLICER_OS "" CACHE STRING "linux, macosx or win; this machine's unless set")
set(STAND_IN_SLICER_ARCHITECTURE "amd64" CACHE STRING "amd64 or arm64")

set(Slicer_REVISION "${STAND_IN_SLICER_REVISION}")
set(Slicer_ARCHITECTURE "${STAND_IN_SLICER_ARCHITECTURE}")
set(Slicer_OS "${STAND_IN_SLICER_OS}")
if(Slicer_OS STREQUAL "")
  if(CMAKE_HOST_WIN32)
    set(Slicer_OS "win")
  elseif(CMAKE_HOST_APPLE)
    set(Slicer_OS "macosx")
  else()
    set(Slicer_OS "linux")
  endif()
endif()
if(NOT Slicer_OS MATCHES "^(linux|macosx|win)$")
  message(FATAL_ERROR "STAND_IN_SLICER_OS must be linux, macosx or win, not '${Slicer_OS}'")
endif()

set(Slicer_USE_PYTHONQT ON)
set(Slicer_MAIN_PROJECT_APPLICATION_NAME "Slicer")
set(Slicer_LAUNCHER_EXECUTABLE "Slicer")
set(Slicer_SHARE_DIR "share/Slicer-${STAND_IN_SLICER_VERSION}")
set(Slicer_QTSCRIPTEDMODULES_SUBDIR "qt-scripted-modules")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR
  "lib/Slicer-${STAND_IN_SLICER_VERSION}/${Slicer_QTSCRIPTEDMODULES_SUBDIR}")
set(Slicer_INSTALL_ROOT "./")
if(Slicer_OS STREQUAL "macosx")
  set(Slicer_INSTALL_ROOT "Slicer.app/Contents/")
endif()

set(Slicer_CMAKE_DIR "${CMAKE_CURRENT_LIST_DIR}")
set(Slicer_USE_FILE "${Slicer_CMAKE_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${Slicer_CMAKE_DIR}/SlicerExtensionGenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${Slicer_CMAKE_DIR}/SlicerExtensionCPack.cmake")
list(PREPEND CMAKE_MODULE_PATH "${Slicer_CMAKE_DIR}")
