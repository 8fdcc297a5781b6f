#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "client/url.h"

// Any text is refused with an error that says why, or gives a host and a port that stand in a header without breaking it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin;
  const auto url = client::Url::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!url.ok()) {
    CHECK(!url.error().context().empty());
    return 0;
  }
  CHECK(!url->host.empty() && url->port != 0);
  CHECK(url->transport == client::Url::Transport::Tcp || url->target.starts_with('/'));
  for (const std::string& text : {url->authority(), url->target})
    CHECK(text.find_first_of(std::string_view("\r\n \0", 4)) == std::string::npos);
  return 0;
}
