#include "wire/request_check.h"

#include "wire/field_checks.h"
#include "wire/packet_checks.h"

namespace dunlin::wire {
namespace {

template <class T>
std::optional<Error> check_one(T& command, bool has_id, const DecoderLimits& limits) {
  if constexpr (requires { T::kAlwaysAnswered; }) {
    if (!has_id) return bad("id", "is missing: " + std::string(T::kName) + " is always answered");
  }
  return check(command, limits);
}

std::optional<Error> check_one(MalformedRequest&, bool, const DecoderLimits&) {
  return std::nullopt;
}

}  // namespace

std::optional<Error> check_request(Request& request, const DecoderLimits& limits) {
  return std::visit([&](auto& each) { return check_one(each, request.id.has_value(), limits); }, request.command);
}

}  // namespace dunlin::wire
