#include <cstdlib>
#include <string>

#include "codec/proxy_header.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace dunlin;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  ProxyHeader header;
  const ProxyParse parse = parse_proxy_header(bytes, header);
  if (parse.consumed > bytes.size()) std::abort();
  if (parse.type == ProxyParse::Type::NeedMore && bytes.size() >= kMaxProxyHeaderBytes + 16) std::abort();
  return 0;
}
