#include "base/process_start.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

namespace dunlin {

void prepare_process() {
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(standard, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is this one. Without /dev/null the root folder holds it: reading and writing there fail, and harm nothing.
    if (::open("/dev/null", O_RDWR) < 0) ::open("/", O_PATH);
  }
  ::umask(077);
}

}  // namespace dunlin
