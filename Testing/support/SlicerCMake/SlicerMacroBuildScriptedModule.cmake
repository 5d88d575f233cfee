# slicerMacroBuildScriptedModule(NAME name SCRIPTS file... [RESOURCES file...]
#                                [WITH_GENERIC_TESTS] [WITH_SUBDIR] [VERBOSE])
#
# As the original with CTK's ctkMacroCompilePythonScript below it:
# - a name that is not there, an unknown keyword or a missing NAME ends the configuration;
# - a script without an ending is a .py; files are copied to where their relative path leads from
#   <build>/lib/Slicer-X.Y/qt-scripted-modules, so "../x" is built, but beside that folder;
# - an absolute path is not understood: a script lands where it lies seen from the build folder, a
#   resource below its own absolute path;
# - the whole folder qt-scripted-modules is installed, and nothing that is not in it.
# The byte-code that the original adds is left out: it belongs to one version of Python.

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY_SLICER
    "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_SLICER_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR
      "slicerMacroBuildScriptedModule: unknown keywords \"${MY_SLICER_UNPARSED_ARGUMENTS}\"")
  endif()
  if(NOT DEFINED MY_SLICER_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is mandatory")
  endif()

  set(_subdir "")
  if(MY_SLICER_WITH_SUBDIR)
    get_filename_component(_subdir "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    set(_subdir "/${_subdir}")
  endif()
  set(_built "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}${_subdir}")

  set(_copies)
  foreach(_kind SCRIPTS RESOURCES)
    foreach(_file IN LISTS MY_SLICER_${_kind})
      set(_source "${_file}")
      if(NOT IS_ABSOLUTE "${_file}")
        set(_source "${CMAKE_CURRENT_SOURCE_DIR}/${_file}")
      endif()
      if(_kind STREQUAL "SCRIPTS" AND NOT _source MATCHES "\\.py$")
        set(_source "${_source}.py")
        set(_file "${_file}.py")
      endif()
      if(NOT EXISTS "${_source}")
        message(FATAL_ERROR
          "slicerMacroBuildScriptedModule(${_kind}) given nonexistent file or directory '${_file}'")
      endif()
      if(_kind STREQUAL "SCRIPTS" AND IS_ABSOLUTE "${_file}")
        file(RELATIVE_PATH _file "${CMAKE_CURRENT_BINARY_DIR}" "${_file}")
      endif()
      add_custom_command(
        OUTPUT "${_built}/${_file}" DEPENDS "${_source}"
        COMMAND "${CMAKE_COMMAND}" -E copy "${_source}" "${_built}/${_file}")
      list(APPEND _copies "${_built}/${_file}")
    endforeach()
  endforeach()
  add_custom_target(Copy${MY_SLICER_NAME}PythonFiles ALL DEPENDS ${_copies})

  # Without the slash at its end the folder itself would be installed, not what is in it.
  set(_slash "/")
  if(MY_SLICER_WITH_SUBDIR)
    set(_slash "")
  endif()
  install(DIRECTORY "${_built}${_slash}"
    DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    COMPONENT RuntimeLibraries USE_SOURCE_PERMISSIONS)

  if(BUILD_TESTING AND MY_SLICER_WITH_GENERIC_TESTS)
    slicer_add_python_unittest(
      SCRIPT qSlicer${MY_SLICER_NAME}ModuleGenericTest.py TESTNAME_PREFIX nomainwindow_)
  endif()
endmacro()
