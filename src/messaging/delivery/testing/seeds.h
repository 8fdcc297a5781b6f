#pragma once

#include <cstdint>
#include <cstdlib>

namespace dunlin {

// Which seeds a simulation runs: DUNLIN_SIMULATION_SEED one again, DUNLIN_SIMULATION_SEEDS so many.
struct Seeds {
  explicit Seeds(std::uint64_t usual)
      : one(number_from("DUNLIN_SIMULATION_SEED", 0)),
        first(one != 0 ? one : 1),
        count(one != 0 ? 1 : number_from("DUNLIN_SIMULATION_SEEDS", usual)) {}

  const std::uint64_t one;
  const std::uint64_t first;
  const std::uint64_t count;

 private:
  static std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
  }
};

}  // namespace dunlin
