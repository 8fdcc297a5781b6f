// What changes while a node runs: the configuration at a SIGHUP, certificate and key files by themselves.
#include <unistd.h>

#include "base/log.h"
#include "config/load.h"
#include "net/tls.h"
#include "server/auth_keys.h"
#include "server/certificate.h"
#include "server/layer_options.h"
#include "server/node.h"

namespace dunlin {
namespace {

constexpr std::chrono::hours kCertificateLook{24};

std::vector<std::string> certificate_files(const Config& config) {
  if (!config.tls.enabled()) return {};
  return {config.tls.certificate_file, config.tls.key_file};
}

std::vector<std::string> key_files(const Config& config) {
  std::vector<std::string> files;
  for (const AuthKeyConfig& key : config.auth.keys) {
    for (const std::string& file : {key.secret_file, key.public_key_file, key.private_key_file}) {
      if (!file.empty()) files.push_back(file);
    }
  }
  return files;
}

}  // namespace

void Node::watch_files() {
  certificate_files_ = WatchedFiles(certificate_files(config_));
  key_files_ = WatchedFiles(key_files(config_));
}

Status Node::use_certificate(const Config& config) {
  TRY_ASSIGN(auto certificate, load_certificate(config));
  if (certificate == nullptr) return {};
  certificate_end_ = certificate->expires();
  metrics_.tls_certificate_end_seconds.set(std::chrono::duration_cast<std::chrono::seconds>(certificate_end_.time_since_epoch()).count());
  net_->use_certificate(std::move(certificate));
  look_at_certificate(config.tls.certificate_file);
  return {};
}

void Node::look_at_certificate(const std::string& file) {
  const WallTime now = clock_.wall();
  certificate_looked_ = now;
  const std::string warning = certificate_warning(certificate_end_, now);
  if (!warning.empty()) log_warn("server", warning, {{"file", file}});
}

void Node::take_changed_files() {
  if (certificate_end_ != WallTime::max() && std::chrono::abs(clock_.wall() - certificate_looked_) >= kCertificateLook)
    look_at_certificate(config_.tls.certificate_file);
  if (certificate_files_.changed()) {
    taken("certificate", certificate_files_, use_certificate(config_));
  }
  if (!key_files_.changed()) return;
  auto keys = load_key_set(config_);
  if (!keys.ok()) return taken("auth keys", key_files_, std::move(keys).error());
  authenticator_->replace(*std::move(keys), auth_options(config_));
  taken("auth keys", key_files_, {});
}

// What cannot be used is tried again at every look, but said once.
void Node::taken(std::string_view what, WatchedFiles& files, const Status& status) {
  if (status.ok()) {
    files.accepted();
    files_error_.clear();
    metrics_.config_reloads_total.add();
    log_info("server", "changed files are in use", {{"what", what}});
    return;
  }
  if (files_error_ == status.error().context()) return;
  files_error_ = status.error().context();
  metrics_.config_reload_failures_total.add();
  log_error("server", "changed files cannot be used, what was loaded before stays", {{"what", what}, {"error", files_error_}});
}

Status Node::reload(const Config& changed) {
  // The rest of the file waits for a restart: nothing below may see it.
  Config config = config_;
  config.auth = changed.auth;
  config.limits = changed.limits;
  config.debug = changed.debug;
  config.log_level = changed.log_level;
  config.origins = changed.origins;
  if (config_.tls.enabled() && changed.tls.enabled()) config.tls = changed.tls;
  // Looked at before they are read, so that no change falls in between.
  WatchedFiles certificate(certificate_files(config));
  WatchedFiles key_material(key_files(config));
  TRY_ASSIGN(auto keys, load_key_set(config));
  TRY_ASSIGN(AdmissionOptions admission, admission_options(config));
  TRY(use_certificate(config));
  authenticator_->replace(std::move(keys), auth_options(config));
  net_->set_admission(std::move(admission));
  set_log_level(log_level(config));
  const auto options = std::make_shared<const SessionOptions>(session_options(config));
  for (const auto& host : hosts_) {
    host->set_options(options);
    host->set_faults({.drop_pushes = config.debug.drop_pushes});
  }
  for (const std::string& option : unsafe_options(config_)) metrics_.set_config_unsafe(option, false);
  for (const std::string& option : unsafe_options(config)) metrics_.set_config_unsafe(option, true);
  dispatcher_->drop_hints(config.debug.drop_hints);
  faults_.apply(config.debug);
  if (config.debug.worker_stall_ms > 0) stall_workers(Milliseconds(config.debug.worker_stall_ms));
  config_ = std::move(config);
  certificate_files_ = std::move(certificate);
  key_files_ = std::move(key_material);
  return {};
}

void Node::stall_workers(Milliseconds by) {
  for (const auto& worker : workers_) {
    const bool posted = worker->post([by] { usleep(static_cast<useconds_t>(by.count()) * 1000); });
    if (!posted) log_warn("server", "a worker takes no jobs", {{"worker", worker->index()}});
  }
}

}  // namespace dunlin
