#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "wire/json_fields.h"
#include "wire/json_writer.h"
#include "wire/request_memory.h"

// A body in JSON: `body` holds its text verbatim if its content type is JSON, else `body_base64` its bytes.
namespace dunlin::wire {

// What base64 gives of a server's packet; a deque, so that views into short strings stay.
using DecodedBodies = std::deque<std::string>;

// In a request exactly one of the two may be there, and only the one that the content type asks for.
void read_body(const JsonFields& in, RequestMemory& memory, std::string_view content_type, std::string_view& body);
// A server is believed.
void read_body(const JsonFields& in, DecodedBodies& memory, std::string_view content_type, std::string_view& body);

void write_body(JsonWriter& w, std::string_view body, std::string_view content_type);

// The field with its name and comma.
std::size_t body_bytes_at_most(std::string_view body, std::string_view content_type);

}  // namespace dunlin::wire
