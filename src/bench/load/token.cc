#include "bench/load/token.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <ctime>

namespace dunlin::bench {
namespace {

std::string base64url(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  std::uint32_t bits = 0;
  int have = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    have += 8;
    while (have >= 6) {
      have -= 6;
      out += kAlphabet[bits >> have & 63U];
    }
  }
  if (have > 0) out += kAlphabet[bits << (6 - have) & 63U];
  return out;
}

}  // namespace

std::string mint_token(std::string_view secret, std::string_view key_id, std::string_view user) {
  const auto now = static_cast<long long>(std::time(nullptr));
  std::string token = base64url(fmt::format(R"({{"alg":"HS256","typ":"JWT","kid":"{}"}})", key_id)) + "." +
                      base64url(fmt::format(R"({{"sub":"{}","iat":{},"exp":{}}})", user, now, now + 6 * 3600));
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac;
  unsigned size = 0;
  ::HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         mac.data(), &size);
  return token + "." + base64url(std::string_view(reinterpret_cast<const char*>(mac.data()), size));
}

}  // namespace dunlin::bench
