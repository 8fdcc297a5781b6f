#pragma once

#include <string>
#include <string_view>

namespace dunlin::bench {

// A JWT for `user`, signed HS256 with `secret`, valid for six hours: what an application's backend would issue. The benchmark makes its
// own, so that the server's code is checked against another implementation.
std::string mint_token(std::string_view secret, std::string_view key_id, std::string_view user);

}  // namespace dunlin::bench
