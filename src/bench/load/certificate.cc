#include "bench/load/certificate.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

namespace dunlin::bench {
namespace {

constexpr long kDay = 24L * 3600;

using Key = std::unique_ptr<EVP_PKEY, decltype([](EVP_PKEY* key) { EVP_PKEY_free(key); })>;
using Certificate = std::unique_ptr<X509, decltype([](X509* certificate) { X509_free(certificate); })>;
using File = std::unique_ptr<std::FILE, decltype([](std::FILE* file) { std::fclose(file); })>;

File create(const std::string& path) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  return File(fd < 0 ? nullptr : ::fdopen(fd, "w"));
}

// Null when OpenSSL refuses anything.
Certificate self_signed(EVP_PKEY* key) {
  Certificate made(X509_new());
  if (!made) return nullptr;
  X509_NAME* const name = X509_get_subject_name(made.get());
  const auto* const host = reinterpret_cast<const unsigned char*>("127.0.0.1");
  const bool ok = X509_set_version(made.get(), 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1) == 1 &&
                  X509_gmtime_adj(X509_getm_notBefore(made.get()), -kDay) != nullptr &&
                  X509_gmtime_adj(X509_getm_notAfter(made.get()), kDay) != nullptr && X509_set_pubkey(made.get(), key) == 1 &&
                  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, host, -1, -1, 0) == 1 &&
                  X509_set_issuer_name(made.get(), name) == 1 && X509_sign(made.get(), key, EVP_sha256()) != 0;
  return ok ? std::move(made) : nullptr;
}

}  // namespace

Status write_self_signed(const std::string& certificate_path, const std::string& key_path) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate = key ? self_signed(key.get()) : nullptr;
  if (!certificate) return Error(ErrorCode::Internal, "a certificate could not be made");
  const File certificate_file = create(certificate_path);
  const File key_file = create(key_path);
  if (!certificate_file || !key_file || PEM_write_X509(certificate_file.get(), certificate.get()) != 1 ||
      PEM_write_PrivateKey(key_file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Error(ErrorCode::Io, "a certificate could not be written to " + certificate_path);
  }
  return {};
}

}  // namespace dunlin::bench
