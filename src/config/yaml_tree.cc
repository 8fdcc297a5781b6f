#include "config/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "base/escape.h"

namespace dunlin {
namespace {

constexpr std::size_t kMaxText = 256 << 10;
constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxNodes = 10'000;

// Thrown out of yaml-cpp's parser by the builder and caught in parse_yaml(), to end the parse at the first thing refused.
struct Refused {
  int line;
  std::string why;
};

// Builds the tree from the parser's events. A map waits for key and value in turn: `key_` holds the key in between.
class Builder final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { line_ = mark.line + 1; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add(mark, YamlNode::Kind::Null, {}); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { throw Refused{mark.line + 1, "aliases (*name) are not allowed"}; }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string& value) override {
    add(mark, YamlNode::Kind::Scalar, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(mark, YamlNode::Kind::Sequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(mark, YamlNode::Kind::Map);
  }
  void OnMapEnd() override { close(); }

  YamlNode take() { return std::move(root_); }
  int line() const { return line_; }

 private:
  struct Level {
    YamlNode node;
    std::string key;  // of the node that comes next, in a map
    bool has_key = false;
  };

  void count(int line) {
    if (++nodes_ > kMaxNodes) throw Refused{line, fmt::format("more than {} values", kMaxNodes)};
  }

  void open(const YAML::Mark& mark, YamlNode::Kind kind) {
    count(mark.line + 1);
    if (levels_.size() >= kMaxDepth) throw Refused{mark.line + 1, fmt::format("nested deeper than {} levels", kMaxDepth)};
    if (!levels_.empty() && expects_key()) throw Refused{mark.line + 1, "a key must be text"};
    levels_.push_back({YamlNode{kind, mark.line + 1, {}, {}, {}}, {}, false});
  }

  void close() {
    YamlNode done = std::move(levels_.back().node);
    levels_.pop_back();
    attach(std::move(done));
  }

  bool expects_key() const { return levels_.back().node.kind == YamlNode::Kind::Map && !levels_.back().has_key; }

  void add(const YAML::Mark& mark, YamlNode::Kind kind, const std::string& text) {
    const int line = mark.line + 1;
    count(line);
    if (levels_.empty() || !expects_key()) return attach(YamlNode{kind, line, {}, text, {}});
    if (kind != YamlNode::Kind::Scalar) throw Refused{line, "a key must be text"};
    Level& level = levels_.back();
    for (const YamlNode& value : level.node.items) {
      if (value.name == text) throw Refused{line, fmt::format("{} is set twice", text)};
    }
    level.key = text;
    level.has_key = true;
  }

  void attach(YamlNode node) {
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = levels_.back();
    node.name = std::move(level.key);
    level.key.clear();
    level.has_key = false;
    level.node.items.push_back(std::move(node));
  }

  int line_ = 0;
  YamlNode root_;
  std::vector<Level> levels_;
  std::size_t nodes_ = 0;
};

// What yaml-cpp would silently read as something else: it replaces bad UTF-8 and takes 0x04 for the end of the file.
Status check_characters(std::string_view text) {
  if (text.size() > kMaxText) return Error(ErrorCode::Config, fmt::format("larger than {} KiB", kMaxText >> 10));
  if (!is_valid_utf8(text)) {
    std::size_t good = 0;  // lines before the first bad one
    int line = 1;
    for (auto end = text.find('\n'); end != std::string_view::npos && is_valid_utf8(text.substr(good, end - good));
         end = text.find('\n', good)) {
      good = end + 1;
      ++line;
    }
    return Error(ErrorCode::Config, fmt::format("line {}: not valid UTF-8", line));
  }
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u < 0x20 && c != '\t' && c != '\n' && c != '\r') || u == 0x7F;
  });
  if (control == text.end()) return {};
  const auto line = 1 + std::count(text.begin(), control, '\n');
  return Error(ErrorCode::Config, fmt::format("line {}: a raw control character (write it as \\x{:02x} in double quotes)", line,
                                              static_cast<unsigned>(*control)));
}

}  // namespace

Result<YamlNode> parse_yaml(std::string_view text) {
  TRY(check_characters(text));
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder first;
    parser.HandleNextDocument(first);
    Builder second;
    if (parser.HandleNextDocument(second)) return Error(ErrorCode::Config, fmt::format("line {}: more than one document", second.line()));
    return first.take();
  } catch (const Refused& refused) {
    return Error(ErrorCode::Config, fmt::format("line {}: {}", refused.line, refused.why));
  } catch (const YAML::Exception& e) {
    return Error(ErrorCode::Config, fmt::format("line {}: {}", std::max(e.mark.line, 0) + 1, e.msg));
  } catch (const std::exception& e) {
    return Error(ErrorCode::Config, std::string("not YAML: ") + e.what());
  }
}

}  // namespace dunlin
