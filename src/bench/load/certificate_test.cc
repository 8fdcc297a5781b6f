#include "bench/load/certificate.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "net/tls.h"

namespace dunlin::bench {
namespace {

TEST(CertificateTest, AServerTakesIt) {
  const std::string folder = testing::TempDir() + "/certificate-" + std::to_string(::getpid());
  std::filesystem::create_directories(folder);
  const Status written = write_self_signed(folder + "/tls.pem", folder + "/tls.key");
  EXPECT_TRUE(written.ok()) << (written.ok() ? "" : written.error().to_string());
  const auto context = TlsContext::load(folder + "/tls.pem", folder + "/tls.key");
  EXPECT_TRUE(context.ok()) << (context.ok() ? "" : context.error().to_string());
  std::filesystem::remove_all(folder);
}

TEST(CertificateTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_FALSE(write_self_signed("/nowhere/tls.pem", "/nowhere/tls.key").ok());
}

}  // namespace
}  // namespace dunlin::bench
