# Every third-party library, found once; docs/decisions/ has the reason for each. Layers name these targets in cmake/layers.cmake.
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(Protobuf REQUIRED)  # protoc for tools/packets; its library is for tests only
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(simdjson REQUIRED)
find_package(CLI11 REQUIRED)
find_package(GTest REQUIRED)

find_path(ROCKSDB_INCLUDE rocksdb/db.h REQUIRED)
find_library(ROCKSDB_LIBRARY NAMES rocksdb REQUIRED)
add_library(dunlin_rocksdb INTERFACE)
target_link_libraries(dunlin_rocksdb INTERFACE ${ROCKSDB_LIBRARY})
target_include_directories(dunlin_rocksdb INTERFACE ${ROCKSDB_INCLUDE})

# Asio headers cost seconds a unit: its implementation is compiled once (runtime/asio_impl.cc), all other units see declarations.
add_library(dunlin_asio INTERFACE)
target_compile_definitions(dunlin_asio INTERFACE BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
target_link_libraries(dunlin_asio INTERFACE Boost::headers Threads::Threads)

# tools/packets needs Python with Protobuf. Debian's is asked first: another one in the path often lacks the module.
foreach(candidate /usr/bin/python3 python3)
  execute_process(COMMAND ${candidate} -c "import google.protobuf" RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(failed EQUAL 0)
    set(DUNLIN_PYTHON ${candidate})
    break()
  endif()
endforeach()
if(NOT DUNLIN_PYTHON)
  message(FATAL_ERROR "no Python with Protobuf: install python3 and python3-protobuf")
endif()
