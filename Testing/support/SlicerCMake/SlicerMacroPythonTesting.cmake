# slicer_add_python_unittest(SCRIPT file.py [TESTNAME_PREFIX prefix] [SLICER_ARGS argument...])
#
# Registers what Slicer would run; there is no Slicer here to run it with. The script is looked for
# in the current source and build folders, so the macro is called from the script's own folder.

macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  get_filename_component(_test_name "${MY_SCRIPT}" NAME_WE)
  set(_folders "['${CMAKE_CURRENT_BINARY_DIR}', '${CMAKE_CURRENT_SOURCE_DIR}']")
  add_test(
    NAME py_${MY_TESTNAME_PREFIX}${_test_name}
    COMMAND "${Slicer_LAUNCHER_EXECUTABLE}" --no-splash --ignore-slicerrc ${MY_SLICER_ARGS}
      --python-code
      "import slicer.testing; slicer.testing.runUnitTest(${_folders}, '${_test_name}')")
endmacro()
