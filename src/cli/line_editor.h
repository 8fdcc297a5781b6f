#pragma once

#include <termios.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace dunlin {

// One line of input below everything that is printed. On a terminal it edits the line itself (the cursor stays at its end), so that text
// which arrives meanwhile goes above the line instead of through it; from a pipe or file it only cuts lines. The terminal's mode is
// restored by the destructor. One owner, one thread. Lines longer than 16 KiB are cut.
class LineEditor {
 public:
  LineEditor(int input_fd, int output_fd);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  bool is_terminal() const { return saved_mode_.has_value(); }
  void set_prompt(std::string prompt);
  // Prints whole lines above the one being edited.
  void print(std::string_view text);
  // Takes what can be read now without waiting more than the one read. `on_line` gets each complete line.
  void read(const std::function<void(const std::string&)>& on_line);
  bool ended() const { return ended_; }  // end of input, Ctrl-C or Ctrl-D
  bool is_empty() const { return line_.empty(); }

 private:
  void take_key(char key, const std::function<void(const std::string&)>& on_line);
  void take_byte(char byte, const std::function<void(const std::string&)>& on_line);
  void finish_line(const std::function<void(const std::string&)>& on_line);
  void erase_character();
  void redraw();
  void write(std::string_view bytes);

  const int input_fd_;
  const int output_fd_;
  std::optional<termios> saved_mode_;
  std::string prompt_;
  std::string line_;
  bool in_escape_ = false;  // skipping the rest of an escape sequence (arrow keys and such)
  bool ended_ = false;
};

}  // namespace dunlin
