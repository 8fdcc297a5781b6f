#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "wire/protobuf_reader.h"

// The packets of an envelope, found by their names or numbers. Those without a number (MalformedRequest) are no packets.
namespace dunlin::wire {

template <class T>
concept Packet = requires { T::kNumber; };

template <class... T>
constexpr bool is_named(const std::variant<T...>*, std::string_view name) {
  const auto matches = []<class Each>(std::string_view wanted, const Each*) {
    if constexpr (Packet<Each>) return Each::kName == wanted;
    return false;
  };
  return (matches(name, static_cast<const T*>(nullptr)) || ...);
}

// True if an envelope has a packet of this name.
template <class Variant>
constexpr bool is_named(std::string_view name) {
  return is_named(static_cast<const Variant*>(nullptr), name);
}

// Makes the packet of this name the variant's and calls read(packet). False: there is none.
template <class... T, class Read>
bool emplace_named(std::variant<T...>& variant, std::string_view name, Read read) {
  const auto try_one = [&]<class Each>(const Each*) {
    if constexpr (Packet<Each>) {
      if (Each::kName != name) return false;
      read(variant.template emplace<Each>());
      return true;
    }
    return false;
  };
  return (try_one(static_cast<const T*>(nullptr)) || ...);
}

// Calls read.operator()<T>() for the packet whose field in a Protobuf envelope has this tag. False: there is none.
template <class... T, class Read>
bool visit_tagged(const std::variant<T...>&, std::uint32_t tag, Read read) {
  const auto try_one = [&]<class Each>(const Each*) {
    if constexpr (Packet<Each>) {
      if (bytes_tag(Each::kNumber) != tag) return false;
      read.template operator()<Each>();
      return true;
    }
    return false;
  };
  return (try_one(static_cast<const T*>(nullptr)) || ...);
}

}  // namespace dunlin::wire
