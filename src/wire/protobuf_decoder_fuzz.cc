#include "wire/round_trip_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dunlin::wire::fuzz_round_trip<dunlin::wire::Encoding::Protobuf>(data, size);
  return 0;
}
