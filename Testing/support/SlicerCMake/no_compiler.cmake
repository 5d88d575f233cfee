# A toolchain without a compiler: project() wants one, scripted modules do not. Nor does CMake look for
# this system's compilers then, so that it works the same on every system.

set(CMAKE_SYSTEM_NAME Generic)
foreach(language C CXX)
  set(CMAKE_${language}_COMPILER "${CMAKE_COMMAND}")
  set(CMAKE_${language}_COMPILER_FORCED TRUE)
endforeach()
