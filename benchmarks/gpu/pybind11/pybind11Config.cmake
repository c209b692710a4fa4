# pybind11 from the headers that torch carries, for machines without the package: run.sh points pybind11_DIR here.
if(NOT IS_DIRECTORY "${HNSCORE_PYBIND11_INCLUDE}/pybind11")
  message(FATAL_ERROR "HNSCORE_PYBIND11_INCLUDE must be a folder with pybind11/, got \"${HNSCORE_PYBIND11_INCLUDE}\"")
endif()
function(pybind11_add_module name)
  list(REMOVE_ITEM ARGN MODULE NO_EXTRAS)
  Python_add_library(${name} MODULE WITH_SOABI ${ARGN})
  target_include_directories(${name} SYSTEM PRIVATE "${HNSCORE_PYBIND11_INCLUDE}")
endfunction()
