#pragma once

#include <optional>

#include "base/error.h"
#include "wire/decoder.h"

namespace dunlin::wire {

// The rules about a request that do not depend on its encoding: required fields, ids, sizes, exactly one target. Also makes
// content_type "application/json" empty. The error names the field as JSON does.
std::optional<Error> check_request(Request& request, const DecoderLimits& limits);

}  // namespace dunlin::wire
