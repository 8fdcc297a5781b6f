#include <cstdlib>
#include <string>

#include "codec/http_upgrade.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace dunlin;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  static const std::vector<std::string> ours{"dunlin.v1.json", "dunlin.v1.protobuf"};
  static const std::vector<std::string> origins{"https://a.example"};
  HttpRequest request;
  const HttpParse parse = parse_http_request(bytes, request);
  if (parse.consumed > bytes.size()) std::abort();
  if (parse.type == HttpParse::Type::Complete) judge_upgrade(request, {.path = "/im", .subprotocols = &ours, .allowed_origins = &origins});
  if (parse_upgrade_answer(bytes, "dGhlIHNhbXBsZSBub25jZQ==").consumed > bytes.size()) std::abort();
  return 0;
}
