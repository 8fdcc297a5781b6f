#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "client/url.h"

namespace dunlin::client {

struct TlsOptions {
  std::string ca_file;    // empty: the system's authorities
  bool insecure = false;  // accept any certificate: for development only
};

// A byte stream to a server, over TCP or TLS 1.2+. The socket never blocks: opening and writing wait for it, with a deadline; reading takes
// what is there. One owner, one thread. After an error it is used no more.
class Stream {
 public:
  static Result<std::unique_ptr<Stream>> open(const Url& url, const TlsOptions& tls, Milliseconds limit);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int fd() const;  // readable = call read_some()
  // True when decrypted bytes wait inside, which poll() on fd() does not show.
  bool has_pending() const;
  // Bytes read into `buffer`; 0 = nothing there now. Io error when the stream ended.
  Result<std::size_t> read_some(std::span<char> buffer);
  Status write_all(std::string_view bytes, Milliseconds limit);

 private:
  struct State;
  explicit Stream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dunlin::client
