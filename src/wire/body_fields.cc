#include "wire/body_fields.h"

#include <utility>

#include "wire/base64.h"
#include "wire/json_text.h"
#include "wire/json_values.h"

namespace dunlin::wire {

void read_body(const JsonFields& in, RequestMemory& memory, std::string_view content_type, std::string_view& body) {
  const JsonNode* verbatim = in.find("body");
  std::string_view text;
  in.read("body_base64", text);
  if (verbatim != nullptr && !text.empty()) return in.fail("body", "and body_base64 exclude each other");
  if (verbatim != nullptr) {
    if (!is_json_content_type(content_type)) return in.fail("body_base64", "is the field for a body of this content_type");
    body = verbatim->text;
  } else if (!text.empty()) {
    if (is_json_content_type(content_type)) return in.fail("content_type", "must name what body_base64 holds, and not JSON");
    memory.bytes.clear();
    if (!decode_base64(memory.bytes, text)) return in.fail("body_base64", "is not base64 with padding");
    body = memory.bytes;
  }
}

void read_body(const JsonFields& in, DecodedBodies& memory, std::string_view, std::string_view& body) {
  if (const JsonNode* verbatim = in.find("body")) {
    body = verbatim->text;
    return;
  }
  std::string_view text;
  in.read("body_base64", text);
  std::string decoded;
  if (!decode_base64(decoded, text)) return in.fail("body_base64", "is not base64");
  memory.push_back(std::move(decoded));
  body = memory.back();
}

void write_body(JsonWriter& w, std::string_view body, std::string_view content_type) {
  if (is_json_content_type(content_type)) return w.raw_field("body", body);
  std::string text;
  append_base64(text, body);
  w.field("body_base64", text);
}

std::size_t body_bytes_at_most(std::string_view body, std::string_view content_type) {
  return json_key_bytes("body_base64") + (is_json_content_type(content_type) ? body.size() : base64_size(body.size()) + 2);
}

}  // namespace dunlin::wire
