#include "server/certificate.h"

#include <fmt/format.h>

#include "config/load.h"
#include "net/tls.h"

namespace dunlin {

Result<std::shared_ptr<TlsContext>> load_certificate(const Config& config) {
  const TlsConfig& tls = config.tls;
  if (!tls.enabled()) return std::shared_ptr<TlsContext>();
  auto context = TlsContext::load(tls.certificate_file, tls.key_file);
  if (context.ok()) return context;
  const std::string& why = context.error().context();  // begins with the file that is wrong
  const bool key_is_wrong = tls.key_file != tls.certificate_file && why.starts_with(tls.key_file + ": ");
  return config_error(config, key_is_wrong ? "tls.key-file" : "tls.certificate-file", why);
}

std::string certificate_warning(WallTime end, WallTime now) {
  using std::chrono::hours;
  if (end - now > kCertificateWarning) return {};
  if (end <= now) return "the certificate has expired: clients that check it do not connect";
  const auto left = std::chrono::duration_cast<hours>(end - now).count();
  return left >= 48 ? fmt::format("the certificate expires in {} days", left / 24)
                    : fmt::format("the certificate expires in {} hours", left);
}

}  // namespace dunlin
