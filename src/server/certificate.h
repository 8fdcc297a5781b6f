#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"

namespace dunlin {

class TlsContext;

// The pair that `tls.certificate-file` and `tls.key-file` name, loaded; null without TLS. Config error that names the option whose file is
// wrong, and where it stands.
Result<std::shared_ptr<TlsContext>> load_certificate(const Config& config);

// What an operator should be told of a certificate that ends at `end`: nothing until kCertificateWarning before it.
inline constexpr std::chrono::hours kCertificateWarning{14 * 24};
std::string certificate_warning(WallTime end, WallTime now);

}  // namespace dunlin
