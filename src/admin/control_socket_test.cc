#include "admin/control_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace dunlin {
namespace {

class ControlSocketTest : public ::testing::Test {
 protected:
  ControlSocketTest() {
    // Deeper than sun_path can name.
    folder_ = std::filesystem::temp_directory_path() / ("control-" + std::to_string(::getpid())) / std::string(120, 'd');
    std::filesystem::create_directories(folder_);
  }
  ~ControlSocketTest() override { std::filesystem::remove_all(folder_.parent_path()); }

  std::unique_ptr<ControlSocket> serve(std::map<std::string, ControlSocket::Handler> handlers) {
    auto opened = ControlSocket::open(folder_.string(), std::move(handlers));
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().to_string());
    return std::move(opened).value();
  }

  std::filesystem::path folder_;
};

TEST_F(ControlSocketTest, PassesArgumentProgressAndSuccess) {
  std::string seen;
  const auto socket = serve({{"copy", [&](const std::string& argument, const ControlSocket::Progress& progress) -> Status {
                                seen = argument;
                                EXPECT_TRUE(progress(1, 2));
                                EXPECT_TRUE(progress(2, 2));
                                return {};
                              }}});
  std::vector<std::uint64_t> done;
  const Status status = control_request(folder_.string(), "copy", "/to/a folder", Milliseconds(5000),
                                        [&](std::uint64_t d, std::uint64_t) { done.push_back(d); });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(seen, "/to/a folder");
  EXPECT_EQ(done, (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(ControlSocketTest, TellsFailuresAndUnknownCommands) {
  const auto socket = serve(
      {{"fail", [](const std::string&, const ControlSocket::Progress&) -> Status { return Error(ErrorCode::NoSpace, "two\nlines"); }}});
  const Status failed = control_request(folder_.string(), "fail", "", Milliseconds(5000), nullptr);
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().context().find("two lines"), std::string::npos);
  EXPECT_FALSE(control_request(folder_.string(), "nosuch", "", Milliseconds(5000), nullptr).ok());
}

TEST_F(ControlSocketTest, IsPrivateAndGoneWithItsServer) {
  auto socket = serve({});
  struct stat info{};
  ASSERT_EQ(::stat((folder_ / "control.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  socket.reset();
  const Status status = control_request(folder_.string(), "x", "", Milliseconds(1000), nullptr);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::NotFound);
}

TEST_F(ControlSocketTest, RequestThatAsksWhetherToGoOnEndsWhenTheSocketIsClosed) {
  std::atomic<bool> begun{false};
  std::atomic<bool> gave_up{false};
  auto socket = serve({{"copy", [&](const std::string&, const ControlSocket::Progress& progress) -> Status {
                          while (progress(1, 2)) begun = true;
                          gave_up = true;
                          return Error(ErrorCode::StoreUnavailable, "given up");
                        }}});
  Status told;
  std::thread client([&] { told = control_request(folder_.string(), "copy", "", Milliseconds(5000), nullptr); });
  while (!begun) std::this_thread::yield();
  socket.reset();
  client.join();
  EXPECT_TRUE(gave_up);
  EXPECT_FALSE(told.ok());
}

// A client that speaks, or not, below control_request().
class RawClient {
 public:
  explicit RawClient(const std::filesystem::path& folder) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int at = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    const std::string path = "/proc/self/fd/" + std::to_string(at) + "/control.sock";
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
    ::close(at);
  }
  ~RawClient() { ::close(fd_); }
  bool say(char c) const { return ::send(fd_, &c, 1, MSG_NOSIGNAL) == 1; }

 private:
  int fd_;
};

TEST_F(ControlSocketTest, RequestThatDripsIsCutAtItsDeadline) {
  const auto socket = ControlSocket::open(folder_.string(), {}, Milliseconds(100));
  ASSERT_TRUE(socket.ok());
  const RawClient client(folder_);
  int said = 0;
  while (said < 4000 && client.say('x')) {
    ++said;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_LT(said, 4000);  // below the bound of a line: the deadline ended it
}

TEST_F(ControlSocketTest, ClientThatSaysNothingDoesNotHoldTheStop) {
  auto socket = ControlSocket::open(folder_.string(), {}, std::chrono::hours(1));
  ASSERT_TRUE(socket.ok());
  const RawClient client(folder_);
  ASSERT_TRUE(client.say('x'));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // likely being read by now; the test holds anyway
  socket->reset();
}

}  // namespace
}  // namespace dunlin
