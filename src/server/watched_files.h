#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dunlin {

// Tells when one of a few files is another one than what is in use: by device, inode, size and times, symbolic links followed, so that
// both a file written anew and a link that is turned to another file (as certificate tools do) are seen. A missing file is a change too.
//
// The owner looks at a steady pace and reads the files only when two looks in a row saw the same, so that a pair which is being written is
// mostly not read in between. When reading fails all the same it does not call accepted(), and is told again at the next look.
// Owner: the node, on its thread. Costs one stat() a file and look.
class WatchedFiles {
 public:
  // What is there now counts as in use.
  explicit WatchedFiles(std::vector<std::string> paths = {});

  bool changed();
  // What the last look saw is in use from now on.
  void accepted() { used_ = seen_; }

 private:
  std::string stamp() const;

  std::vector<std::string> paths_;
  std::string used_;
  std::string seen_;
};

}  // namespace dunlin
