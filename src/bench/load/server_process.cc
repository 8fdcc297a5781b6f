#include "bench/load/server_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>
#include <vector>

#include "bench/load/certificate.h"
#include "bench/load/ready_line.h"
#include "bench/load/token.h"

namespace dunlin::bench {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;
constexpr auto kStartLimit = std::chrono::seconds(60);
constexpr auto kStopLimit = std::chrono::seconds(20);

std::string random_secret() {
  std::array<unsigned char, 32> bytes{};
  CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  std::string hex;
  for (const unsigned char byte : bytes) hex += fmt::format("{:02x}", byte);
  return hex;
}

Status write_file(const std::string& path, std::string_view content) {
  Fd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error("opening " + path, errno);
  if (::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return errno_error("writing " + path, errno);
  return {};
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string config_text(const ServerSettings& settings) {
  return fmt::format(
      "websocket: {{listen: 127.0.0.1, port: 0}}\n"
      "tcpsocket: {{listen: 127.0.0.1, port: 0}}\n"
      "admin: {{listen: \"127.0.0.1:0\"}}\n"
      "auth: {{keys: [{{id: main, alg: HS256, secret-file: key}}]}}\n"
      "store: {{engine: embedded, path: ./data, durability: fsync}}\n"
      "net: {{write-queue-bytes: {}}}\n"
      "limits: {{user: {{mode: \"off\"}}}}\n"
      "shutdown: {{ready-delay-ms: 0}}\n"
      "{}",
      settings.write_queue_bytes, settings.tls ? "tls: {certificate-file: tls.pem, key-file: tls.key}\n" : "");
}

// The environment without settings that are meant for another server.
std::vector<char*> plain_environment() {
  std::vector<char*> plain;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("DUNLIN_")) plain.push_back(*entry);
  }
  plain.push_back(nullptr);
  return plain;
}

// "ws=127.0.0.1:1234" in the ready line.
Result<std::uint16_t> port_in(std::string_view line, std::string_view key) {
  const std::size_t at = line.find(key);
  if (at == std::string_view::npos) return Error(ErrorCode::Config, fmt::format("no {} in: {}", key, line));
  std::string_view value = line.substr(at + key.size());
  value = value.substr(0, value.find_first_of(" \n"));
  const std::size_t colon = value.rfind(':');
  std::uint16_t port = 0;
  if (colon != std::string_view::npos) std::from_chars(value.data() + colon + 1, value.data() + value.size(), port);
  if (port == 0) return Error(ErrorCode::Config, fmt::format("no port in: {}", line));
  return port;
}

}  // namespace

Result<ServerProcess> ServerProcess::start(const BenchOptions& options, ServerSettings settings) {
  raise_descriptor_limit();
  ServerProcess server;
  if (!options.url.empty()) {
    TRY(server.use_url(options));
    return server;
  }
  TRY(server.prepare_folder(settings));
  TRY(server.launch());
  return server;
}

ServerProcess::ServerProcess(ServerProcess&& other) noexcept
    : folder_(std::move(other.folder_)),
      pid_(std::exchange(other.pid_, 0)),
      owned_(std::exchange(other.owned_, false)),
      target_(other.target_),
      path_(std::move(other.path_)),
      secret_(std::move(other.secret_)) {}

std::string ServerProcess::token(std::string_view user) const {
  return mint_token(secret_, "main", user);
}

Status ServerProcess::use_url(const BenchOptions& options) {
  std::string_view rest = options.url;
  if (!rest.starts_with("ws://")) return Error(ErrorCode::Config, "--url must begin with ws://");
  rest.remove_prefix(5);
  const std::size_t slash = rest.find('/');
  const std::string_view host_port = rest.substr(0, slash);
  if (slash != std::string_view::npos) path_ = rest.substr(slash);
  const std::size_t colon = host_port.rfind(':');
  std::uint16_t port = 8080;
  if (colon != std::string_view::npos) std::from_chars(host_port.data() + colon + 1, host_port.data() + host_port.size(), port);
  TRY_ASSIGN(target_, resolve_ipv4(std::string(host_port.substr(0, colon)), port));
  if (options.token_key_file.empty()) return Error(ErrorCode::Config, "--url needs --token-key FILE, the server's HS256 secret");
  secret_ = read_file(options.token_key_file);
  while (!secret_.empty() && (secret_.back() == '\n' || secret_.back() == '\r')) secret_.pop_back();
  if (secret_.empty()) return Error(ErrorCode::Config, "cannot read a secret from " + options.token_key_file);
  pid_ = static_cast<pid_t>(options.server_pid);
  return {};
}

Status ServerProcess::prepare_folder(const ServerSettings& settings) {
  TRY_ASSIGN(folder_, ScratchFolder::create());
  secret_ = random_secret();
  TRY(write_file(folder_->file("key"), secret_));
  if (settings.tls) TRY(write_self_signed(folder_->file("tls.pem"), folder_->file("tls.key")));
  TRY(write_file(folder_->file("dunlin.yaml"), config_text(settings)));
  return {};
}

Status ServerProcess::launch() {
  const std::string config = folder_->file("dunlin.yaml");
  Fd log(::open(folder_->file("server.log").c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
  int pipe_fds[2];
  if (!log.valid() || ::pipe2(pipe_fds, O_CLOEXEC) != 0) return errno_error("preparing the server's output", errno);
  Fd read_end(pipe_fds[0]);
  Fd write_end(pipe_fds[1]);

  std::vector<char*> environment = plain_environment();
  const char* arguments[] = {"dunlin", "serve", "--config", config.c_str(), nullptr};
  pid_ = ::fork();
  if (pid_ < 0) return errno_error("fork", errno);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::dup2(log.get(), STDERR_FILENO);
    ::execve("/proc/self/exe", const_cast<char* const*>(arguments), environment.data());
    ::_exit(127);
  }
  owned_ = true;
  write_end.reset();
  return await_ready(read_end.get());
}

Status ServerProcess::await_ready(int stdout_fd) {
  const auto text = read_line(stdout_fd, kStartLimit);
  if (!text.ok()) return Error(text.error().code(), "the server did not get ready: " + text.error().context() + "\n" + log_tail());
  TRY_ASSIGN(const std::uint16_t port, port_in(*text, "ws="));
  TRY_ASSIGN(target_, resolve_ipv4("127.0.0.1", port));
  return {};
}

double ServerProcess::cpu_seconds() const {
  if (pid_ <= 0) return 0;
  const std::string stat = read_file(fmt::format("/proc/{}/stat", pid_));
  const std::size_t behind_name = stat.rfind(')');
  if (behind_name == std::string::npos) return 0;
  std::istringstream fields(stat.substr(behind_name + 1));
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;  // utime is field 14 of proc(5), state is field 3
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

std::uint64_t ServerProcess::memory_bytes() const {
  if (pid_ <= 0) return 0;
  std::istringstream lines(read_file(fmt::format("/proc/{}/smaps_rollup", pid_)));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("Pss:")) continue;
    std::uint64_t kilobytes = 0;
    std::istringstream(line.substr(4)) >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

std::uint64_t ServerProcess::resident_bytes() const {
  if (pid_ <= 0) return 0;
  std::istringstream pages(read_file(fmt::format("/proc/{}/statm", pid_)));  // size, then resident
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  pages >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t ServerProcess::descriptors() const {
  if (pid_ <= 0) return 0;
  std::uint64_t count = 0;
  std::error_code failed;
  for (fs::directory_iterator entry(fmt::format("/proc/{}/fd", pid_), failed), end; !failed && entry != end; entry.increment(failed))
    ++count;
  return count;
}

std::uint64_t ServerProcess::data_bytes() const {
  if (!folder_) return 0;
  std::uint64_t bytes = 0;
  std::error_code failed;
  for (fs::recursive_directory_iterator entry(folder_->file("data"), failed), end; !failed && entry != end; entry.increment(failed)) {
    struct stat info{};  // a file may go meanwhile
    if (::stat(entry->path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) bytes += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

Status ServerProcess::restart() {
  if (!owned_) return {};
  TRY(stop_process());
  return launch();
}

Status ServerProcess::stop() {
  Status stopped = stop_process();
  folder_.reset();
  return stopped;
}

Status ServerProcess::stop_process() {
  if (!owned_) return {};
  owned_ = false;
  ::kill(pid_, SIGTERM);
  const auto deadline = SteadyClock::now() + kStopLimit;
  int status = 0;
  bool forced = false;
  while (::waitpid(pid_, &status, WNOHANG) == 0) {
    if (!forced && SteadyClock::now() > deadline) {
      ::kill(pid_, SIGKILL);
      forced = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (forced) return Error(ErrorCode::Timeout, "the server did not stop within 20 s of SIGTERM\n" + log_tail());
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Error(ErrorCode::Io, fmt::format("the server ended with status {:#x}\n{}", status, log_tail()));
  }
  return {};
}

std::string ServerProcess::log_tail() const {
  if (!folder_) return {};
  const std::string log = read_file(folder_->file("server.log"));
  return log.size() > 4000 ? log.substr(log.size() - 4000) : log;
}

}  // namespace dunlin::bench
