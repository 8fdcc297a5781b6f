#include "cli/line_editor.h"

#include <unistd.h>

#include <cerrno>

namespace dunlin {
namespace {

constexpr std::size_t kMaxLine = 16 * 1024;
constexpr char kCtrlC = 3;
constexpr char kCtrlD = 4;
constexpr char kCtrlU = 21;
constexpr char kEscape = 27;
constexpr char kDelete = 127;

}  // namespace

LineEditor::LineEditor(int input_fd, int output_fd) : input_fd_(input_fd), output_fd_(output_fd) {
  termios mode{};
  if (::isatty(input_fd) == 0 || ::isatty(output_fd) == 0 || ::tcgetattr(input_fd, &mode) != 0) return;
  saved_mode_ = mode;
  mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG | IEXTEN);
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  ::tcsetattr(input_fd, TCSADRAIN, &mode);
}

LineEditor::~LineEditor() {
  if (!saved_mode_) return;
  write("\r\x1b[K");
  ::tcsetattr(input_fd_, TCSADRAIN, &*saved_mode_);
}

void LineEditor::set_prompt(std::string prompt) {
  prompt_ = std::move(prompt);
  redraw();
}

void LineEditor::print(std::string_view text) {
  std::string out;
  if (is_terminal()) out += "\r\x1b[K";
  out += text;
  out += '\n';
  write(out);
  redraw();
}

void LineEditor::read(const std::function<void(const std::string&)>& on_line) {
  char bytes[4096];
  const ssize_t got = ::read(input_fd_, bytes, sizeof bytes);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    if (!line_.empty() && !is_terminal()) finish_line(on_line);  // a last line without its end
    ended_ = true;
    return;
  }
  for (ssize_t i = 0; i < got && !ended_; ++i) is_terminal() ? take_key(bytes[i], on_line) : take_byte(bytes[i], on_line);
  redraw();
}

void LineEditor::take_byte(char byte, const std::function<void(const std::string&)>& on_line) {
  if (byte == '\n') {
    finish_line(on_line);
  } else if (line_.size() < kMaxLine) {
    line_ += byte;
  }
}

void LineEditor::take_key(char key, const std::function<void(const std::string&)>& on_line) {
  const bool is_letter = (key >= 'A' && key <= 'Z') || (key >= 'a' && key <= 'z') || key == '~';
  if (in_escape_) {
    if (is_letter && key != 'O') in_escape_ = false;
    return;
  }
  switch (key) {
    case kCtrlC: ended_ = true; return;
    case kCtrlD: ended_ = line_.empty(); return;
    case kCtrlU: line_.clear(); return;
    case kEscape: in_escape_ = true; return;
    case '\b':
    case kDelete: erase_character(); return;
    case '\r':
    case '\n': finish_line(on_line); return;
    default: break;
  }
  if (static_cast<unsigned char>(key) >= 0x20 && line_.size() < kMaxLine) line_ += key;
}

void LineEditor::finish_line(const std::function<void(const std::string&)>& on_line) {
  const std::string line = std::move(line_);
  line_.clear();
  on_line(line);
}

// The last UTF-8 character: its continuation bytes and the byte that leads them.
void LineEditor::erase_character() {
  while (!line_.empty() && (static_cast<unsigned char>(line_.back()) & 0xc0U) == 0x80U) line_.pop_back();
  if (!line_.empty()) line_.pop_back();
}

void LineEditor::redraw() {
  if (is_terminal()) write("\r\x1b[K" + prompt_ + line_);
}

void LineEditor::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::write(output_fd_, bytes.data(), bytes.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;  // nobody looks any more
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace dunlin
