# find_package(ZooDetector): lies beside the library and its headers, and finds them there.
if(NOT TARGET ZooDetector::zoo_detector)
  add_library(ZooDetector::zoo_detector SHARED IMPORTED)
  set_target_properties(
    ZooDetector::zoo_detector
    PROPERTIES IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/libzoo_detector.so"
               IMPORTED_SONAME "libzoo_detector.so"
               INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}")
endif()
